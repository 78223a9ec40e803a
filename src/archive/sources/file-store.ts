import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Crc64 } from '../../crc64.ts';
import { JsonFields, parseJson } from '../json.ts';
import { decodePeers, metaOf } from '../meta.ts';
import { ArchiveError, type ArchiveMeta } from '../types.ts';
import { applicationBytes, applicationOf } from './application.ts';
import { inSource, newestFirst, type Source, type SourceOptions } from './source.ts';

const unfinished = '.tmp';
/** Of meta.json; HashiCorp's own has no cap, but one that does not fit an archive is of no use here. Bytes. */
const metaFileLimit = 64 * 1024;

/**
 * One snapshot of hashicorp/raft's FileSnapshotStore: a folder with `meta.json` and `state.bin` (HR-33), the state
 * re-hashed and held against the CRC-64 and the size in the metadata (HR-34).
 */
export async function openStoredSnapshot(folder: string, options: SourceOptions = {}): Promise<Source> {
  return inSource(folder, async () => {
    if (basename(folder).endsWith(unfinished))
      throw invalid('it was never finished: its writer stopped before it was whole');
    const { meta, crc } = await readMeta(join(folder, 'meta.json'));
    return hashed(folder, meta, crc, options);
  });
}

/** The newest good one; HashiCorp's own store skips the same ones, and goes on to the next like this (HR-33, HR-35). */
export async function openFileStore(folder: string, options: SourceOptions = {}): Promise<Source> {
  const notes: string[] = [];
  const found: { name: string; meta: ArchiveMeta; crc: string }[] = [];
  const entries = await readdir(folder, { withFileTypes: true });
  for (const { name } of entries.filter((entry) => entry.isDirectory())) {
    const path = join(folder, name);
    if (name.endsWith(unfinished)) {
      notes.push(`skipped ${path}: it was never finished`);
      continue;
    }
    await inSource(path, async () => found.push({ name, ...(await readMeta(join(path, 'meta.json'))) })).catch(skip);
  }
  found.sort((a, b) => newestFirst(a.meta, b.meta) || (a.name < b.name ? 1 : -1));
  for (const [at, { name, meta, crc }] of found.entries()) {
    const path = join(folder, name);
    const source = await inSource(path, () => hashed(path, meta, crc, options)).catch(skip);
    if (source === undefined) continue;
    const rest = found.slice(at + 1).map((one) => one.name);
    const taken = `took ${name}, the newest${notes.length === 0 ? '' : ' good one'}`;
    if (rest.length > 0) notes.push(`${taken}; also there: ${rest.join(', ')}`);
    else if (notes.length > 0) notes.push(taken);
    return { ...source, notes };
  }
  throw new ArchiveError('ARCHIVE_SOURCE_EMPTY', [`${folder}: there is no good snapshot in it`, ...notes].join('; '));

  function skip(error: unknown): undefined {
    const damaged = error instanceof ArchiveError || (error as { code?: unknown }).code === 'ENOENT';
    if (!damaged) throw error;
    notes.push(`skipped ${(error as Error).message}`);
    return undefined;
  }
}

/** HashiCorp's metadata with a CRC beside; a version that is not known is no reason to read on. */
async function readMeta(path: string): Promise<{ meta: ArchiveMeta; crc: string }> {
  const bytes = await readSmall(path);
  let parsed: unknown;
  try {
    parsed = parseJson(bytes);
  } catch (cause) {
    const size = bytes.length === 0 ? ' (it is empty)' : '';
    throw new ArchiveError('ARCHIVE_META_INVALID', `meta.json is not JSON${size}: ${(cause as Error).message}`, {
      cause,
    });
  }
  const fields = new JsonFields(parsed, 'meta.json', metaInvalid);
  const meta = metaOf(fields);
  if (/^[0-9a-f]{16}$/.test(String(fields.get('CRC')))) {
    throw metaInvalid('its CRC is one of a Raftsman member: take a snapshot of that cluster with archive save');
  }
  const crc = Buffer.from(fields.base64('CRC') ?? []);
  if (crc.length !== 8) throw metaInvalid(`CRC has ${crc.length} bytes, and a CRC-64 has 8`);
  return { meta, crc: crc.toString('hex') };
}

async function hashed(folder: string, meta: ArchiveMeta, crc: string, { signal }: SourceOptions): Promise<Source> {
  const path = join(folder, 'state.bin');
  const size = await stat(path).then(
    (found) => found.size,
    (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      throw new ArchiveError('ARCHIVE_FILE_MISSING', 'its state.bin is missing');
    },
  );
  if (size !== meta.size) {
    throw new ArchiveError(
      size < meta.size ? 'ARCHIVE_TRUNCATED' : 'ARCHIVE_SIZE_MISMATCH',
      `state.bin has ${size} bytes, and meta.json says ${meta.size}`,
    );
  }
  const sha256 = createHash('sha256');
  const crc64 = new Crc64();
  let head: Uint8Array = new Uint8Array(0);
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    signal?.throwIfAborted();
    if (head.length < applicationBytes) head = Buffer.concat([head, chunk]).subarray(0, applicationBytes);
    sha256.update(chunk);
    crc64.update(chunk);
  }
  if (crc64.digest() !== crc) {
    throw new ArchiveError(
      'ARCHIVE_HASH_MISMATCH',
      `CRC mismatch: the CRC-64 of state.bin is ${crc64.digest()}, and meta.json says ${crc}`,
    );
  }
  return {
    path: folder,
    meta: withConfiguration(meta),
    engine: applicationOf(head),
    convertedFrom: `hashicorp/raft file snapshot, version ${meta.version}`,
    stateHash: sha256.digest('hex'),
    notes: [],
    state: () => createReadStream(path),
  };
}

/** Version 0 has peers in place of a configuration; hashicorp/raft reads it like this (HR-04). */
export function withConfiguration(meta: ArchiveMeta): ArchiveMeta {
  const { version, peers, index } = meta;
  if (version !== 0 || peers === undefined) return meta;
  return { ...meta, configuration: { servers: decodePeers(peers) }, configurationIndex: index };
}

async function readSmall(path: string): Promise<Uint8Array> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    throw new ArchiveError('ARCHIVE_FILE_MISSING', 'its meta.json is missing');
  });
  try {
    const { size } = await file.stat();
    if (size <= metaFileLimit) return await file.readFile();
    throw new ArchiveError('ARCHIVE_FILE_TOO_LARGE', `meta.json has ${size} bytes, more than ${metaFileLimit}`);
  } finally {
    await file.close();
  }
}

const metaInvalid = (problem: string) => new ArchiveError('ARCHIVE_META_INVALID', `meta.json: ${problem}`);
const invalid = (problem: string) => new ArchiveError('ARCHIVE_SOURCE_INVALID', problem);
