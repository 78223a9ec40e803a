import { deflateRawSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { encodeHeader, padding, tarEnd } from '../../src/archive/tar.ts';
import { verifyArchive } from '../../src/archive/verify.ts';
import {
  archiveOf,
  collect,
  goodPieces,
  hex,
  metaText,
  modifiedAt,
  type Piece,
  sampleState,
  stream,
  sumsText,
  tarOf,
  verdict,
  verify,
  written,
} from './samples.ts';

const [meta, state, sums] = goodPieces();

describe('a good archive', () => {
  test('NS-08 verifying reads everything and returns the metadata', async () => {
    const result = await verify(await archiveOf(goodPieces()));
    expect(result.meta).toEqual({
      version: 1,
      id: '2-17-1',
      index: 17n,
      term: 2n,
      configuration: { servers: [{ suffrage: 'voter', id: 'a', address: '127.0.0.1:1' }] },
      configurationIndex: 1n,
      size: 9,
    });
  });

  test('NS-17 entries may come in any order', async () => {
    for (const order of [
      [state, sums, meta],
      [sums, state, meta],
      [sums, meta, state],
    ]) {
      expect(await verdict(verify(await archiveOf(order)))).toBe('good');
    }
  });

  test('NS-16 sums in any order, without a final newline, with one space, in upper case', async () => {
    const lines = [`${hex(state.bytes)}  state.bin`, `${hex(meta.bytes)}  meta.json`];
    for (const text of [
      lines.join('\n'),
      `${lines.join('\r\n')}\r\n`,
      lines.map((line) => line.replace('  ', ' ')).join('\n'),
      lines.map((line) => line.replace(/^\w+/, (digits) => digits.toUpperCase())).join('\n'),
    ]) {
      expect(await verdict(verify(await archiveOf([meta, state, { name: 'SHA256SUMS', bytes: text }])))).toBe('good');
    }
  });

  test('NS-18 the hash of meta.json covers the spaces after its JSON', async () => {
    const spaces: Piece = { name: 'meta.json', bytes: `${metaText(9)}${' '.repeat(100)}` };
    const good = { name: 'SHA256SUMS', bytes: sumsText([spaces, state]) };
    expect(await verdict(verify(await archiveOf([spaces, state, good])))).toBe('good');
    expect(await verdict(verify(await archiveOf([spaces, state, sums])))).toBe('ARCHIVE_HASH_MISMATCH');
  });

  test('field names are read without regard to case, as Go does', async () => {
    const lower: Piece = { name: 'meta.json', bytes: '{"version":1,"iNdEx":5,"TERM":2,"size":9}' };
    const bytes = await archiveOf([lower, state, { name: 'SHA256SUMS', bytes: sumsText([lower, state]) }]);
    expect((await verify(bytes)).meta).toMatchObject({ index: 5n, term: 2n, size: 9 });
  });

  test('chunks of any size make no difference, and the state comes out as it went in', async () => {
    const data = sampleState(10_000);
    const bytes = await written(data);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 3000 }), async (size) => {
        const out: Uint8Array[] = [];
        await verify(bytes, { onState: (chunk) => void out.push(Uint8Array.from(chunk)) }, size);
        expect(Buffer.concat(out).equals(data)).toBe(true);
      }),
      { numRuns: 30, seed: 3 },
    );
  });

  test('a gzip header with name, comment, extra field and checksum is read', async () => {
    const tar = await tarOf(goodPieces());
    const plain = gzipSync(tar);
    const head = Buffer.from([0x1f, 0x8b, 8, 0x1c, 0, 0, 0, 0, 0, 255, 3, 0, 1, 2, 3]);
    const full = Buffer.concat([head, Buffer.from('name\0comment\0'), plain.subarray(10)]);
    expect(await verdict(verify(full))).toBe('good');
    const flagged = Buffer.from(full);
    flagged[3] = 0x1e;
    expect(await verdict(verify(flagged))).toBe('ARCHIVE_GZIP_CORRUPT');
  });

  test('a pax header that says the same is read', async () => {
    const [first, ...rest] = goodPieces();
    const record = '18 path=meta.json\n';
    const pax = Buffer.from(encodeHeader({ name: 'pax', size: record.length }, modifiedAt));
    pax.write('x', 156);
    let sum = 0;
    pax.fill(' ', 148, 156);
    for (const byte of pax) sum += byte;
    pax.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    const tar = await tarOf([{ ...first, name: 'something-else' }, ...rest]);
    const bytes = gzipSync(Buffer.concat([pax, Buffer.from(record), Buffer.alloc(padding(record.length)), tar]));
    expect(await verdict(verify(bytes))).toBe('good');
  });

  test('a slow sink holds the reader back', async () => {
    const data = sampleState(3_000_000);
    let inside = 0;
    await verify(await written(data), {
      onState: async () => {
        inside += 1;
        expect(inside).toBe(1);
        await Promise.resolve();
        inside -= 1;
      },
    });
  });
});

describe('a damaged archive', () => {
  test('NS-10 every truncation of a small archive is noticed as one', async () => {
    const bytes = await written(sampleState(700));
    for (let length = 0; length < bytes.length; length++) {
      expect([length, await verdict(verify(bytes.subarray(0, length)))]).toEqual([length, 'ARCHIVE_TRUNCATED']);
    }
    expect(await verdict(verify(bytes))).toBe('good');
  });

  test('NS-10 1, 2, 4, 8, 16 and 200 bytes cut from a large one, with the byte in the message', async () => {
    const bytes = await written(sampleState(500_000));
    for (const cut of [1, 2, 4, 8, 16, 200]) {
      await expect(verify(bytes.subarray(0, bytes.length - cut))).rejects.toMatchObject({
        code: 'ARCHIVE_TRUNCATED',
        message: expect.stringContaining(`unexpected EOF: the archive ends after ${bytes.length - cut} bytes`),
        place: { layer: 'gzip', offset: bytes.length - cut },
      });
    }
  });

  test('NS-10 a tar cut inside an intact gzip', async () => {
    const tar = await tarOf(goodPieces());
    for (const length of [0, 100, 512, 600, 1024, tar.length - 1024, tar.length - 512, tar.length - 1]) {
      expect([length, await verdict(verify(gzipSync(tar.subarray(0, length))))]).toEqual([length, 'ARCHIVE_TRUNCATED']);
    }
  });

  test('NS-09 anything after the gzip end is refused: zero bytes, garbage, a second member with or without data', async () => {
    const bytes = await written(sampleState(2000));
    const tails = [[0], new Uint8Array(512), [1, 2, 3], gzipSync(''), gzipSync('five!'), bytes];
    for (const tail of tails) {
      for (const size of [64 * 1024, 100, bytes.length]) {
        await expect(verify(Buffer.concat([bytes, Uint8Array.from(tail)]), {}, size)).rejects.toMatchObject({
          code: 'ARCHIVE_TRAILING_BYTES',
          place: { layer: 'gzip', offset: bytes.length },
        });
      }
    }
  });

  test('NS-09 anything after the tar end is refused: GNU padding, zeros, data', async () => {
    const tar = await tarOf(goodPieces());
    for (const tail of [new Uint8Array(512), new Uint8Array(8192), Buffer.from('x'), tar]) {
      await expect(verify(gzipSync(Buffer.concat([tar, tail])))).rejects.toMatchObject({
        code: 'ARCHIVE_TRAILING_BYTES',
        message: expect.stringContaining(`${tail.length} unread uncompressed bytes remain`),
        place: { layer: 'tar', offset: tar.length },
      });
    }
  });

  test('D19 leftover data is neither kept nor read without end', async () => {
    const tar = await tarOf(goodPieces());
    const bomb = gzipSync(Buffer.concat([tar, Buffer.alloc(50_000_000)]));
    await expect(verify(bomb)).rejects.toThrow(/at least 1\d{6} unread uncompressed bytes remain/);
  });

  test('a wrong CRC, a wrong length, damaged deflate data', async () => {
    const bytes = await written(sampleState(2000));
    for (const at of [bytes.length - 8, bytes.length - 1]) {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      await expect(verify(damaged)).rejects.toMatchObject({
        code: 'ARCHIVE_GZIP_CORRUPT',
        message: expect.stringContaining('invalid checksum'),
      });
    }
    const header = bytes.subarray(0, 10);
    expect(await verdict(verify(Buffer.concat([header, Buffer.from([7, 255, 255, 255])])))).toBe(
      'ARCHIVE_GZIP_CORRUPT',
    );
  });

  test('NS-09 NS-19 no flip of any bits goes unnoticed', async () => {
    const bytes = await written(sampleState(1500));
    // Bytes 4 to 9 of the gzip header are time and origin, and bit 0 of byte 3 a hint, which nothing depends on.
    const place = fc.oneof(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 10, max: bytes.length - 1 }));
    await fc.assert(
      fc.asyncProperty(place, fc.integer({ min: 1, max: 255 }), async (at, mask) => {
        const damaged = Buffer.from(bytes);
        damaged[at] = (damaged[at] ?? 0) ^ mask;
        expect(await verdict(verify(damaged))).toMatch(/^ARCHIVE_(?!READ_FAILED)/);
      }),
      { numRuns: 400, seed: 7 },
    );
  });

  test('NS-19 no flip inside the tar goes unnoticed, whatever gzip says', async () => {
    const tar = await tarOf(goodPieces('some more of the state'.repeat(50)));
    const ignored = (at: number) => {
      // Padding between entries belongs to no file.
      const damaged = Buffer.from(tar);
      damaged[at] = 0xff;
      return tar[at] === 0;
    };
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: tar.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        async (at, mask) => {
          const damaged = Buffer.from(tar);
          damaged[at] = (damaged[at] ?? 0) ^ mask;
          const result = await verdict(verify(gzipSync(damaged)));
          if (result !== 'good') expect(result).toMatch(/^ARCHIVE_/);
          else expect(ignored(at)).toBe(true);
        },
      ),
      { numRuns: 400, seed: 11 },
    );
  });

  test('NS-19 hashes that differ, are listed for nothing or are not listed', async () => {
    const cases: [Piece[], string, string][] = [
      [
        [{ name: 'meta.json', bytes: metaText(9).replace('17', '18') }, state, sums],
        'ARCHIVE_HASH_MISMATCH',
        'hash check failed for "meta.json"',
      ],
      [
        [meta, { name: 'state.bin', bytes: 'the stale' }, sums],
        'ARCHIVE_HASH_MISMATCH',
        'hash check failed for "state.bin"',
      ],
      [
        [meta, state, { name: 'SHA256SUMS', bytes: `${sums.bytes}${'0'.repeat(64)}  nope\n` }],
        'ARCHIVE_HASH_MISMATCH',
        'list missing hash for "nope"',
      ],
      [
        [meta, state, { name: 'SHA256SUMS', bytes: sumsText([meta]) }],
        'ARCHIVE_HASH_MISMATCH',
        'file missing for "state.bin"',
      ],
      [[state, sums], 'ARCHIVE_FILE_MISSING', 'hash check failed for "meta.json"'],
      [[meta, sums], 'ARCHIVE_FILE_MISSING', 'hash check failed for "state.bin"'],
      [[meta, state], 'ARCHIVE_FILE_MISSING', 'file missing for "meta.json"'],
      [[], 'ARCHIVE_FILE_MISSING', 'file missing for "meta.json"'],
      [[meta, state, { name: 'SHA256SUMS', bytes: 'what is this\n' }], 'ARCHIVE_SUMS_INVALID', 'line 1'],
    ];
    for (const [pieces, code, message] of cases) {
      await expect(verify(await archiveOf(pieces))).rejects.toMatchObject({
        code,
        message: expect.stringContaining(`failed checking integrity of snapshot: ${message}`),
      });
    }
  });

  test('NS-19 a file that is absent and listed with the hash of nothing is still missing', async () => {
    const listed = {
      name: 'SHA256SUMS',
      bytes: sumsText([
        { name: 'meta.json', bytes: metaText(0) },
        { name: 'state.bin', bytes: '' },
      ]),
    };
    const bytes = await archiveOf([{ name: 'meta.json', bytes: metaText(0) }, listed]);
    expect(await verdict(verify(bytes))).toBe('ARCHIVE_FILE_MISSING');
  });

  test('NS-17 files that do not belong there, ./ names, folders, links, duplicates', async () => {
    const cases: [Piece[], string][] = [
      [[...goodPieces(), { name: 'extra', bytes: '' }], 'ARCHIVE_UNEXPECTED_FILE'],
      [[{ ...meta, name: './meta.json' }, state, sums], 'ARCHIVE_UNEXPECTED_FILE'],
      [[{ name: 'folder', bytes: '', type: 'directory' }, ...goodPieces()], 'ARCHIVE_UNEXPECTED_FILE'],
      [[meta, { name: 'state.bin', bytes: '', type: 'symlink' }, sums], 'ARCHIVE_UNEXPECTED_FILE'],
      [[...goodPieces(), state], 'ARCHIVE_DUPLICATE_FILE'],
      [[meta, ...goodPieces()], 'ARCHIVE_DUPLICATE_FILE'],
      [[...goodPieces(), sums], 'ARCHIVE_DUPLICATE_FILE'],
    ];
    for (const [pieces, code] of cases) expect(await verdict(verify(await archiveOf(pieces)))).toBe(code);
    await expect(verify(await archiveOf([...goodPieces(), { name: 'extra', bytes: '' }]))).rejects.toThrow(
      'unexpected file "extra" in snapshot',
    );
  });

  test('NS-17 sealed sums of other servers are passed over', async () => {
    expect(await verdict(verify(await archiveOf([...goodPieces(), { name: 'SHA256SUMS.sealed', bytes: 'x' }])))).toBe(
      'good',
    );
  });

  test('D19 a size in meta.json that is not that of state.bin is refused in any order, hashes right or not', async () => {
    const wrong: Piece = { name: 'meta.json', bytes: metaText(10) };
    const list = { name: 'SHA256SUMS', bytes: sumsText([wrong, state]) };
    for (const order of [
      [wrong, state, list],
      [state, list, wrong],
    ]) {
      await expect(verify(await archiveOf(order))).rejects.toMatchObject({
        code: 'ARCHIVE_SIZE_MISMATCH',
        message: 'state.bin has 9 bytes, and meta.json says 10',
      });
    }
  });

  test('NS-22 meta.json and SHA256SUMS are refused from 8192 bytes on', async () => {
    const padded = (size: number): Piece => ({ name: 'meta.json', bytes: metaText(9).padEnd(size, ' ') });
    const withMeta = (piece: Piece) =>
      archiveOf([piece, state, { name: 'SHA256SUMS', bytes: sumsText([piece, state]) }]);
    expect(await verdict(verify(await withMeta(padded(8191))))).toBe('good');
    expect(await verdict(verify(await withMeta(padded(8192))))).toBe('ARCHIVE_FILE_TOO_LARGE');
    const long = { name: 'SHA256SUMS', bytes: `${sums.bytes}`.repeat(60) };
    expect(await verdict(verify(await archiveOf([meta, state, long])))).toBe('ARCHIVE_FILE_TOO_LARGE');
  });

  test('NS-21 an unknown version of the metadata is refused by name', async () => {
    const odd: Piece = { name: 'meta.json', bytes: metaText(9).replace('"Version":1', '"Version":7') };
    await expect(
      verify(await archiveOf([odd, state, { name: 'SHA256SUMS', bytes: sumsText([odd, state]) }])),
    ).rejects.toMatchObject({
      code: 'ARCHIVE_VERSION_UNSUPPORTED',
      message: expect.stringContaining('unsupported snapshot version 7'),
    });
  });

  test('metadata that is no metadata is refused with the field', async () => {
    for (const [bytes, message] of [
      ['{"Version":1,', 'not JSON'],
      ['[]', 'not an object'],
      [metaText(9).replace('"Index":17', '"Index":-17'), 'Index is -17'],
      [metaText(9).replace('"Index":17', '"Index":1.5'), 'Index is 1.5'],
      [metaText(9).replace('"Index":17', '"Index":18446744073709551616'), 'Index is 18446744073709551616'],
      [metaText(9).replace('"Suffrage":0', '"Suffrage":9'), 'Suffrage'],
      [metaText(9).replace('"ID":"2-17-1"', '"ID":5'), 'ID is not a string'],
    ] as const) {
      const odd: Piece = { name: 'meta.json', bytes };
      const list = { name: 'SHA256SUMS', bytes: sumsText([odd, state]) };
      await expect(verify(await archiveOf([odd, state, list]))).rejects.toMatchObject({
        code: 'ARCHIVE_META_INVALID',
        message: expect.stringContaining(message),
      });
    }
  });
});

describe('a foreign file', () => {
  test('what is no archive is called so', async () => {
    const tar = await tarOf(goodPieces());
    const cases: [string, Uint8Array, string][] = [
      ['nothing', new Uint8Array(0), 'ARCHIVE_TRUNCATED'],
      ['NS-10 the word nope', Buffer.from('nope'), 'ARCHIVE_NOT_GZIP'],
      ['a plain tar', tar, 'ARCHIVE_NOT_GZIP'],
      ['a gzip of text', gzipSync('text '.repeat(500)), 'ARCHIVE_NOT_TAR'],
      ['raw deflate', deflateRawSync(tar), 'ARCHIVE_NOT_GZIP'],
      ['a zip', Buffer.from('PK\x03\x04'.padEnd(100, '\0')), 'ARCHIVE_NOT_GZIP'],
      ['an empty tar', gzipSync(tarEnd), 'ARCHIVE_FILE_MISSING'],
      ['random bytes', sampleState(5000), 'ARCHIVE_NOT_GZIP'],
    ];
    for (const [what, bytes, code] of cases) expect([what, await verdict(verify(bytes))]).toEqual([what, code]);
  });
});

describe('a source that fails', () => {
  test('NS-13 its error is annotated with the bytes read so far, and is not held against the archive', async () => {
    const bytes = await written(sampleState(200_000));
    async function* failing() {
      yield* stream(bytes.subarray(0, 1000), 100);
      throw new Error('connection reset');
    }
    await expect(verifyArchive(failing())).rejects.toMatchObject({
      code: 'ARCHIVE_READ_FAILED',
      message: 'failed to read after 1000: connection reset',
      cause: expect.objectContaining({ message: 'connection reset' }),
    });
  });

  test('a sink that fails ends the reading with its own error, and closes the source', async () => {
    const bytes = await written(sampleState(1_000_000));
    let closed = false;
    async function* source() {
      try {
        yield* stream(bytes, 1000);
      } finally {
        closed = true;
      }
    }
    const onState = () => {
      throw new Error('no space left');
    };
    await expect(verifyArchive(source(), { onState })).rejects.toThrow('no space left');
    expect(closed).toBe(true);
  });

  test('an abort ends the reading', async () => {
    const bytes = await written(sampleState(1_000_000));
    const abort = new AbortController();
    const onProgress = ({ bytes: read }: { bytes: number }) => read > 500_000 && abort.abort();
    await expect(verifyArchive(stream(bytes, 10_000), { signal: abort.signal, onProgress })).rejects.toMatchObject({
      name: 'AbortError',
    });
  });
});

test('writer and reader agree on any state', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 3000 }), async (data) => {
      const out: Uint8Array[] = [];
      const bytes = await written(data);
      await verify(bytes, { onState: (chunk) => void out.push(Uint8Array.from(chunk)) });
      expect(Buffer.concat(out).equals(Buffer.from(data))).toBe(true);
      expect(await collect(stream(bytes))).toEqual(bytes);
    }),
    { numRuns: 50, seed: 5 },
  );
});
