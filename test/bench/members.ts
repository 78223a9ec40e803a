/** Three members as processes on loopback: ours or etcd's, with the same flags, since ours takes etcd's. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { EtcdClient } from '../../src/etcd/client.ts';

export interface Members {
  readonly name: string;
  readonly endpoints: readonly string[];
  /** Resident memory of all members together, in bytes. */
  residentBytes(): number;
  stop(): Promise<void>;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve) => {
          const server = createServer().listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** `command` gets etcd's flags appended. Resolves when a write has gone through. */
export async function startMembers(name: string, command: readonly string[]): Promise<Members> {
  const folder = mkdtempSync(join(tmpdir(), `raftsman-bench-${name}-`));
  const ports = await freePorts(9);
  const names = ['m0', 'm1', 'm2'];
  const peer = (n: number) => `http://127.0.0.1:${ports[n * 3 + 1]}`;
  const client = (n: number) => `http://127.0.0.1:${ports[n * 3]}`;
  const children: ChildProcess[] = names.map((member, n) => {
    const log = openSync(join(folder, `${member}.log`), 'w');
    const flags = {
      name: member,
      'data-dir': join(folder, member),
      'listen-client-urls': client(n),
      'advertise-client-urls': client(n),
      'listen-peer-urls': peer(n),
      'initial-advertise-peer-urls': peer(n),
      'initial-cluster': names.map((one, k) => `${one}=${peer(k)}`).join(','),
      'initial-cluster-state': 'new',
      'initial-cluster-token': `bench-${name}`,
      'listen-metrics-urls': `http://127.0.0.1:${ports[n * 3 + 2]}`,
    };
    return spawn(
      command[0]!,
      [...command.slice(1), ...Object.entries(flags).map(([key, value]) => `--${key}=${value}`)],
      {
        stdio: ['ignore', log, log],
      },
    );
  });
  const stop = async () => {
    await Promise.all(
      children.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const ended = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGKILL');
        await ended;
      }),
    );
    rmSync(folder, { recursive: true, force: true });
  };
  const endpoints = names.map((_, n) => client(n));
  const end = performance.now() + 30_000;
  for (;;) {
    const probe = new EtcdClient({ endpoints: [endpoints[0]!], deadlineMs: 1000 });
    try {
      await probe.put({ key: Buffer.from('bench/ready'), value: Buffer.from('yes') });
      break;
    } catch (error) {
      const died = children.findIndex((child) => child.exitCode !== null);
      if (died >= 0 || performance.now() > end) {
        const log = readFileSync(join(folder, `m${Math.max(died, 0)}.log`), 'utf8').slice(-2000);
        await stop();
        throw new Error(`three members of ${name} took no write in 30 s: ${(error as Error).message}\n${log}`);
      }
      await delay(100);
    } finally {
      probe.close();
    }
  }
  return {
    name,
    endpoints,
    residentBytes: () =>
      children.reduce((sum, child) => {
        const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'));
        return sum + Number(line?.[1] ?? 0) * 1024;
      }, 0),
    stop,
  };
}
