/** A new cluster from an archive (`--restore-archive`): every member begins with the archive's state, and nothing else. */
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expectEngine } from '../archive/check.ts';
import { extractState, verifyArchiveFile } from '../archive/file.ts';
import { stateOf } from '../etcd/maintenance-stream.ts';
import type { Log } from '../log.ts';
import { asIndex, asTerm, type Configuration, type RestoredState } from '../raft/types.ts';
import { openSnapshotFolder } from '../storage/snapshots.ts';
import { NodeError } from './errors.ts';
import type { Genesis } from './identity.ts';
import { KeyValues } from './kv.ts';

export interface SeedOptions {
  /** The archive's path. */
  readonly archive: string;
  /** The data directory in the making. */
  readonly aside: string;
  readonly snapshots: string;
  readonly configuration: Configuration;
  readonly genesis: Genesis;
  readonly log: Log;
}

/**
 * Verifies the archive whole, then leaves its state as the first snapshot of the new data directory. Index, term and
 * revisions are kept; the members are the new cluster's. Rejects with NODE_ARCHIVE_UNUSABLE, saying why.
 */
export async function seedFromArchive({
  archive,
  aside,
  snapshots,
  configuration,
  genesis,
  log,
}: SeedOptions): Promise<RestoredState> {
  const verified = await attempt(archive, () => verifyArchiveFile(archive));
  const facts = await attempt(archive, () => expectEngine(verified.meta, 'Embedded'));
  const state = join(aside, 'restored.bin');
  const keyValues = new KeyValues({ genesis: genesis.members });
  try {
    await attempt(archive, async () => {
      await extractState(archive, verified, state);
      await keyValues.restore(stateOf(createReadStream(state)));
    });
  } finally {
    await rm(state, { force: true });
  }
  if (BigInt(keyValues.appliedIndex) !== verified.meta.index || BigInt(keyValues.appliedTerm) !== verified.meta.term) {
    throw unusable(
      archive,
      `its meta.json is of index ${verified.meta.index}, its state of index ${keyValues.appliedIndex}`,
    );
  }
  if (keyValues.revision !== facts.revision || keyValues.keys !== facts.keys) {
    throw unusable(
      archive,
      `its state has revision ${keyValues.revision} and ${keyValues.keys} keys, its meta.json says otherwise`,
    );
  }
  // Who the members were is of no use to a cluster of others, and could make a new one look like one that lost its data.
  keyValues.forgetMembers();
  const meta = {
    index: asIndex(keyValues.appliedIndex),
    term: asTerm(keyValues.appliedTerm),
    configuration,
    configurationIndex: asIndex(0),
  };
  const store = await openSnapshotFolder({ folder: snapshots, retain: 1, now: Date.now });
  const sink = await store.create({ version: 1, ...meta });
  for (const slice of keyValues.snapshot().slices()) await sink.write(slice);
  await sink.close();
  log.info('restored the state from an archive', {
    archive,
    index: meta.index,
    revision: keyValues.revision,
    keys: keyValues.keys,
  });
  return { hardState: { term: meta.term, vote: null, commit: meta.index }, snapshot: meta, entries: [] };
}

async function attempt<T>(archive: string, action: () => T | Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw unusable(archive, (error as Error).message, error);
  }
}

const unusable = (archive: string, why: string, cause?: unknown): NodeError =>
  new NodeError('NODE_ARCHIVE_UNUSABLE', `cannot restore from ${archive}: ${why}. Nothing was changed`, 1, cause);
