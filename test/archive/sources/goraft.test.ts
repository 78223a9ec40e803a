import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { openGoraftFile } from '../../../src/archive/sources/goraft.ts';
import { GoraftJson } from '../../../src/archive/sources/goraft-json.ts';
import { openSource } from '../../../src/archive/sources/open.ts';
import { sampleState } from '../samples.ts';
import { goraftFile, goraftJson, goraftPeers, stateOf } from './samples.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'raftsman-goraft-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function file(bytes: Uint8Array | string, name = '2_17.ss'): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

describe('a snapshot file of goraft', () => {
  test('GR-27: eight hexadecimal digits of CRC-32, a newline, JSON; index, term, peers and every byte of the state', async () => {
    const state = sampleState(300_001);
    const path = await file(goraftFile(goraftJson(state)));
    const source = await openSource(path);
    expect(source).toMatchObject({
      path,
      engine: 'Goraft',
      convertedFrom: 'goraft snapshot file',
      notes: [],
      meta: {
        index: 17n,
        term: 2n,
        size: state.length,
        configuration: {
          servers: goraftPeers.map((peer) => ({ suffrage: 'voter', id: peer.name, address: peer.connectionString })),
        },
      },
    });
    expect((await stateOf(source)).equals(state)).toBe(true);
  });

  test('GR-27: peers by name alone, as the oldest versions write them, or none at all', async () => {
    const named = await openGoraftFile(await file(goraftFile(goraftJson(sampleState(3), { peers: ['a', 'b'] }))));
    expect(named.meta.configuration.servers).toEqual([
      { suffrage: 'voter', id: 'a', address: '' },
      { suffrage: 'voter', id: 'b', address: '' },
    ]);
    const none = await openGoraftFile(await file(goraftFile(goraftJson(sampleState(3), { peers: null }))));
    expect(none.meta.configuration.servers).toEqual([]);
  });

  test('GR-24 GR-27: states of every length near a group of base64, the single byte 0, and none', async () => {
    for (const state of [...[0, 1, 2, 3, 4, 5, 6, 7].map((size) => sampleState(size)), Uint8Array.of(0)]) {
      const source = await openGoraftFile(await file(goraftFile(goraftJson(state))));
      expect([state.length, await stateOf(source)]).toEqual([state.length, Buffer.from(state)]);
    }
    const nothing = await openGoraftFile(await file(goraftFile(goraftJson(sampleState(0), { state: null }))));
    expect([nothing.meta.size, (await stateOf(nothing)).length]).toEqual([0, 0]);
  });

  test('numbers above 2^53 keep all their digits', async () => {
    const json = goraftJson(sampleState(5)).replace('"lastIndex":17', '"lastIndex":18446744073709551615');
    expect((await openGoraftFile(await file(goraftFile(json)))).meta.index).toBe(2n ** 64n - 1n);
  });

  test('fields in any order, of any case, with others between, as Go reads them', async () => {
    const json = '{ "other": {"state": ["x", {"y\\"": "}"}]}, "STATE" : "AQID", "LastTerm":3,\n"LASTINDEX":4 }\n';
    const source = await openGoraftFile(await file(goraftFile(json)));
    expect([source.meta.index, source.meta.term, await stateOf(source)]).toEqual([4n, 3n, Buffer.from([1, 2, 3])]);
  });

  test('GR-31: what is no snapshot file is refused with the file and the reason', async () => {
    const state = sampleState(1000);
    const good = goraftFile(goraftJson(state));
    const json = (change: Readonly<Record<string, unknown>>) => goraftFile(goraftJson(state, change));
    const raw = (text: string) => goraftFile(text);
    const flipped = Buffer.from(good);
    flipped[300] = (flipped[300] ?? 0) ^ 1;
    const cases: [string, Uint8Array | string, string, string][] = [
      ['an empty file', '', 'ARCHIVE_TRUNCATED', 'cut short: it ends after 0 bytes, inside its checksum'],
      ['half a checksum', '1234', 'ARCHIVE_TRUNCATED', 'ends after 4 bytes, inside its checksum'],
      ['a checksum alone', good.subarray(0, 9), 'ARCHIVE_TRUNCATED', 'inside its checksum'],
      ['no checksum', 'nonsense\n{}', 'ARCHIVE_SOURCE_INVALID', 'bad snapshot file: it does not begin with a checksum'],
      ['no newline', good.toString('latin1').replace('\n', ' '), 'ARCHIVE_SOURCE_INVALID', 'bad snapshot file'],
      ['cut in the state', good.subarray(0, 700), 'ARCHIVE_TRUNCATED', 'ends after 700 bytes, inside its state'],
      ['cut before its end', good.subarray(0, -1), 'ARCHIVE_TRUNCATED', 'inside its JSON'],
      ['a flipped bit', flipped, 'ARCHIVE_HASH_MISMATCH', 'bad snapshot file: the CRC-32 of its JSON is'],
      [
        'a wrong checksum',
        Buffer.concat([Buffer.from('00000000'), good.subarray(8)]),
        'ARCHIVE_HASH_MISMATCH',
        'says 00000000',
      ],
      ['no JSON', raw('hello there'), 'ARCHIVE_SOURCE_INVALID', 'is no JSON object'],
      ['a list', raw('[1]'), 'ARCHIVE_SOURCE_INVALID', 'is not an object'],
      ['bad JSON', raw('{"state":"AAAA" "x"}'), 'ARCHIVE_SOURCE_INVALID', 'not JSON'],
      ['more behind', raw(`${goraftJson(state)}{}`), 'ARCHIVE_TRAILING_BYTES', 'more follows the end of its JSON'],
      ['not base64', json({ state: '!!!!' }), 'ARCHIVE_SOURCE_INVALID', 'its state is not base64'],
      ['base64 for URLs', json({ state: '-_-_' }), 'ARCHIVE_SOURCE_INVALID', 'its state is not base64'],
      ['half a group', json({ state: 'AAAAA' }), 'ARCHIVE_SOURCE_INVALID', 'ends within a group of four'],
      ['padding inside', json({ state: 'AA==AAAA' }), 'ARCHIVE_SOURCE_INVALID', 'its state is not base64'],
      ['bits in the padding', json({ state: 'AB==' }), 'ARCHIVE_SOURCE_INVALID', 'its state is not base64'],
      [
        'escapes in the state',
        raw(goraftJson(state, { state: 'AAAA' }).replace('AAAA', 'AA\\/A')),
        'ARCHIVE_SOURCE_INVALID',
        'not base64',
      ],
      ['a number as the state', json({ state: 5 }), 'ARCHIVE_SOURCE_INVALID', 'its state is not base64'],
      ['no state', json({ state: undefined }), 'ARCHIVE_SOURCE_INVALID', 'it has no "state"'],
      ['two states', raw('{"state":"AAAA","lastIndex":1,"State":"AQID"}'), 'ARCHIVE_SOURCE_INVALID', '"state" twice'],
      ['a negative index', json({ lastIndex: -1 }), 'ARCHIVE_SOURCE_INVALID', 'lastIndex is -1, not an unsigned'],
      [
        'a huge term',
        raw(goraftJson(state).replace('Term":2', `Term":${'9'.repeat(500)}`)),
        'ARCHIVE_SOURCE_INVALID',
        'lastTerm is 9999',
      ],
      ['a broken number', json({ lastTerm: 1.5 }), 'ARCHIVE_SOURCE_INVALID', 'lastTerm is 1.5'],
      ['index 0', json({ lastIndex: 0 }), 'ARCHIVE_SOURCE_INVALID', 'lastIndex is 0'],
      ['peers that are none', json({ peers: 'one' }), 'ARCHIVE_SOURCE_INVALID', 'peers is not a list'],
      ['a peer that is none', json({ peers: [7] }), 'ARCHIVE_SOURCE_INVALID', 'an entry of peers is not an object'],
      ['a peer without a name', json({ peers: [{ name: 7 }] }), 'ARCHIVE_SOURCE_INVALID', 'name is not a string'],
      [
        'endless other fields',
        json({ path: 'x'.repeat(2_000_000) }),
        'ARCHIVE_SOURCE_INVALID',
        'more than 1048576 bytes beside the state',
      ],
    ];
    for (const [what, bytes, code, message] of cases) {
      const path = await file(bytes);
      const failure = await openGoraftFile(path).catch((error: unknown) => error);
      expect([what, failure]).toMatchObject([what, { code, message: expect.stringContaining(message) }]);
      expect((failure as Error).message).toMatch(new RegExp(`^${path}: `));
      expect((failure as Error).message.length).toBeLessThan(400);
    }
  });

  test('D8: a shorter snapshot over a longer one keeps the tail of the old, and the error says where to cut', async () => {
    const long = goraftFile(goraftJson(sampleState(3000)));
    const short = goraftFile(goraftJson(sampleState(1000)));
    // As goraft writes: in place and without truncating.
    const mixed = Buffer.concat([short, long.subarray(short.length)]);
    const path = await file(mixed);
    await expect(openSource(path)).rejects.toMatchObject({
      code: 'ARCHIVE_TRAILING_BYTES',
      message: expect.stringContaining(
        `a good snapshot ends after ${short.length} bytes, and ${mixed.length - short.length} of`,
      ),
    });
    const source = await openSource(await file(mixed.subarray(0, short.length)));
    expect((await stateOf(source)).equals(sampleState(1000))).toBe(true);
  });

  test('chunks that end anywhere make no difference', () => {
    const state = sampleState(50);
    const json = Buffer.from(goraftJson(state));
    for (let size = 1; size < 40; size++) {
      const reader = new GoraftJson();
      const out: Uint8Array[] = [];
      for (let at = 0; at < json.length; at += size) out.push(...reader.feed(json.subarray(at, at + size)));
      expect([size, reader.failure, reader.end, reader.trailing]).toEqual([size, undefined, json.length, false]);
      expect(Buffer.concat(out).equals(state)).toBe(true);
      expect(JSON.parse(Buffer.from(reader.rest()).toString())).toMatchObject({ lastIndex: 17, state: '' });
      // Padding belongs to the end of the state, not of a chunk.
      const padded = new GoraftJson();
      const wrong = Buffer.from('{"state":"AA==AAAA","lastIndex":1}');
      for (let at = 0; at < wrong.length; at += size) padded.feed(wrong.subarray(at, at + size));
      expect([size, padded.failure?.message]).toEqual([size, expect.stringContaining('not base64')]);
    }
  });
});

describe('a folder of goraft', () => {
  const snapshot = (term: number, index: number) =>
    goraftFile(goraftJson(sampleState(40, index), { lastTerm: term, lastIndex: index }));

  test('GR-06: the folder of a server, with its log and conf and a snapshot folder of mode 0700 with <term>_<index>.ss', async () => {
    await writeFile(join(folder, 'log'), 'not looked at');
    await writeFile(join(folder, 'conf'), '{}');
    await mkdir(join(folder, 'snapshot'), { mode: 0o700 });
    await chmod(join(folder, 'snapshot'), 0o700);
    await writeFile(join(folder, 'snapshot/2_17.ss'), snapshot(2, 17), { mode: 0o600 });
    expect((await stat(join(folder, 'snapshot'))).mode & 0o777).toBe(0o700);
    for (const path of [folder, join(folder, 'snapshot')]) {
      const source = await openSource(path);
      expect(source.path).toBe(join(folder, 'snapshot/2_17.ss'));
      expect([source.meta.term, source.meta.index]).toEqual([2n, 17n]);
    }
  });

  test('D4: the newest is so by number, "10_1.ss" before "9_1.ss" and "9_10.ss" before "9_9.ss"; the others are named', async () => {
    await file(snapshot(9, 1), '9_1.ss');
    await file(snapshot(9, 10), '9_10.ss');
    await file(snapshot(9, 9), '9_9.ss');
    expect((await openSource(folder)).meta).toMatchObject({ term: 9n, index: 10n });
    await file(snapshot(10, 1), '10_1.ss');
    await file('to be ignored', 'notes.ss.txt');
    const source = await openSource(folder);
    expect(source.meta).toMatchObject({ term: 10n, index: 1n });
    expect(source.notes).toEqual(['took 10_1.ss, the newest; also there: 9_10.ss, 9_9.ss, 9_1.ss']);
  });

  test('GR-31: no folder, none in it, a damaged newest one: an error, never silently older data', async () => {
    await expect(openSource(join(folder, 'none'))).rejects.toMatchObject({ code: 'ENOENT' });
    await mkdir(join(folder, 'snapshot'));
    await expect(openSource(folder)).rejects.toMatchObject({
      code: 'ARCHIVE_SOURCE_EMPTY',
      message: `${join(folder, 'snapshot')}: no snapshot: there is no <term>_<index>.ss in it`,
    });
    await writeFile(join(folder, 'snapshot/1_5.ss'), snapshot(1, 5));
    await writeFile(join(folder, 'snapshot/2_17.ss'), snapshot(2, 17).subarray(0, 100));
    await expect(openSource(folder)).rejects.toMatchObject({
      code: 'ARCHIVE_TRUNCATED',
      message: expect.stringMatching(/2_17\.ss: cut short: .*; older ones are there, name one to convert it: 1_5\.ss$/),
    });
    expect((await openSource(join(folder, 'snapshot/1_5.ss'))).meta.index).toBe(5n);
  });

  test('a name that says something else than the content is refused: it decides which is the newest', async () => {
    await file(snapshot(2, 17), '3_1.ss');
    await expect(openSource(folder)).rejects.toMatchObject({
      code: 'ARCHIVE_SOURCE_INVALID',
      message: expect.stringContaining('3_1.ss: it is of term 2 and index 17, not what its name says'),
    });
  });
});

test('the checksum of the samples is the one of the statement: CRC-32 (IEEE) of the JSON', () => {
  expect(crc32('123456789').toString(16)).toBe('cbf43926');
  expect(goraftFile('123456789').toString()).toBe('cbf43926\n123456789');
});
