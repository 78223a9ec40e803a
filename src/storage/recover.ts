/** Which snapshot a restart begins with. */
import { StorageError } from './errors.ts';
import type { FolderSnapshotStore } from './snapshots.ts';
import type { OpenSnapshot, SnapshotMark, StoredSnapshotMeta, WalContents } from './types.ts';

/** How far the log reaches, and from where. */
type Log = Pick<WalContents, 'entries' | 'snapshots' | 'hardState'>;

export interface RecoverOptions {
  /** Restores the state from the snapshot; its rejection makes the next older one be tried. */
  readonly load: (snapshot: OpenSnapshot) => Promise<void>;
  readonly warn: (message: string, pairs: Record<string, unknown>) => void;
}

/**
 * Newest to oldest (HR-35), only those that the log has a mark of (RA-19), and only such that the log goes on from
 * without a gap. Undefined when there never was a snapshot (RA-18): then the log must begin at its beginning. Fails with
 * SNAPSHOT_UNUSABLE when there were some and none loads: starting empty would forget acknowledged writes. What the log has no
 * mark of is removed once the member can start without it.
 */
export async function recoverSnapshot(
  store: FolderSnapshotStore,
  log: Log,
  options: RecoverOptions,
): Promise<SnapshotMark | undefined> {
  const stored = await store.all();
  const failures: string[] = [];
  /** Given back only once it is known which one counts: then those too old are removed, and until then any may be needed. */
  const opened: OpenSnapshot[] = [];
  for (const meta of stored) {
    const mark = log.snapshots.findLast((m) => m.index === meta.index && m.term === meta.term);
    if (!mark) continue;
    const gap = gapAfter(meta, log);
    if (gap) {
      failures.push(`${meta.id}: ${gap}`);
      continue;
    }
    try {
      const snapshot = await store.open(meta.id);
      opened.push(snapshot);
      await options.load(snapshot);
    } catch (error) {
      failures.push(`${meta.id}: ${error instanceof Error ? error.message : String(error)}`);
      options.warn('a stored snapshot cannot be loaded', { id: meta.id, error });
      continue;
    }
    store.hold(mark);
    await removeUnrecorded(store, stored, log, options);
    for (const snapshot of opened) await snapshot.close();
    return mark;
  }
  // The mark at index 0 stands for the empty beginning and has no file.
  if (!log.snapshots.some((mark) => mark.index > 0)) {
    const gap = gapAfter({ index: 0 }, log);
    if (gap === undefined) {
      await removeUnrecorded(store, stored, log, options);
      return log.snapshots.find((mark) => mark.index === 0);
    }
    failures.push(gap);
  }
  const why = failures.length > 0 ? failures.join('; ') : 'the log tells of a snapshot and none is there';
  throw new StorageError(
    'SNAPSHOT_UNUSABLE',
    `failed to load any existing snapshots (${why}); replace this member, or restore the cluster from an archive`,
  );
}

/** They would take the place of those that a start can begin with. */
async function removeUnrecorded(
  store: FolderSnapshotStore,
  stored: readonly StoredSnapshotMeta[],
  log: Log,
  { warn }: RecoverOptions,
): Promise<void> {
  for (const { id, index, term } of stored) {
    if (log.snapshots.some((mark) => mark.index === index && mark.term === term)) continue;
    await store
      .remove(id)
      .catch((error: unknown) => warn('could not remove a snapshot without a record', { id, error }));
  }
}

function gapAfter(snapshot: Pick<StoredSnapshotMeta, 'index'>, log: Log): string | undefined {
  const newestReplacement = log.snapshots.findLast((mark) => mark.replacesLog);
  if (newestReplacement && newestReplacement.index > snapshot.index) {
    return `the log begins anew at ${newestReplacement.index + 1}`;
  }
  const first = log.entries[0]?.index;
  if (first !== undefined && first > snapshot.index + 1) return `the log begins at ${first}`;
  const last = log.entries.at(-1)?.index ?? snapshot.index;
  const commit = log.hardState?.commit ?? 0;
  if (Math.max(last, snapshot.index) < commit)
    return `the log ends at ${last}, before what is known as committed (${commit})`;
  return undefined;
}
