import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { openFileStore, openStoredSnapshot } from '../../../src/archive/sources/file-store.ts';
import { openSource } from '../../../src/archive/sources/open.ts';
import { sampleState } from '../samples.ts';
import { crc64, stateOf, storedMeta, storeSnapshot } from './samples.ts';

let base: string;
let store: string;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'raftsman-store-'));
  store = join(base, 'snapshots');
});
afterEach(() => rm(base, { recursive: true, force: true }));

describe("a snapshot of hashicorp/raft's file store", () => {
  test('HR-01 HR-33: meta.json and state.bin; everything in the metadata and every byte of the state', async () => {
    const state = sampleState(200_003);
    const folder = await storeSnapshot(store, '3-42-1700000000000', state);
    const source = await openSource(folder);
    expect(source).toMatchObject({
      path: folder,
      engine: 'HashicorpRaft',
      convertedFrom: 'hashicorp/raft file snapshot, version 1',
      notes: [],
      meta: {
        version: 1,
        id: '3-42-1700000000000',
        index: 42n,
        term: 3n,
        peers: new Uint8Array(Buffer.from('ka4xMjcuMC4wLjE6ODMwMA==', 'base64')),
        configuration: { servers: [{ suffrage: 'voter', id: 'one', address: '127.0.0.1:8300' }] },
        configurationIndex: 1n,
        size: state.length,
      },
    });
    expect((await stateOf(source)).equals(state)).toBe(true);
  });

  test('HR-04: version 0 has peers in place of a configuration: voters all, known by their addresses', async () => {
    const peers = Buffer.from('\x92\xae127.0.0.1:8300\xda\x00\x0e127.0.0.2:8300', 'latin1').toString('base64');
    const gone = { Configuration: undefined, ConfigurationIndex: undefined };
    const folder = await storeSnapshot(store, '3-42-17', sampleState(9), { Version: 0, Peers: peers, ...gone });
    const { meta, convertedFrom } = await openSource(folder);
    expect(convertedFrom).toBe('hashicorp/raft file snapshot, version 0');
    expect(meta.configuration.servers).toEqual(
      ['127.0.0.1:8300', '127.0.0.2:8300'].map((address) => ({ suffrage: 'voter', id: address, address })),
    );
    expect(meta.configurationIndex).toBe(42n);
    for (const [bytes, problem] of [
      ['\x92\xa1a', 'Peers ends in the middle'],
      ['\x91\xa1', 'Peers ends in the middle'],
      ['\x91\xa1ab', 'bytes follow the end of Peers'],
      ['\x05', 'Peers is not a list of addresses'],
      ['\xdd\xff\xff\xff\xff', 'Peers ends in the middle'],
    ] as const) {
      const damaged = { Version: 0, Peers: Buffer.from(bytes, 'latin1').toString('base64'), ...gone };
      await storeSnapshot(store, '3-42-17', sampleState(9), damaged);
      await expect(openSource(folder)).rejects.toMatchObject({
        code: 'ARCHIVE_META_INVALID',
        message: expect.stringContaining(problem),
      });
    }
  });

  test('numbers above 2^53 keep all their digits', async () => {
    const folder = await storeSnapshot(store, '3-42-17', sampleState(9));
    const text = storedMeta('3-42-17', sampleState(9)).replace('"Index":42', '"Index":18446744073709551615');
    await writeFile(join(folder, 'meta.json'), text);
    expect((await openSource(folder)).meta.index).toBe(2n ** 64n - 1n);
  });

  test('Consul and Nomad are told by the head of their state, and nothing else is', async () => {
    const heads: [string, string][] = [
      ['\x81\xa9LastIndex\x05', 'Consul'],
      ['\x80\x05\x91\x82\xa5Index\x01', 'Nomad'],
      ['\x80\x05\xdc\x00\x20\x82\xa5Index\x01', 'Nomad'],
      ['\x80\x05\xdd\x00\x01\x00\x00\x82\xa5Index\x01', 'Nomad'],
      ['\x80\x05\x90', 'HashicorpRaft'],
      ['\x81\xa9lastIndex\x05', 'HashicorpRaft'],
      ['', 'HashicorpRaft'],
    ];
    for (const [head, engine] of heads) {
      const folder = await storeSnapshot(store, '3-42-17', Buffer.from(head, 'latin1'));
      expect([head, (await openSource(folder)).engine]).toEqual([head, engine]);
    }
  });

  test('HR-33 HR-34 HR-05: what is damaged is refused with its folder and the reason', async () => {
    const state = sampleState(5000);
    const flipped = Buffer.from(state);
    flipped[999] = (flipped[999] ?? 0) ^ 8;
    const zeros = Buffer.alloc(8).toString('base64');
    const cases: [string, Readonly<Record<string, unknown>> | string, Uint8Array | undefined, string, string][] = [
      ['a flipped bit', {}, flipped, 'ARCHIVE_HASH_MISMATCH', 'CRC mismatch: the CRC-64 of state.bin is '],
      ['another CRC', { CRC: zeros }, state, 'ARCHIVE_HASH_MISMATCH', 'and meta.json says 0000000000000000'],
      ['a cut state', {}, state.subarray(1), 'ARCHIVE_TRUNCATED', 'state.bin has 4999 bytes, and meta.json says 5000'],
      ['a long state', {}, Buffer.concat([state, state]), 'ARCHIVE_SIZE_MISMATCH', 'state.bin has 10000 bytes'],
      ['no state', {}, undefined, 'ARCHIVE_FILE_MISSING', 'its state.bin is missing'],
      ['version 2', { Version: 2 }, state, 'ARCHIVE_VERSION_UNSUPPORTED', 'unsupported snapshot version 2'],
      ['a negative version', { Version: -1 }, state, 'ARCHIVE_META_INVALID', 'Version is -1'],
      ['a negative index', { Index: -5 }, state, 'ARCHIVE_META_INVALID', 'meta.json: Index is -5, not an unsigned'],
      ['a huge term', { Term: 1e30 }, state, 'ARCHIVE_META_INVALID', 'meta.json: Term is 1e+30'],
      ['a negative size', { Size: -1 }, state, 'ARCHIVE_META_INVALID', 'Size is -1'],
      ['a size above all', { Size: 2 ** 53 }, state, 'ARCHIVE_META_INVALID', 'above 2^53'],
      ['no CRC', { CRC: null }, state, 'ARCHIVE_META_INVALID', 'CRC has 0 bytes, and a CRC-64 has 8'],
      ['a short CRC', { CRC: 'AAAA' }, state, 'ARCHIVE_META_INVALID', 'CRC has 3 bytes'],
      ['a CRC that is none', { CRC: '?' }, state, 'ARCHIVE_META_INVALID', 'CRC is not base64'],
      ['peers that are none', { Peers: '?' }, state, 'ARCHIVE_META_INVALID', 'Peers is not base64'],
      [
        'servers that are none',
        { Configuration: { Servers: 1 } },
        state,
        'ARCHIVE_META_INVALID',
        'Servers is not a list',
      ],
      [
        "a member's of ours",
        { CRC: '00112233aabbccdd' },
        state,
        'ARCHIVE_META_INVALID',
        'take a snapshot of that cluster',
      ],
      ['empty metadata', '', state, 'ARCHIVE_META_INVALID', 'meta.json is not JSON (it is empty)'],
      ['half the metadata', '{"Version":1,', state, 'ARCHIVE_META_INVALID', 'meta.json is not JSON'],
      ['a list', '[]', state, 'ARCHIVE_META_INVALID', 'meta.json is not an object'],
      ['endless metadata', ' '.repeat(70_000), state, 'ARCHIVE_FILE_TOO_LARGE', 'meta.json has 70000 bytes'],
    ];
    for (const [what, meta, bytes, code, message] of cases) {
      await rm(store, { recursive: true, force: true });
      const folder = await storeSnapshot(store, '3-42-17', state, typeof meta === 'string' ? {} : meta);
      if (typeof meta === 'string') await writeFile(join(folder, 'meta.json'), meta);
      if (bytes === undefined) await rm(join(folder, 'state.bin'));
      else await writeFile(join(folder, 'state.bin'), bytes);
      const failure = await openSource(folder).catch((error: unknown) => error);
      expect([what, failure]).toMatchObject([what, { code, message: expect.stringContaining(message) }]);
      expect((failure as Error).message).toMatch(new RegExp(`^${folder}: `));
      // The only one there: the store has no good one, and says why.
      await expect(openSource(base)).rejects.toMatchObject({
        code: 'ARCHIVE_SOURCE_EMPTY',
        message: expect.stringContaining(`skipped ${folder}: `),
      });
    }
    await rm(join(store, '3-42-17/meta.json'));
    await expect(openStoredSnapshot(join(store, '3-42-17'))).rejects.toMatchObject({
      code: 'ARCHIVE_FILE_MISSING',
      message: `${join(store, '3-42-17')}: its meta.json is missing`,
    });
  });

  test('HR-33: one that was never finished is none, even when all of it is there', async () => {
    const folder = await storeSnapshot(store, '3-42-17.tmp', sampleState(9));
    for (const path of [folder, `${folder}/`]) {
      await expect(openSource(path)).rejects.toMatchObject({
        code: 'ARCHIVE_SOURCE_INVALID',
        message: expect.stringContaining('it was never finished'),
      });
    }
  });
});

describe('a store with several snapshots', () => {
  test('HR-06: the newest by term, then index, then id, as numbers; the others are named', async () => {
    for (const id of ['2-99-5', '9-5-5', '10-1-7', '10-1-8', '9-50-5']) await storeSnapshot(store, id, Buffer.from(id));
    await writeFile(join(store, 'a-file'), '');
    for (const path of [base, store]) {
      const source = await openSource(path);
      expect(source.path).toBe(join(store, '10-1-8'));
      expect((await stateOf(source)).toString()).toBe('10-1-8');
      expect(source.notes).toEqual(['took 10-1-8, the newest; also there: 10-1-7, 9-50-5, 9-5-5, 2-99-5']);
    }
  });

  test('HR-33 HR-35: unfinished and unreadable ones are passed over with a warning, down to the newest good one', async () => {
    await storeSnapshot(store, '1-1-1', Buffer.from('oldest'));
    await storeSnapshot(store, '2-2-2', Buffer.from('good'));
    await storeSnapshot(store, '3-3-3', Buffer.from('damaged'), { CRC: Buffer.alloc(8).toString('base64') });
    await storeSnapshot(store, '4-4-4', Buffer.from('unknown'), { Version: 9 });
    await mkdir(join(store, '5-5-5'));
    await storeSnapshot(store, '6-6-6.tmp', Buffer.from('unfinished'));
    const source = await openSource(base);
    expect((await stateOf(source)).toString()).toBe('good');
    expect([...source.notes].sort()).toEqual([
      expect.stringMatching(/^skipped .*3-3-3: CRC mismatch/),
      expect.stringMatching(/^skipped .*4-4-4: unsupported snapshot version 9/),
      expect.stringMatching(/^skipped .*5-5-5: its meta\.json is missing$/),
      expect.stringMatching(/^skipped .*6-6-6\.tmp: it was never finished$/),
      'took 2-2-2, the newest good one; also there: 1-1-1',
    ]);
  });

  test('an empty one', async () => {
    await mkdir(store);
    for (const attempt of [() => openSource(base), () => openFileStore(store)]) {
      await expect(attempt()).rejects.toMatchObject({
        code: 'ARCHIVE_SOURCE_EMPTY',
        message: `${store}: there is no good snapshot in it`,
      });
    }
  });
});

test("the samples' CRC-64 has the published check value", () => {
  expect(crc64(Buffer.from('123456789')).toString('hex')).toBe('995dc9bbdf1939fa');
});
