import { access, readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Expectation, expectArchive, isTaken } from '../archive/check.ts';
import { partialSuffix, writeAll, writeAside } from '../archive/file.ts';
import { ArchiveError, type ArchiveSummary } from '../archive/types.ts';
import { verifyArchive } from '../archive/verify.ts';
import type { Endpoint, Engine } from '../engines/engine.ts';
import { snapshotArchive } from '../engines/snapshot-archive.ts';
import { type Store, StoreError } from '../stores/store.ts';
import type { Tracker } from './report.ts';
import type { ArchiveResult, DeleteResult } from './result.ts';

/** What each verb works with. */
export interface Work {
  readonly store: Store;
  readonly key: string;
  readonly tracker: Tracker;
  readonly signal: AbortSignal;
}

export async function save(
  work: Work & {
    readonly engine: Engine;
    readonly endpoints: readonly Endpoint[];
    readonly cluster: string;
    readonly now: Date;
  },
): Promise<ArchiveResult> {
  const { store, key, tracker, signal } = work;
  // Before the member is asked: a store that is not there costs it nothing then.
  await store.check({ signal });
  // What is spooled before it is saved is handled twice.
  let spooled = 0;
  const archive = await snapshotArchive(work.engine, work.endpoints, {
    cluster: work.cluster,
    now: work.now,
    signal,
    onSpooled: (bytes, total) => {
      spooled = total;
      tracker.at('Saving', bytes, 2 * total);
    },
    onProgress: ({ stateBytes, stateTotal = 0 }) => tracker.at('Saving', spooled + stateBytes, spooled + stateTotal),
  });
  try {
    tracker.at('Saving', spooled, spooled + archive.stateBytes);
    const put = await store.put(key, archive.chunks, { signal, sizeHint: archive.stateBytes });
    const summary = archive.summary();
    tracker.at('Checking', archive.stateBytes, archive.stateBytes);
    const found = await store.head(key, { signal });
    if (found?.sizeBytes !== summary.sizeBytes || put.sizeBytes !== summary.sizeBytes) {
      throw new StoreError(
        'STORE_FAILED',
        `the store has ${found?.sizeBytes ?? 'no'} bytes under "${key}", where ${summary.sizeBytes} were written`,
      );
    }
    return resultOf(key, summary);
  } finally {
    archive.close();
  }
}

export async function verify(work: Work & { readonly expected: Expectation }): Promise<ArchiveResult> {
  const { store, key, tracker, signal } = work;
  const { sizeBytes, chunks } = await store.get(key, { signal });
  tracker.at('Verifying', 0, sizeBytes);
  const summary = await verifyArchive(chunks, {
    signal,
    onProgress: ({ bytes }) => tracker.at('Verifying', bytes, sizeBytes),
  });
  expectArchive(summary, work.expected);
  return resultOf(key, summary);
}

/** Writes the archive, or its state alone, to `output`: there whole and verified, or not at all. */
export async function fetch(
  work: Work & {
    readonly output: string;
    readonly expected: Expectation;
    readonly extract?: boolean;
    /** The cluster has formed: nothing is done. */
    readonly formed?: boolean;
    readonly unlessExists?: string;
    /** Deleted first. */
    readonly clear?: string;
  },
): Promise<ArchiveResult | DeleteResult> {
  const { store, key, tracker, signal, output, extract = false, formed = false, unlessExists, clear } = work;
  if (formed || (unlessExists !== undefined && (await exists(unlessExists)))) return { key };
  await removePartials(output);
  if (clear !== undefined) await rm(clear, { recursive: true, force: true });
  const { sizeBytes, chunks } = await store.get(key, { signal });
  tracker.at('Fetching', 0, sizeBytes);
  const summary = await writeAside(output, async (file) => {
    const copied = async function* () {
      for await (const chunk of chunks) {
        if (!extract) await writeAll(file, chunk);
        yield chunk;
      }
    };
    const verified = await verifyArchive(copied(), {
      signal,
      onProgress: ({ bytes }) => tracker.at('Fetching', bytes, sizeBytes),
      ...(extract ? { onState: (chunk: Uint8Array) => writeAll(file, chunk) } : {}),
    });
    expectArchive(verified, work.expected);
    return verified;
  });
  return resultOf(key, summary);
}

export async function remove({ store, key, tracker, signal }: Work): Promise<DeleteResult> {
  tracker.at('Deleting', 0);
  await store.delete(key, { signal });
  return { key };
}

function resultOf(key: string, { meta, sizeBytes, checksum }: ArchiveSummary): ArchiveResult {
  const facts = meta.raftsman;
  return {
    key,
    index: exact(meta.index, 'Index'),
    term: exact(meta.term, 'Term'),
    sizeBytes,
    checksum,
    ...(facts === undefined || !isTaken(facts)
      ? {}
      : {
          revision: facts.revision,
          keys: facts.keys,
          hash: facts.hash,
          engine: facts.engine,
          engineVersion: facts.engineVersion,
          clusterId: facts.clusterId,
          cluster: facts.cluster,
        }),
  };
}

/** A status of Kubernetes cannot hold more. */
function exact(value: bigint, name: string): number {
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw new ArchiveError('ARCHIVE_META_INVALID', `meta.json: ${name} is ${value}, above 2^53 − 1`);
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** What an earlier run left that was killed; nobody else writes there. */
async function removePartials(output: string): Promise<void> {
  const folder = dirname(output);
  for (const name of await readdir(folder)) {
    if (name.startsWith(`${basename(output)}.`) && name.endsWith(partialSuffix))
      await rm(join(folder, name), { force: true });
  }
}
