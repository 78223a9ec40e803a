import { open, readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ArchiveError } from '../types.ts';
import { openFileStore, openStoredSnapshot } from './file-store.ts';
import { goraftNames, openGoraftFile, openGoraftFolder } from './goraft.ts';
import { openSnap } from './snap.ts';
import type { Source, SourceKind, SourceOptions } from './source.ts';

/** A place where a snapshot is, and who reads it. */
interface Candidate {
  readonly kind: SourceKind;
  readonly open: (options: SourceOptions) => Promise<Source>;
}

/**
 * Finds out by its content what is at `path`, and reads it whole. Of a folder's snapshots the newest is taken. System
 * errors (`ENOENT` and the like) pass unchanged.
 */
export async function openSource(
  path: string,
  options: SourceOptions & { readonly kind?: SourceKind } = {},
): Promise<Source> {
  const { kind, ...rest } = options;
  const isFolder = (await stat(path)).isDirectory();
  const candidates = isFolder ? await inFolder(path) : await inFile(path, kind);
  const fit = kind === undefined ? candidates : candidates.filter((candidate) => candidate.kind === kind);
  const [found, another] = fit;
  if (found === undefined) throw unknown(path, isFolder, kind);
  if (another === undefined) return found.open(rest);
  throw new ArchiveError(
    'ARCHIVE_SOURCE_UNKNOWN',
    `${path} has snapshots of ${found.kind} and of ${another.kind}: say with --from which to take`,
  );
}

const wanted: Readonly<Record<SourceKind, string>> = {
  goraft: 'a .ss file of goraft, nor a folder with a <term>_<index>.ss',
  hashicorp: 'a snapshot folder of hashicorp/raft, nor a folder with one',
  snap: 'a .snap file',
};

function unknown(path: string, isFolder: boolean, kind: SourceKind | undefined): ArchiveError {
  const problem =
    kind !== undefined
      ? `is not ${wanted[kind]}`
      : isFolder
        ? 'is a folder without a <term>_<index>.ss of goraft and without a snapshot of hashicorp/raft: it cannot be converted'
        : 'is neither a .ss file of goraft nor a .snap: it cannot be converted (of hashicorp/raft, name the folder)';
  return new ArchiveError('ARCHIVE_SOURCE_UNKNOWN', `${path} ${problem}`);
}

/** A forced kind is taken at its word: its reader says what is wrong. */
async function inFile(path: string, forced: SourceKind | undefined): Promise<Candidate[]> {
  const goraft: Candidate = { kind: 'goraft', open: (options) => openGoraftFile(path, options) };
  const snap: Candidate = { kind: 'snap', open: (options) => openSnap(path, options) };
  if (forced !== undefined) return [goraft, snap];
  const head = await firstBytes(path, 9);
  if (head[0] === 0x1f && head[1] === 0x8b) return [snap];
  return /^[0-9a-f]{8}\n$/i.test(Buffer.from(head).toString('latin1')) ? [goraft] : [];
}

async function inFolder(path: string): Promise<Candidate[]> {
  const found: Candidate[] = [];
  const names = await readdir(path);
  if (names.includes('meta.json') || names.includes('state.bin') || stored(basename(path))) {
    return [{ kind: 'hashicorp', open: (options) => openStoredSnapshot(path, options) }];
  }
  // Below the folder that a store was opened with, or where they are.
  for (const folder of names.some(stored) ? [path] : await folders(path, names, 'snapshots')) {
    found.push({ kind: 'hashicorp', open: (options) => openFileStore(folder, options) });
  }
  // Likewise; a server of goraft has its log beside (GR-06).
  for (const folder of goraftNames(names).length > 0 ? [path] : await folders(path, names, 'snapshot')) {
    found.push({ kind: 'goraft', open: (options) => openGoraftFolder(folder, options) });
  }
  return found;
}

/** `<term>-<index>-<unix ms>`, with an ending while it is being written (HR-33). */
function stored(name: string): boolean {
  return /^\d+-\d+-\d+(\.tmp)?$/.test(name);
}

async function folders(path: string, names: readonly string[], name: string): Promise<string[]> {
  const folder = join(path, name);
  return names.includes(name) && (await stat(folder)).isDirectory() ? [folder] : [];
}

async function firstBytes(path: string, size: number): Promise<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(size), 0, size, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
