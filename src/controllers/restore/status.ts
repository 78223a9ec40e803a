/** What a RaftRestore's status says. Pure. */
import { type Observation, setCondition, timestamp } from '../../api/conditions.ts';
import type { RaftRestore, RaftRestoreStatus } from '../../api/restore.ts';
import type { Live } from '../../kube/objects.ts';

export interface RestoreFacts {
  readonly started?: boolean;
  readonly completed?: boolean;
  readonly clusterName?: string;
  readonly archive?: RaftRestoreStatus['archive'];
  readonly restored?: RaftRestoreStatus['restored'];
  readonly percent?: number;
  readonly bytes?: number;
  readonly totalBytes?: number;
}

export function restoreStatus(
  restore: Live<RaftRestore>,
  observations: readonly Observation[],
  now: Date,
  facts: RestoreFacts,
): RaftRestoreStatus {
  const { status: old, metadata } = restore;
  let conditions = old?.conditions ?? [];
  for (const observation of observations) {
    const message = observation.message.slice(0, 4096);
    const observed = { ...observation, message, observedGeneration: metadata.generation };
    conditions = setCondition(conditions, observed, now) as typeof conditions;
  }
  const progress = progressOf(old?.progress, facts);
  return {
    ...old,
    ...(metadata.generation === undefined ? {} : { observedGeneration: metadata.generation }),
    conditions,
    ...(facts.started && old?.startTime === undefined ? { startTime: timestamp(now) } : {}),
    ...(facts.completed ? { completionTime: timestamp(now) } : {}),
    ...(facts.clusterName === undefined ? {} : { clusterName: facts.clusterName }),
    ...(facts.archive ? { archive: facts.archive } : {}),
    ...(facts.restored ? { restored: facts.restored } : {}),
    ...(progress ? { progress } : {}),
  };
}

/** Percent never goes back, although a Job that is run again starts over. */
function progressOf(old: RaftRestoreStatus['progress'], { percent, bytes, totalBytes }: RestoreFacts) {
  if (percent === undefined && bytes === undefined) return old;
  const total = totalBytes ?? old?.totalBytes;
  return {
    percent: Math.min(100, Math.max(percent ?? 0, old?.percent ?? 0)),
    bytes: bytes ?? old?.bytes ?? 0,
    ...(total === undefined ? {} : { totalBytes: total }),
  };
}
