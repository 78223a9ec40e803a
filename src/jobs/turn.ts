/**
 * When a member that joins may begin. etcd asks every other one for its version before it serves, and gives one whose port
 * is open, but which does not serve yet, seven seconds each: two that begin side by side would wait for each other.
 */
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const againMs = 100;

export interface Turn {
  /** The member's own name, and of all that join. */
  readonly name: string;
  readonly joining: readonly string[];
  /** Host and port of the member's own metrics, which are there once it serves: those of the others are alike. */
  readonly metrics: string;
  /** For how long one is waited for. Without it this one only comes later: it may well be the one that can start. */
  readonly withinMs: number;
}

/** Those with a lower ordinal come first. Resolves to the names of those that were waited for in vain. */
export async function untilTurn({ name, joining, metrics, withinMs }: Turn): Promise<string[]> {
  const end = performance.now() + withinMs;
  const before = joining.filter((other) => other !== '' && isBefore(other, name));
  const served = await Promise.all(before.map((other) => untilServes(metrics.replace(name, other), end)));
  return before.filter((_, at) => !served[at]);
}

/** Names of one cluster differ in their ordinals alone. */
function isBefore(one: string, other: string): boolean {
  return one.length < other.length || (one.length === other.length && one < other);
}

async function untilServes(address: string, end: number): Promise<boolean> {
  for (;;) {
    const leftMs = end - performance.now();
    if (leftMs <= 0) return false;
    if (await accepts(address, leftMs)) return true;
    await delay(Math.min(againMs, leftMs));
  }
}

function accepts(address: string, withinMs: number): Promise<boolean> {
  const at = address.lastIndexOf(':');
  const signal = AbortSignal.timeout(Math.ceil(withinMs));
  return new Promise((resolve) => {
    const socket = connect({ host: address.slice(0, at), port: Number(address.slice(at + 1)), signal });
    const end = (is: boolean) => {
      socket.destroy();
      resolve(is);
    };
    socket.once('connect', () => end(true)).once('error', () => end(false));
  });
}
