import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { convertToFile } from '../../src/archive/convert.ts';
import { openSource } from '../../src/archive/sources/open.ts';
import type { ArchiveSummary } from '../../src/archive/types.ts';
import { sampleState, verdict } from '../archive/samples.ts';
import { stateOf } from '../archive/sources/samples.ts';
import { buildProgram, perform } from './go-program.ts';
import { buildOracle, judge } from './raft-snapshot/oracle.ts';

/** What the sources' own code wrote, converted by ours, and given back to HashiCorp's. */

let oracle: string;
let goraft: string;
let root: string;
let folder: string;
let runs = 0;

beforeAll(async () => {
  [oracle, goraft] = await Promise.all([buildOracle(), buildProgram(join(import.meta.dirname, 'goraft'))]);
  root = await mkdtemp(join(tmpdir(), 'raftsman-convert-'));
}, 300_000);
afterAll(() => rm(root, { recursive: true, force: true }));
beforeEach(async () => {
  runs += 1;
  folder = join(root, String(runs));
  await mkdir(folder);
});

async function keep(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

/** Converts, has HashiCorp's Verify read the result and a real Raft restore it, and returns what the state was there. */
async function converted(source: string): Promise<{ summary: ArchiveSummary; theirMeta: string; restored: Buffer }> {
  const target = join(folder, 'converted.snap');
  const summary = await convertToFile(await openSource(source), target, { now: new Date(1_700_000_000_000) });
  const [judgement] = await judge(oracle, [target]);
  expect(judgement?.error).toBeUndefined();
  await perform(oracle, 'restore', target, join(folder, 'restored'));
  return {
    summary,
    theirMeta: await perform(oracle, 'verify', target),
    restored: await readFile(join(folder, 'restored')),
  };
}

describe('goraft', () => {
  test('GR-06 GR-27: the folder of a server that goraft itself wrote becomes an archive that HashiCorp restores', async () => {
    const state = sampleState(120_001);
    const server = join(folder, 'server');
    await mkdir(server);
    await perform(goraft, 'write', server, await keep('state', state), 'two=http://127.0.0.1:7002');
    // As the statements have it: the log beside, the folder of mode 0700, the file of mode 0600 named by term and index.
    expect((await readdir(server)).sort()).toEqual(['conf', 'log', 'snapshot']);
    const [name = ''] = await readdir(join(server, 'snapshot'));
    const [, term = '', index = ''] = /^(\d+)_(\d+)\.ss$/.exec(name) ?? [];
    expect((await stat(join(server, 'snapshot'))).mode & 0o777).toBe(0o700);
    expect((await stat(join(server, 'snapshot', name))).mode & 0o777).toBe(0o600);

    const { summary, restored, theirMeta } = await converted(server);
    expect(restored.equals(state)).toBe(true);
    expect(Number(index)).toBeGreaterThan(0);
    expect(summary.meta).toMatchObject({
      index: BigInt(index),
      term: BigInt(term),
      configuration: {
        servers: [
          { suffrage: 'voter', id: 'two', address: 'http://127.0.0.1:7002' },
          { suffrage: 'voter', id: 'one', address: 'http://127.0.0.1:7001' },
        ],
      },
      raftsman: { engine: 'Goraft' },
    });
    expect(theirMeta).toContain('{"Suffrage":0,"ID":"one","Address":"http://127.0.0.1:7001"}');
  });

  test('GR-31: what goraft refuses to load is refused here, and what it loads is the same state', async () => {
    const state = sampleState(5000);
    const server = join(folder, 'server');
    await mkdir(server);
    await perform(goraft, 'write', server, await keep('state', state));
    const [name = ''] = await readdir(join(server, 'snapshot'));
    const path = join(server, 'snapshot', name);
    const whole = await readFile(path);
    const flipped = Buffer.from(whole);
    flipped[100] = (flipped[100] ?? 0) ^ 1;
    const theirs = async () => {
      const out = join(folder, 'loaded');
      await rm(out, { force: true });
      return perform(goraft, 'load', server, out).then(
        () => readFile(out),
        () => undefined,
      );
    };
    const ours = async () => openSource(server).then(stateOf, () => undefined);
    for (const [what, bytes, good] of [
      ['whole', whole, true],
      ['a flipped bit', flipped, false],
      ['cut', whole.subarray(0, -5), false],
      ['no checksum', whole.subarray(9), false],
      ['more after it', Buffer.concat([whole, Buffer.from('x')]), false],
      ['empty', new Uint8Array(0), false],
    ] as const) {
      await writeFile(path, bytes);
      const [their, our] = [await theirs(), await ours()];
      expect([what, their?.equals(state), our?.equals(state)]).toEqual([what, good || undefined, good || undefined]);
    }
  });
});

describe("hashicorp/raft's file store", () => {
  test('HR-01 HR-33 HR-34: what it wrote becomes an archive with the same metadata, and HashiCorp restores it', async () => {
    const state = sampleState(130_003);
    const base = join(folder, 'raft');
    // More than a double holds; at the very end of uint64 their restore would wait for an index that cannot come.
    const most = 2n ** 60n + 1n;
    const id = await perform(oracle, 'store', base, '7', most.toString(), await keep('state', state));
    const { summary, restored, theirMeta } = await converted(base);
    expect(restored.equals(state)).toBe(true);
    expect(summary.meta).toMatchObject({
      id,
      index: most,
      term: 7n,
      configurationIndex: most - 1n,
      size: state.length,
      configuration: { servers: [{ suffrage: 'voter' }, { suffrage: 'voter' }, { suffrage: 'nonvoter', id: 'three' }] },
      raftsman: { engine: 'HashicorpRaft', convertedFrom: 'hashicorp/raft file snapshot, version 1' },
    });
    // The metadata as their own store reads it, against the metadata as their own archive code reads ours.
    const stored = await perform(oracle, 'open', base, id);
    const metaOf = (text: string) => /"meta":(\{.*?"Size":\d+\})/.exec(text)?.[1];
    expect(metaOf(theirMeta)).toBe(metaOf(stored));
    expect(stored).toContain(createHash('sha256').update(state).digest('hex'));
  });

  test('HR-33 HR-34: what the store itself cannot open is passed over, as it does', async () => {
    const base = join(folder, 'raft');
    const ids: string[] = [];
    for (const [term, index] of [
      [2, 10],
      [9, 5],
      [10, 1],
    ]) {
      ids.push(
        await perform(oracle, 'store', base, `${term}`, `${index}`, await keep('state', sampleState(900, term))),
      );
    }
    const [oldest = '', middle = '', newest = ''] = ids;
    expect((await openSource(base)).path).toBe(join(base, 'snapshots', newest));
    const path = join(base, 'snapshots', newest, 'state.bin');
    const bytes = await readFile(path);
    bytes[7] = (bytes[7] ?? 0) ^ 1;
    await writeFile(path, bytes);
    await expect(perform(oracle, 'open', base, newest)).rejects.toThrow('CRC mismatch');
    const source = await openSource(base);
    expect(source.path).toBe(join(base, 'snapshots', middle));
    expect(source.notes).toEqual([
      expect.stringContaining(`${newest}: CRC mismatch`),
      `took ${middle}, the newest good one; also there: ${oldest}`,
    ]);
    expect((await stateOf(source)).equals(sampleState(900, 9))).toBe(true);
    expect(await perform(oracle, 'open', base, middle)).toContain(source.stateHash);
  });

  test("Consul's and Nomad's states are told by what their encoder writes first", async () => {
    for (const [name, engine] of [
      ['consul', 'Consul'],
      ['nomad', 'Nomad'],
    ] as const) {
      const base = join(folder, name);
      const head = Buffer.from(await perform(oracle, 'head', name), 'hex');
      await perform(oracle, 'store', base, '2', '41', await keep('state', Buffer.concat([head, sampleState(100)])));
      expect((await openSource(base)).engine).toBe(engine);
    }
  });
});

describe('.snap archives', () => {
  test("NS-01 NS-14: one that HashiCorp's own writer made of a real Raft's state is converted and restored by it", async () => {
    const state = sampleState(90_000, 4);
    const path = join(folder, 'theirs.snap');
    const told = JSON.parse(await perform(oracle, 'write', await keep('state', state), path)) as { index: number };
    const { summary, restored } = await converted(path);
    expect(restored.equals(state)).toBe(true);
    expect(summary.meta).toMatchObject({
      index: BigInt(told.index),
      configuration: { servers: [{ suffrage: 'voter', id: 'one', address: '127.0.0.1:8300' }] },
      raftsman: { engine: 'HashicorpRaft', convertedFrom: 'snapshot archive, version 1' },
    });
    await writeFile(path, (await readFile(path)).subarray(0, -8));
    expect(await verdict(openSource(path))).toBe('ARCHIVE_TRUNCATED');
  });
});
