/**
 * For how long snapshots keep a member's event loop from everything else (D17): taking one of a large state, sending it,
 * receiving and installing it.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { EtcdClient } from '../../src/etcd/client.ts';
import { RequestOp } from '../../src/etcd/gen/rpc.ts';
import { type Kind, Members } from './members.ts';
import { row, title } from './table.ts';

const stateBytes = 250_000_000;
const valueBytes = 256;
const putsPerTxn = 128;
const txnsAtOnce = 8;
const withinMs = 600_000;

interface Pause {
  readonly at: number;
  readonly wallMs: number;
  readonly cpuMs: number;
}

/** Of one process, while `from` to `to`. */
function pausesOf(folder: string, pid: number, from: number, to: number): Pause[] {
  let text = '';
  try {
    text = readFileSync(join(folder, String(pid)), 'utf8');
  } catch {
    // None was worth noting.
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(' ').map(Number) as [number, number, number])
    .map(([at, wallMs, cpuMs]) => ({ at, wallMs, cpuMs }))
    .filter(({ at }) => at >= from && at <= to);
}

async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1]);
}

/** Keys as Kubernetes has them, in transactions: what counts here is the state, not how it came about. */
async function fill(members: Members, leader: number): Promise<number> {
  const client = new EtcdClient({ endpoints: [members.endpoints[leader]!], deadlineMs: 60_000 });
  const value = new Uint8Array(valueBytes).fill(120);
  const txns = Math.ceil(stateBytes / (valueBytes + 40) / putsPerTxn);
  let next = 0;
  try {
    const work = async (): Promise<void> => {
      while (next < txns) {
        const first = next++ * putsPerTxn;
        const success = Array.from({ length: putsPerTxn }, (_, i) => {
          const key = Buffer.from(`/registry/pods/ns-${first % 100}/pod-${first + i}`);
          return RequestOp.fromPartial({ request: { $case: 'requestPut', value: { key, value } } });
        });
        await client.txn({ success });
      }
    };
    await Promise.all(Array.from({ length: txnsAtOnce }, work));
  } finally {
    client.close();
  }
  return txns * putsPerTxn;
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + withinMs; ; await delay(100)) {
    if (await condition().catch(() => false)) return;
    if (performance.now() > end) throw new Error(`waited ${withinMs / 1000} s until ${what}`);
  }
}

export async function benchPause(ours: Kind): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'raftsman-bench-pauses-'));
  const preload = join(import.meta.dirname, 'pause-watch.ts');
  const members = await Members.start({
    ...ours,
    command: [...ours.command, '--snapshot-count=1000000000', '--snapshot-catchup-entries=10'],
    environment: { NODE_OPTIONS: `--import=${preload}`, RAFTSMAN_BENCH_PAUSES: folder },
  });
  try {
    const leader = await members.leader();
    const follower = (leader + 1) % members.endpoints.length;
    const line = async (what: string, member: number, from: number, to = Date.now()): Promise<void> => {
      // What was noted last is on its way to the file.
      await delay(500);
      const pauses = pausesOf(folder, members.pid(member), from, to);
      const most = (of: (pause: Pause) => number): string => Math.max(0, ...pauses.map(of)).toFixed(1);
      row(
        what,
        ((to - from) / 1000).toFixed(1),
        most((pause) => pause.wallMs),
        most((pause) => pause.cpuMs),
      );
    };
    await members.kill(follower);
    const records = await fill(members, leader);
    const state = await metric(members.metricsUrls[leader]!, 'etcd_mvcc_db_total_size_in_bytes');
    title(`longest pause of the event loop, ${records} keys, ${Math.round(state / 1e6)} MB of state`);
    row('', 'seconds', 'pause ms', 'own work ms');
    let from = Date.now();
    await delay(5000);
    await line('idle', leader, from);
    from = Date.now();
    const taken = await fetch(`${members.metricsUrls[leader]!}/snapshot`, { method: 'POST' });
    if (!taken.ok) throw new Error(`no snapshot: ${await taken.text()}`);
    await line('take', leader, from);
    from = Date.now();
    const restarted = members.restart(follower, withinMs);
    const url = members.metricsUrls[follower]!;
    // Loading a program stands still, too, and is another matter.
    await until('it has started', async () => Number.isFinite(await metric(url, 'raftsman_raft_term')));
    const began = Date.now();
    await until('it is received', async () => (await metric(url, 'raftsman_snapshots_received_total')) >= 1);
    const received = Date.now();
    await line('send', leader, from, received);
    await line('receive', follower, began, received);
    await restarted;
    await line('install', follower, received);
  } finally {
    await members.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
