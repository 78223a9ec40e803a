import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { EtcdClient } from '../../../src/etcd/client.ts';
import { until } from '../../kubernetes/command.ts';
import { etcdVersions } from '../../kubernetes/parts.ts';
import { Pods } from './pods.ts';

const marker = Buffer.from('what every member must hold');

/** Pages that were given back hold copies of it, too. */
function replaceAll(bytes: Buffer, from: Buffer, to: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(from); at >= 0; at = bytes.indexOf(from, at + 1)) {
    to.copy(bytes, at);
    count++;
  }
  return count;
}

const within = { timeoutMs: 60_000, everyMs: 50 } as const;

describe.each([
  // It says who is wrong if most others agree; before 3.6 it does not.
  [etcdVersions[0], 'compact-hash-check-time', true],
  [etcdVersions[2], 'experimental-compact-hash-check-time', false],
] as const)('members of etcd %s', (version, interval, says) => {
  test('one of which holds other data than the rest raise an alarm after a compaction', async () => {
    const pods = await Pods.of({ version, engine: { flags: { [interval]: '1s' } } });
    const clients: EtcdClient[] = [];
    const clientOf = (name: string): EtcdClient => {
      const client = new EtcdClient({ endpoints: [pods.endpoint(name).url] });
      clients.push(client);
      return client;
    };
    try {
      await pods.form(3);
      const client = clientOf('e-0');
      await client.put({ key: Buffer.from('k'), value: marker });
      const statuses = await Promise.all(['e-0', 'e-1', 'e-2'].map((name) => pods.engine.status(pods.endpoint(name))));
      const victim = `e-${statuses.findIndex(({ leaderId, memberId }) => leaderId !== memberId)}`;
      const { memberId } = statuses[Number(victim.slice(2))]!;
      const file = join(pods.disk(victim), 'etcd/member/snap/db');
      await until('the value is in the file', () => readFileSync(file).includes(marker), within);
      await pods.kill(victim);
      const bytes = readFileSync(file);
      // bbolt has no checksums over what it holds: the member starts, and knows nothing of it.
      expect(replaceAll(bytes, marker, Buffer.from('what only one member says..'))).toBeGreaterThan(0);
      writeFileSync(file, bytes);
      await pods.start(victim);
      await pods.ready(victim);
      const others = ['e-0', 'e-1', 'e-2'].filter((name) => name !== victim);
      const at = pods.endpoint(others[0]!);
      const { header } = await clientOf(others[0]!).put({ key: Buffer.from('n'), value: Buffer.from('1') });
      await pods.engine.compact([at], header!.revision);
      const alarms = async () => (await pods.engine.status(at)).alarms;
      await until('an alarm shows', async () => (await alarms()).length > 0, within);
      expect((await alarms())[0]).toEqual({ type: 'Corrupt', memberId: says ? memberId : '0' });
    } finally {
      for (const client of clients) client.close();
      await pods.close();
    }
  }, 180_000);
});
