import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { JsonFields, parseJson } from '../json.ts';
import { ArchiveError, type ArchiveServer } from '../types.ts';
import { GoraftJson } from './goraft-json.ts';
import { inSource, named, newestFirst, type Source, type SourceOptions, unreadable } from './source.ts';

/** `<lastTerm>_<lastIndex>.ss` (GR-06). */
const namePattern = /^(\d{1,20})_(\d{1,20})\.ss$/;
/** Eight hexadecimal digits and a newline (GR-27). */
const headSize = 9;

/**
 * A goraft snapshot file: CRC-32 (IEEE) of what follows, then one JSON object (GR-27, GR-31). Peers are names in the
 * oldest versions, names with addresses later.
 */
export async function openGoraftFile(path: string, options: SourceOptions = {}): Promise<Source> {
  return inSource(path, async () => {
    const hash = createHash('sha256');
    let size = 0;
    const reading = readSnapshot(path, options);
    for (;;) {
      const next = await reading.next();
      if (next.done === true) {
        return {
          path,
          meta: { version: 1, id: '', ...describe(next.value), configurationIndex: 0n, size },
          engine: 'Goraft',
          convertedFrom: 'goraft snapshot file',
          stateHash: hash.digest('hex'),
          notes: [],
          state: () => readSnapshot(path, options),
        };
      }
      hash.update(next.value);
      size += next.value.length;
    }
  });
}

export interface GoraftName {
  readonly name: string;
  readonly term: bigint;
  readonly index: bigint;
}

/** The names that goraft gives, newest first: as numbers, where goraft sorts them as text (D4). */
export function goraftNames(names: readonly string[]): GoraftName[] {
  return names
    .flatMap((name) => {
      const [, term, index] = namePattern.exec(name) ?? [];
      return term === undefined || index === undefined ? [] : [{ name, term: BigInt(term), index: BigInt(index) }];
    })
    .sort(newestFirst);
}

/**
 * The newest snapshot of a folder. A damaged newest one is an error, as it is to goraft: an older one is older data, and
 * whether that will do is for the user to say.
 */
export async function openGoraftFolder(folder: string, options: SourceOptions = {}): Promise<Source> {
  const [newest, ...older] = goraftNames(await readdir(folder));
  if (newest === undefined) {
    throw new ArchiveError('ARCHIVE_SOURCE_EMPTY', `${folder}: no snapshot: there is no <term>_<index>.ss in it`);
  }
  const rest = older.map(({ name }) => name).join(', ');
  const path = join(folder, newest.name);
  const source = await openGoraftFile(path, options).catch((error: unknown) => {
    if (rest === '' || !(error instanceof ArchiveError)) throw error;
    throw new ArchiveError(error.code, `${error.message}; older ones are there, name one to convert it: ${rest}`, {
      cause: error,
    });
  });
  if (source.meta.term !== newest.term || source.meta.index !== newest.index) {
    throw named(
      path,
      unreadable(`it is of term ${source.meta.term} and index ${source.meta.index}, not what its name says`),
    );
  }
  return rest === '' ? source : { ...source, notes: [`took ${basename(path)}, the newest; also there: ${rest}`] };
}

/** Yields the state, and returns the rest of the JSON once all of the file has been found good. */
async function* readSnapshot(
  path: string,
  { signal }: SourceOptions,
): AsyncGenerator<Uint8Array, Uint8Array, undefined> {
  const json = new GoraftJson();
  let head = Buffer.alloc(0);
  let size = 0;
  let checksum = 0;
  let checksumAtEnd: number | undefined;
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    signal?.throwIfAborted();
    let bytes = chunk;
    if (head.length < headSize) {
      head = Buffer.concat([head, chunk.subarray(0, headSize - head.length)]);
      bytes = chunk.subarray(head.length - size);
    }
    size += chunk.length;
    const before = checksum;
    const start = size - bytes.length - headSize;
    checksum = crc32(bytes, before);
    const decoded = json.feed(bytes);
    if (json.end !== undefined) checksumAtEnd ??= crc32(bytes.subarray(0, json.end - start), before);
    yield* decoded;
  }
  judge({ head, size, checksum, checksumAtEnd, json });
  return json.rest();
}

interface Reading {
  readonly head: Buffer;
  readonly size: number;
  readonly checksum: number;
  /** Of the JSON object alone. */
  readonly checksumAtEnd: number | undefined;
  readonly json: GoraftJson;
}

/** Throws what is wrong, damage first and nonsense last. */
function judge({ head, size, checksum, checksumAtEnd, json }: Reading): void {
  const text = head.toString('latin1');
  if (!(text.length < headSize ? /^[0-9a-f]*$/i : /^[0-9a-f]{8}\n$/i).test(text)) {
    throw unreadable('bad snapshot file: it does not begin with a checksum of eight hexadecimal digits');
  }
  const expected = Number.parseInt(text, 16);
  if (size <= headSize || (json.end === undefined && json.failure === undefined)) {
    const where = size <= headSize ? 'its checksum' : json.part;
    throw new ArchiveError('ARCHIVE_TRUNCATED', `cut short: it ends after ${size} bytes, inside ${where}`);
  }
  if (checksum !== expected) {
    // goraft writes in place and does not truncate (D8), so that a shorter snapshot keeps the tail of a longer one.
    if (json.end !== undefined && checksumAtEnd === expected) {
      throw new ArchiveError(
        'ARCHIVE_TRAILING_BYTES',
        `a good snapshot ends after ${headSize + json.end} bytes, and ${size - headSize - json.end} of something else follow: cut them off (head -c ${headSize + json.end}) if they are the rest of an older file`,
      );
    }
    const is = checksum.toString(16).padStart(8, '0');
    throw new ArchiveError(
      'ARCHIVE_HASH_MISMATCH',
      `bad snapshot file: the CRC-32 of its JSON is ${is}, and its first line says ${text.trim()}`,
    );
  }
  if (json.failure !== undefined) throw json.failure;
  if (json.trailing) throw new ArchiveError('ARCHIVE_TRAILING_BYTES', 'more follows the end of its JSON');
}

function describe(rest: Uint8Array) {
  let parsed: unknown;
  try {
    parsed = parseJson(rest);
  } catch (cause) {
    throw new ArchiveError('ARCHIVE_SOURCE_INVALID', `not JSON: ${(cause as Error).message}`, { cause });
  }
  const fields = new JsonFields(parsed, 'what follows its checksum', unreadable);
  const [index, term] = [fields.uint64('lastIndex'), fields.uint64('lastTerm')];
  // goraft takes no snapshot before something is committed (GR-23); a cluster that has held no election yet has term 0.
  if (index === 0n) throw unreadable('lastIndex is 0: there is no snapshot of an empty log');
  if (!fields.has('state')) throw unreadable('it has no "state"');
  if ((fields.get('state') ?? '') !== '') throw unreadable('its state is not base64');
  return { index, term, configuration: { servers: fields.list('peers').map(decodePeer) } };
}

/** Nothing is known of an address that the oldest versions do not write. */
function decodePeer(peer: unknown): ArchiveServer {
  if (typeof peer === 'string') return { suffrage: 'voter', id: peer, address: '' };
  const fields = new JsonFields(peer, 'an entry of peers', unreadable);
  return { suffrage: 'voter', id: fields.string('name'), address: fields.string('connectionString') };
}
