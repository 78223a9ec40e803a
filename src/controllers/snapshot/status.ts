/** What a RaftSnapshot's status says. Pure. */
import { type ConditionStatus, setCondition, timestamp } from '../../api/conditions.ts';
import type { RaftSnapshot, RaftSnapshotStatus } from '../../api/snapshot.ts';
import type { ArchiveResult, Progress } from '../../jobs/result.ts';
import type { Live } from '../../kube/objects.ts';
import { checksumInHex } from '../job.ts';

export interface SnapshotFacts {
  readonly startedAt?: Date;
  readonly completedAt?: Date;
  readonly key?: string;
  readonly progress?: Progress;
  readonly result?: ArchiveResult;
}

export function snapshotStatus(
  snapshot: Live<RaftSnapshot>,
  condition: { readonly status: ConditionStatus; readonly reason: string; readonly message: string },
  now: Date,
  facts: SnapshotFacts = {},
): RaftSnapshotStatus {
  const { status: old, metadata } = snapshot;
  const { startedAt, completedAt, key, progress, result } = facts;
  return {
    ...old,
    ...(metadata.generation === undefined ? {} : { observedGeneration: metadata.generation }),
    conditions: setCondition(
      old?.conditions,
      {
        type: 'Complete',
        ...condition,
        message: condition.message.slice(0, 4096),
        observedGeneration: metadata.generation,
      },
      now,
    ) as NonNullable<RaftSnapshotStatus['conditions']>,
    ...(startedAt ? { startTime: timestamp(startedAt) } : {}),
    ...(completedAt ? { completionTime: timestamp(completedAt) } : {}),
    ...(key === undefined ? {} : { key }),
    ...(progress ? { progress: progressStatus(progress, old?.progress) } : {}),
    ...(result ? { key: result.key, sizeBytes: result.sizeBytes, ...archiveFacts(result) } : {}),
  };
}

/** Percent never goes back, although a Job that is run again starts over. */
export function progressStatus(
  { bytes, totalBytes, percent }: Progress,
  before?: RaftSnapshotStatus['progress'],
): NonNullable<RaftSnapshotStatus['progress']> {
  const known = Math.min(100, Math.max(percent ?? 0, before?.percent ?? 0));
  return { percent: known, bytes, ...(totalBytes === undefined ? {} : { totalBytes }) };
}

/** What an archive holds, in the fields that snapshots and restores share. */
export function archiveFacts(result: ArchiveResult) {
  const { index, term, revision, keys, hash, engine, engineVersion, clusterId } = result;
  return {
    index,
    term,
    checksum: checksumInHex(result.checksum),
    ...(revision === undefined ? {} : { revision }),
    ...(keys === undefined ? {} : { keys }),
    ...(hash === undefined ? {} : { hash }),
    ...(engine === undefined ? {} : { engine }),
    ...(engineVersion === undefined ? {} : { engineVersion }),
    ...(clusterId === undefined ? {} : { clusterId }),
  };
}
