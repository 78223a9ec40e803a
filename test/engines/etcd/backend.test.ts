import { beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { EngineError } from '../../../src/engines/engine.ts';
import { type BackendFacts, backendFacts } from '../../../src/engines/etcd/backend.ts';
import { Bolt } from '../../../src/engines/etcd/bolt.ts';
import { EtcdClient } from '../../../src/etcd/client.ts';
import { collect } from '../../archive/samples.ts';
import { Pods } from './pods.ts';

const reading = (file: Uint8Array) => async (position: number, length: number) =>
  file.subarray(position, position + length);

describe('the backend file of etcd', () => {
  let file: Uint8Array;
  let facts: BackendFacts;
  beforeAll(async () => {
    const pods = await Pods.of();
    try {
      await pods.form(1);
      const client = new EtcdClient({ endpoints: [pods.endpoint('e-0').url] });
      const write = (at: number) => client.put({ key: Buffer.from(`key ${at}`), value: new Uint8Array(at % 700) });
      for (let at = 0; at < 4_000; at += 100) await Promise.all(Array.from({ length: 100 }, (_, by) => write(at + by)));
      client.close();
      const snapshot = await pods.engine.openSnapshot([pods.endpoint('e-0')]);
      file = await collect(snapshot.chunks);
      facts = await backendFacts(reading(file));
    } finally {
      await pods.close();
    }
  }, 120_000);

  test('is read through its branches: every record of the tree is found by its key', async () => {
    expect(facts).toMatchObject({ revision: 4_001, readableRevision: 4_001 });
    const keys = await (await Bolt.open(reading(file))).bucket('key');
    const revision = (main: number) => {
      const key = Buffer.alloc(17);
      key.writeBigUInt64BE(BigInt(main));
      key.write('_', 8);
      return key;
    };
    for (let main = 2; main <= 4_001; main += 7) expect(await keys!.get(revision(main))).toBeDefined();
    expect(await keys!.get(revision(1))).toBeUndefined();
    expect(await keys!.get(revision(4_002))).toBeUndefined();
    let found = 0;
    for await (const _ of keys!.entries()) found += 1;
    expect(found).toBe(4_000);
  });

  test('a file that is cut, or of which a byte is another one, is refused or still says the same', async () => {
    const verdict = (bytes: Uint8Array): Promise<unknown> =>
      backendFacts(reading(bytes)).catch((error: unknown) => {
        if (!(error instanceof EngineError)) throw error;
        return error.code;
      });
    // Where the facts are: the heads of all pages, and all of the first ones.
    const places = fc.oneof(
      fc.nat(8 * 4096),
      fc.tuple(fc.nat(file.length >> 12), fc.nat(256)).map(([page, at]) => (page << 12) + at),
    );
    await fc.assert(
      fc.asyncProperty(places, fc.nat(255), async (at, value) => {
        const changed = Uint8Array.from(file);
        changed[at % file.length] = value;
        const said = await verdict(changed);
        // No checksum guards a page: that of the whole stream does. What counts is that nothing else is thrown.
        expect(said === 'ENGINE_SNAPSHOT_CORRUPT' || typeof said === 'object').toBe(true);
      }),
      { seed: 20261122, numRuns: 200 },
    );
    for (const size of [0, 79, 80, 4095, 4096, 8192]) {
      expect(await verdict(file.subarray(0, size))).toBe('ENGINE_SNAPSHOT_CORRUPT');
    }
    expect(await verdict(new Uint8Array(65_536))).toBe('ENGINE_SNAPSHOT_CORRUPT');
  });
});
