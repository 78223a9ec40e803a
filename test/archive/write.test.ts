import { createHash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import tarStream from 'tar-stream';
import { encodeHeader } from '../../src/archive/tar.ts';
import { verifyArchive } from '../../src/archive/verify.ts';
import { writeArchive } from '../../src/archive/write.ts';
import { collect, hex, modifiedAt, sampleMeta, sampleState, stream, verdict, verify, written } from './samples.ts';

async function entries(archive: Uint8Array) {
  const extract = tarStream.extract();
  extract.end(gunzipSync(archive));
  const found: { name: string; mode: number | undefined; mtime: Date | undefined; bytes: Buffer }[] = [];
  for await (const entry of extract) {
    const { name, mode, mtime } = entry.header;
    found.push({ name, mode, mtime, bytes: await collect(entry as AsyncIterable<Uint8Array>) });
  }
  return found;
}

describe('writing an archive', () => {
  test('NS-01 NS-14 meta.json, state.bin, SHA256SUMS in this order, mode 0600, one time, compact JSON and a newline', async () => {
    const state = sampleState(100_000);
    const found = await entries(await written(state));
    expect(found.map((entry) => entry.name)).toEqual(['meta.json', 'state.bin', 'SHA256SUMS']);
    for (const entry of found) expect([entry.mode, entry.mtime]).toEqual([0o600, modifiedAt]);
    const [meta, data] = found;
    expect(data?.bytes.equals(state)).toBe(true);
    const text = meta?.bytes.toString() ?? '';
    expect(text).toBe(`${JSON.stringify(JSON.parse(text))}\n`);
    expect(JSON.parse(text)).toEqual({
      Version: 1,
      ID: '2-17-1770091506000',
      Index: 17,
      Term: 2,
      Peers: Buffer.from('\x91\xb5http://127.0.0.1:2380', 'latin1').toString('base64'),
      Configuration: { Servers: [{ Suffrage: 0, ID: '8e9e05c52164694d', Address: 'http://127.0.0.1:2380' }] },
      ConfigurationIndex: 1,
      Size: 100_000,
      Raftsman: sampleMeta(0).raftsman,
    });
  });

  test('NS-16 SHA256SUMS has one line per file, as sha256sum writes it', async () => {
    const [meta, state, sums] = await entries(await written(sampleState(3000)));
    expect(sums?.bytes.toString()).toBe(
      `${hex(meta?.bytes ?? '')}  meta.json\n${hex(state?.bytes ?? '')}  state.bin\n`,
    );
  });

  test('NS-05 the checksum is sha-256= and base64 of SHA-256 over the compressed bytes', async () => {
    const state = sampleState(50_000);
    const writing = writeArchive(sampleMeta(state.length), stream(state), { modifiedAt });
    expect(() => writing.summary()).toThrow('not been read to its end');
    const bytes = await collect(writing.chunks);
    const checksum = `sha-256=${createHash('sha256').update(bytes).digest('base64')}`;
    expect(writing.summary()).toMatchObject({ sizeBytes: bytes.length, checksum });
    expect(await verify(bytes)).toMatchObject({ sizeBytes: bytes.length, checksum });
  });

  test('NS-15 a state shorter or longer than its size fails, and what was written until then does not verify', async () => {
    for (const [size, said] of [
      [999, 1000],
      [1001, 1000],
      [0, 1],
    ] as const) {
      const writing = writeArchive(sampleMeta(said), stream(sampleState(size)), { modifiedAt });
      const partial: Uint8Array[] = [];
      const consume = async () => {
        for await (const chunk of writing.chunks) partial.push(chunk);
      };
      expect(await verdict(consume())).toBe('ARCHIVE_SIZE_MISMATCH');
      expect(() => writing.summary()).toThrow();
      expect(await verdict(verify(Buffer.concat(partial)))).not.toBe('good');
    }
  });

  test('an empty state is a state', async () => {
    expect((await verify(await written(new Uint8Array(0)))).meta.size).toBe(0);
  });

  test('uint64 numbers go through without loss', async () => {
    const most = 2n ** 64n - 1n;
    const bytes = await written(sampleState(10), { index: most, term: most - 1n, configurationIndex: 2n ** 53n + 1n });
    const { meta } = await verify(bytes);
    expect([meta.index, meta.term, meta.configurationIndex]).toEqual([most, most - 1n, 2n ** 53n + 1n]);
    expect((await entries(bytes))[0]?.bytes.toString()).toContain('"Index":18446744073709551615,');
  });

  test('numbers that are no uint64 are refused', async () => {
    expect(await verdict(written(sampleState(1), { index: -1n }))).toBe('ARCHIVE_META_INVALID');
    expect(await verdict(written(sampleState(1), { term: 2n ** 64n }))).toBe('ARCHIVE_META_INVALID');
    expect(await verdict(written(sampleState(1), { version: 2 }))).toBe('ARCHIVE_VERSION_UNSUPPORTED');
  });

  test('NS-22 a meta.json that readers would refuse is not written', async () => {
    const servers = Array.from({ length: 60 }, (_, at) => ({
      suffrage: 'voter' as const,
      id: `${at}`,
      address: `http://${'a'.repeat(60)}-${at}.example:2380`,
    }));
    await expect(written(sampleState(1), { configuration: { servers } })).rejects.toMatchObject({
      code: 'ARCHIVE_FILE_TOO_LARGE',
      message: expect.stringContaining('60 servers'),
    });
  });

  test('NS-03 a failing source ends the writing with its own error', async () => {
    async function* failing() {
      yield sampleState(500);
      throw new Error('the member went away');
    }
    const writing = writeArchive(sampleMeta(1000), failing(), { modifiedAt });
    await expect(collect(writing.chunks)).rejects.toThrow('the member went away');
  });

  test('an abort ends the writing and the source', async () => {
    const abort = new AbortController();
    let ended = false;
    async function* endless() {
      try {
        for (;;) yield sampleState(64 * 1024);
      } finally {
        ended = true;
      }
    }
    const writing = writeArchive(sampleMeta(1e12), endless(), {
      modifiedAt,
      signal: abort.signal,
      onProgress: ({ stateBytes }) => stateBytes > 1e6 && abort.abort(),
    });
    await expect(collect(writing.chunks)).rejects.toMatchObject({ name: 'AbortError' });
    expect(ended).toBe(true);
  });

  test('a reader that stops early ends the source', async () => {
    let ended = false;
    async function* endless() {
      try {
        for (;;) yield sampleState(64 * 1024);
      } finally {
        ended = true;
      }
    }
    for await (const _ of writeArchive(sampleMeta(1e12), endless(), { modifiedAt }).chunks) break;
    expect(ended).toBe(true);
  });

  test('the same meta, state and time give the same bytes', async () => {
    const state = sampleState(200_000);
    expect((await written(state)).equals(await written(state))).toBe(true);
  });

  test('progress counts state bytes up to the total', async () => {
    const state = sampleState(300_000);
    const seen: number[] = [];
    const writing = writeArchive(sampleMeta(state.length), stream(state), {
      modifiedAt,
      onProgress: ({ stateBytes, stateTotal }) => {
        expect(stateTotal).toBe(300_000);
        seen.push(stateBytes);
      },
    });
    const { meta } = await verifyArchive(writing.chunks);
    expect(meta.size).toBe(300_000);
    expect(seen.at(-1)).toBe(300_000);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  test('sizes of 8 GiB and more go into the header as a binary number', async () => {
    for (const size of [8 ** 11 - 1, 8 ** 11, 3 * 8 ** 12 + 5]) {
      const extract = tarStream.extract();
      const seen = new Promise<number | undefined>((resolve, reject) => {
        extract.on('error', reject);
        extract.on('entry', (header) => resolve(header.size));
      });
      extract.write(Buffer.from(encodeHeader({ name: 'state.bin', size }, modifiedAt)));
      expect(await seen).toBe(size);
      extract.destroy();
    }
  });
});
