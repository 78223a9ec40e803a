import { access } from 'node:fs/promises';
import { describeArchive } from '../archive/describe.ts';
import { verifyArchiveFile, writeAll, writeAside } from '../archive/file.ts';
import type { ArchiveSummary } from '../archive/types.ts';
import { verifyArchive } from '../archive/verify.ts';
import { openEngine, parseEndpoints } from '../engines/open.ts';
import { snapshotArchive } from '../engines/snapshot-archive.ts';
import { type ArchiveCommand, type Place, parseArchiveCommand, UsageError, usage } from './archive-flags.ts';
import { openStoreFile } from './store-file.ts';

export interface Terminal {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const terminal: Terminal = {
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  env: process.env,
};

/** `raftsman archive`. Exit status 0: done, and the archive is good; 1: it is not; 2: wrong usage. */
export async function runArchive(argv: readonly string[], io: Terminal = terminal): Promise<number> {
  let command: ArchiveCommand;
  try {
    command = parseArchiveCommand(argv);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    io.stderr(`raftsman archive: ${error.message} (raftsman archive --help lists the flags)\n`);
    return 2;
  }
  const stop = new AbortController();
  const onSignal = () => stop.abort(new Error('interrupted'));
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  try {
    await perform(command, io, stop.signal);
    return 0;
  } catch (error) {
    io.stderr(`raftsman archive ${command.verb}: ${stop.signal.aborted ? 'interrupted' : words(error)}\n`);
    return 1;
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}

async function perform(command: ArchiveCommand, io: Terminal, signal: AbortSignal): Promise<void> {
  switch (command.verb) {
    case 'help':
      io.stdout(usage);
      return;
    case 'save': {
      const summary = await save(command, io, signal);
      io.stdout(`saved ${nameOf(command.place)}: ${sentence(summary)}\n`);
      return;
    }
    case 'inspect':
      io.stdout(`${describeArchive(await read(command.place, io, signal))}\n`);
      return;
    case 'verify':
      io.stdout(`${nameOf(command.place)} is good: ${sentence(await read(command.place, io, signal))}\n`);
      return;
  }
}

async function save(
  command: Extract<ArchiveCommand, { verb: 'save' }>,
  io: Terminal,
  signal: AbortSignal,
): Promise<ArchiveSummary> {
  const { place, force } = command;
  const endpoints = parseEndpoints(command.endpoints);
  const store = place.kind === 'store' ? await openStoreFile(place, io.env) : undefined;
  const engine = openEngine(command.engine);
  try {
    // Before the member is asked for anything.
    const taken =
      store === undefined ? await exists(nameOf(place)) : (await store.head(keyOf(place), { signal })) !== undefined;
    if (taken && !force)
      throw new Error(`${nameOf(place)} is there already: choose another name, or --force to replace it`);
    const archive = await snapshotArchive(engine, endpoints, { cluster: command.cluster, now: new Date(), signal });
    try {
      if (store === undefined) {
        const fill = async (file: Parameters<typeof writeAll>[0]) => {
          for await (const chunk of archive.chunks) await writeAll(file, chunk);
        };
        await writeAside(nameOf(place), fill, { overwrite: force });
      } else {
        await store.put(keyOf(place), archive.chunks, { signal, sizeHint: archive.stateBytes });
      }
      return archive.summary();
    } finally {
      archive.close();
    }
  } finally {
    engine.close();
    store?.close();
  }
}

async function read(place: Place, io: Terminal, signal: AbortSignal): Promise<ArchiveSummary> {
  if (place.kind === 'file') return verifyArchiveFile(place.path, { signal });
  const store = await openStoreFile(place, io.env);
  try {
    const { chunks } = await store.get(place.key, { signal });
    return await verifyArchive(chunks, { signal });
  } finally {
    store.close();
  }
}

function sentence({ meta, sizeBytes, checksum }: ArchiveSummary): string {
  const facts = meta.raftsman;
  const data = facts === undefined ? 'not of Raftsman' : `${facts.keys} keys at revision ${facts.revision}`;
  return `${data}, index ${meta.index}, term ${meta.term}, ${sizeBytes} bytes, ${checksum}`;
}

function nameOf(place: Place): string {
  return place.kind === 'file' ? place.path : place.key;
}

function keyOf(place: Place): string {
  return place.kind === 'store' ? place.key : '';
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function words(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as { code?: unknown };
  if (code === 'EEXIST') return `${error.message}: choose another name, or --force to replace it`;
  // The codes of ours are worth searching for; those of the system are in the message already.
  return typeof code === 'string' && /^(ARCHIVE|STORE|ENGINE|CLI)_/.test(code)
    ? `${error.message} [${code}]`
    : error.message;
}
