import { access } from 'node:fs/promises';
import { isTaken } from '../archive/check.ts';
import { type ConvertOptions, convertSource, convertToFile, proven } from '../archive/convert.ts';
import { describeArchive } from '../archive/describe.ts';
import { verifyArchiveFile, writeAll, writeAside } from '../archive/file.ts';
import { openSource } from '../archive/sources/open.ts';
import type { Source } from '../archive/sources/source.ts';
import type { ArchiveSummary } from '../archive/types.ts';
import { verifyArchive } from '../archive/verify.ts';
import { openEngine, parseEndpoints, withCertificates } from '../engines/open.ts';
import { snapshotArchive } from '../engines/snapshot-archive.ts';
import type { Store } from '../stores/store.ts';
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
    case 'convert': {
      const { path, summary } = await convert(command, io, signal);
      io.stdout(`converted ${path} to ${nameOf(command.place)}: ${sentence(summary)}\n`);
      return;
    }
  }
}

async function save(
  command: Extract<ArchiveCommand, { verb: 'save' }>,
  io: Terminal,
  signal: AbortSignal,
): Promise<ArchiveSummary> {
  const { place, force } = command;
  const endpoints = await withCertificates(parseEndpoints(command.endpoints), command.tlsFolder);
  const store = place.kind === 'store' ? await openStoreFile(place, io.env) : undefined;
  const engine = openEngine(command.engine);
  try {
    if (!force) await refuseTaken(place, store, 'choose another name, or --force to replace it', signal);
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

async function convert(
  { source: path, from, place }: Extract<ArchiveCommand, { verb: 'convert' }>,
  io: Terminal,
  signal: AbortSignal,
): Promise<{ path: string; summary: ArchiveSummary }> {
  const store = place.kind === 'store' ? await openStoreFile(place, io.env) : undefined;
  try {
    await refuseTaken(place, store, 'choose another name', signal);
    const source = await openSource(path, { signal, ...(from === undefined ? {} : { kind: from }) });
    for (const note of source.notes) io.stderr(`raftsman archive convert: ${note}\n`);
    const options = { now: new Date(), signal };
    const summary =
      store === undefined
        ? await convertToFile(source, nameOf(place), options)
        : await convertToStore(source, store, keyOf(place), options);
    return { path: source.path, summary };
  } finally {
    store?.close();
  }
}

async function convertToStore(
  source: Source,
  store: Store,
  key: string,
  options: ConvertOptions,
): Promise<ArchiveSummary> {
  const { signal } = options;
  const call = signal === undefined ? {} : { signal };
  const writing = convertSource(source, options);
  await store.put(key, writing.chunks, { ...call, sizeHint: source.meta.size });
  try {
    return await proven(source, writing.summary(), (await store.get(key, call)).chunks, options);
  } catch (error) {
    await store.delete(key);
    throw error;
  }
}

/** Before anything is read. */
async function refuseTaken(place: Place, store: Store | undefined, advice: string, signal: AbortSignal): Promise<void> {
  const taken =
    store === undefined ? await exists(nameOf(place)) : (await store.head(keyOf(place), { signal })) !== undefined;
  if (taken) throw new Error(`${nameOf(place)} is there already: ${advice}`);
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
  const data =
    facts === undefined
      ? 'not of Raftsman'
      : isTaken(facts)
        ? `${facts.keys} keys at revision ${facts.revision}`
        : `${facts.engine} state of ${meta.size} bytes`;
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
  if (code === 'EEXIST') return `${error.message}: choose another name`;
  // The codes of ours are worth searching for; those of the system are in the message already.
  return typeof code === 'string' && /^(ARCHIVE|STORE|ENGINE|CLI)_/.test(code)
    ? `${error.message} [${code}]`
    : error.message;
}
