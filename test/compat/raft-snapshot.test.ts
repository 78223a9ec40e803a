import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { extractState, verifyArchiveFile } from '../../src/archive/file.ts';
import { sampleMeta, sampleState, verdict, verify, written } from '../archive/samples.ts';
import { perform } from './go-program.ts';
import { buildOracle, judge } from './raft-snapshot/oracle.ts';

/** Our archives against HashiCorp's published code (Go module raft-snapshot v1.0.4), in both directions. */

let oracle: string;
let folder: string;

beforeAll(async () => {
  oracle = await buildOracle();
  folder = await mkdtemp(join(tmpdir(), 'raftsman-compat-'));
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

async function theirs(cases: readonly (readonly [string, Uint8Array])[]) {
  const files: string[] = [];
  for (const [at, [, bytes]] of cases.entries()) {
    const path = join(folder, `case-${at}.tar.gz`);
    await writeFile(path, bytes);
    files.push(path);
  }
  return judge(oracle, files);
}

describe('archives that HashiCorp reads', () => {
  test('NS-01 NS-14 NS-16 ours is good to its Verify, with all the metadata', async () => {
    const [judgement] = await theirs([['ours', await written(sampleState(100_000))]]);
    expect(judgement).toMatchObject({
      meta: {
        Version: 1,
        ID: '2-17-1770091506000',
        Index: 17,
        Term: 2,
        Configuration: { Servers: [{ Suffrage: 0, ID: '8e9e05c52164694d', Address: 'http://127.0.0.1:2380' }] },
        ConfigurationIndex: 1,
        Size: 100_000,
      },
    });
    expect(judgement?.error).toBeUndefined();
  });

  test('uint64 numbers arrive whole', async () => {
    const most = 2n ** 64n - 1n;
    const path = join(folder, 'most.tar.gz');
    await writeFile(path, await written(sampleState(10), { index: most, term: most, configurationIndex: most }));
    // As text: a parser of JSON would lose the last digits here.
    expect(await perform(oracle, 'verify', path)).toContain('"Index":18446744073709551615,"Term":18446744073709551615');
  });

  test('NS-20 a real Raft restores the state from ours', async () => {
    const state = sampleState(300_000);
    const path = join(folder, 'ours.tar.gz');
    await writeFile(path, await written(state));
    await perform(oracle, 'restore', path, join(folder, 'restored'));
    expect((await readFile(join(folder, 'restored'))).equals(state)).toBe(true);
  });
});

describe('archives that HashiCorp writes', () => {
  test('NS-05 NS-08 that of a real Raft is good to us, with the same metadata, checksum and state', async () => {
    const state = sampleState(250_000, 9);
    const path = join(folder, 'theirs.tar.gz');
    await writeFile(join(folder, 'state'), state);
    const told = JSON.parse(await perform(oracle, 'write', join(folder, 'state'), path)) as {
      index: number;
      checksum: string;
    };
    const verified = await verifyArchiveFile(path);
    const [judgement] = await judge(oracle, [path]);
    expect(verified.checksum).toBe(told.checksum);
    expect(verified.meta).toMatchObject({
      version: 1,
      id: judgement?.meta?.['ID'],
      index: BigInt(told.index),
      term: BigInt(judgement?.meta?.['Term'] as number),
      configuration: { servers: [{ suffrage: 'voter', id: 'one', address: '127.0.0.1:8300' }] },
      configurationIndex: 1n,
      size: state.length,
    });
    expect(Buffer.from(verified.meta.peers ?? []).toString('latin1')).toBe('\x91\xae127.0.0.1:8300');
    await extractState(path, verified, join(folder, 'extracted'));
    expect((await readFile(join(folder, 'extracted'))).equals(state)).toBe(true);
  });

  test('HR-04 our peer list is what a real Raft writes for the same configuration', async () => {
    const configuration = { servers: [{ suffrage: 'voter' as const, id: 'one', address: '127.0.0.1:8300' }] };
    const { meta } = await verify(await written(sampleState(5), { configuration }));
    expect(meta.peers).toEqual(Uint8Array.from(Buffer.from('ka4xMjcuMC4wLjE6ODMwMA==', 'base64')));
  });
});

test('NS-12 of random damage, nothing that HashiCorp refuses is good to us', async () => {
  const good = await written(sampleState(3000), { ...sampleMeta(3000) });
  const damage = sampleState(400, 77);
  const cases = Array.from({ length: 150 }, (_, at): [string, Uint8Array] => {
    const bytes = Buffer.from(good);
    const place = ((damage[2 * at] ?? 0) * 256 + (damage[2 * at + 1] ?? 0)) % bytes.length;
    bytes[place] = (bytes[place] ?? 0) ^ (1 << (at % 8));
    return [`bit ${at % 8} of byte ${place}`, bytes];
  });
  const judgements = await theirs(cases);
  for (const [at, [what, bytes]] of cases.entries()) {
    const ours = await verdict(verify(bytes));
    if (judgements[at]?.error !== undefined) expect([what, ours]).not.toEqual([what, 'good']);
    else expect([what, ours]).toEqual([what, 'good']);
  }
});
