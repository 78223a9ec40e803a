/** Reconciles RaftCompactions: one at a time for each cluster, under the cluster's one lock. */
import type { Operation, RaftCluster } from '../../api/cluster.ts';
import type { RaftCompaction, RaftCompactionStatus } from '../../api/compaction.ts';
import { raftCluster, raftCompaction, raftRestore, raftSnapshot } from '../../api/kinds.ts';
import type { RunStatus, ScheduledRun } from '../../api/scheduled.ts';
import { EngineError } from '../../engines/engine.ts';
import { isConflict } from '../../kube/errors.ts';
import { type Key, keyOf, type Live, type ResourceType, refOf } from '../../kube/objects.ts';
import type { ControllerDefinition, ReconcileContext, ReconcileResult, Watch } from '../../runtime/contract.ts';
import { type Crew, muster, type NotNow } from '../cluster/steps.ts';
import { selections, type World } from '../world.ts';
import { messageOf, writeStatus } from '../writes.ts';
import { merge, past, RevisionMemory, runSamples, type Samples } from './history.ts';
import { performStep } from './perform.ts';
import {
  type CompactionAction,
  type CompactionObserved,
  type Failure,
  hasEnded,
  isLast,
  obstacle,
  planCompaction,
  RETRY_MS,
} from './plan.ts';

export const COMPACTION_CONTROLLER = 'compaction';

export interface CompactionController {
  readonly definition: ControllerDefinition<RaftCompaction>;
  close(): void;
}

/** What a run remembers between two looks; losing it costs a look more. */
interface Notes {
  inUse?: { readonly at: number; readonly bytes: ReadonlyMap<string, number> };
  /** `at`: on the monotonic clock. */
  failure?: Failure & { readonly at: number };
}

/** Space in use that did not fall for so long does not fall any more. */
const SETTLED_MS = 900;
const CONFLICT_RETRY_MS = 50;

export function compactionController(world: World): CompactionController {
  const { client, views, clock } = world;
  const { own } = selections(world.namespace);
  const type = raftCompaction as ResourceType<RaftCompaction>;
  const clusterType = raftCluster as ResourceType<RaftCluster>;
  const notes = new Map<Key, Notes>();
  const memory = new RevisionMemory();
  const close = views.clusters.cache.subscribe((before, after) => {
    const { clusterId, revision } = after?.status ?? {};
    const was = before?.status;
    if (was?.clusterId !== undefined && was.clusterId !== clusterId) memory.forget(was.clusterId);
    if (clusterId === undefined || revision === undefined) return;
    if (was?.revision !== revision || was.clusterId !== clusterId)
      memory.note(clusterId, revision, new Date(clock.now()));
  });

  async function reconcile(key: Key, context: ReconcileContext): Promise<ReconcileResult> {
    const compaction = views.compactions.get(key);
    if (!compaction) {
      notes.delete(key);
      return letGo(key);
    }
    const namespace = refOf(key).namespace ?? '';
    const clusterKey = keyOf({ namespace, name: compaction.spec.clusterName });
    const cluster = views.clusters.get(clusterKey);
    const note = notes.get(key) ?? {};
    notes.set(key, note);
    const { failure } = note;
    const counts = failure && (isLast(failure) || clock.monotonic() - failure.at < RETRY_MS);
    const known: CompactionObserved = {
      compaction,
      ...(cluster ? { cluster } : {}),
      readers: readersOf(clusterKey),
      quotaBounds: cluster ? world.engine(cluster.spec.engine.type).profile.quotaBounds : 'sizeBytes',
      samples: samplesOf(compaction, cluster),
      ...(counts ? { failure } : {}),
    };
    const asks = !hasEnded(compaction) && !counts && obstacle(known) === undefined;
    const crew = asks && cluster ? await gather(cluster, context.signal) : undefined;
    const inUseBefore = crew && !('notNow' in crew) ? lastInUse(note, crew) : undefined;
    const plan = planCompaction(
      { ...known, ...(crew ? { crew } : {}), ...(inUseBefore ? { inUseBefore } : {}) },
      new Date(context.now),
    );
    const found = crew && !('notNow' in crew) ? crew : undefined;
    try {
      await act(key, compaction, cluster, found, plan.actions, note, context);
    } catch (error) {
      if (isConflict(error)) return { requeueAfterMs: CONFLICT_RETRY_MS };
      throw error;
    }
    if (hasEnded(views.compactions.get(key) ?? compaction)) notes.delete(key);
    return plan.requeueAfterMs === undefined ? {} : { requeueAfterMs: plan.requeueAfterMs };
  }

  /** The members that the cluster counts as such: one that was removed may still run. */
  async function gather(cluster: Live<RaftCluster>, signal: AbortSignal): Promise<Crew | NotNow> {
    try {
      const crew = await muster(world, cluster, signal);
      if ('notNow' in crew) return crew;
      const listed = new Set(crew.list.map(({ id }) => id));
      return { ...crew, present: crew.present.filter(({ status }) => listed.has(status.memberId)) };
    } catch (error) {
      if (error instanceof EngineError) return { notNow: messageOf(error) };
      throw error;
    }
  }

  function lastInUse(note: Notes, { present }: Crew): ReadonlyMap<string, number> | undefined {
    const before = note.inUse;
    if (before && clock.monotonic() - before.at < SETTLED_MS) return undefined;
    const bytes = new Map(present.map(({ name, status }) => [name, status.sizeInUseBytes]));
    note.inUse = { at: clock.monotonic(), bytes };
    return before?.bytes;
  }

  function readersOf(cluster: Key): readonly string[] {
    const runs = ({ metadata, status }: { metadata: Live['metadata']; status?: RunStatus }) =>
      status?.startTime !== undefined && status.completionTime === undefined && !metadata.deletionTimestamp;
    const snapshots = views.snapshots.cache
      .byIndex('cluster', cluster)
      .map((snapshot) => views.snapshots.get(keyOf(snapshot)) ?? snapshot);
    const restores = views.restores.cache.byIndex('target', cluster);
    return [...snapshots, ...restores].filter(runs).map(({ kind, metadata }) => `${kind} ${metadata.name}`);
  }

  function samplesOf({ spec, status }: Live<RaftCompaction>, cluster: Live<RaftCluster> | undefined): Samples {
    const id = cluster?.status?.clusterId;
    if (spec.keepSeconds === undefined || !cluster || id === undefined) return [];
    const policies = views.compactionPolicies.cache
      .byIndex('cluster', keyOf(cluster))
      .flatMap((policy) => (policy.status?.clusterId === id ? [policy.status.revisions ?? []] : []));
    return merge(past([memory.of(id), ...policies, runSamples(status, id)].flat(), new Date(clock.now())));
  }

  async function act(
    key: Key,
    compaction: Live<RaftCompaction>,
    cluster: Live<RaftCluster> | undefined,
    crew: Crew | undefined,
    actions: readonly CompactionAction[],
    note: Notes,
    { log, signal }: ReconcileContext,
  ): Promise<void> {
    let current = compaction;
    const write = async (status: RaftCompactionStatus) => {
      current = await writeStatus(client, type, views.compactions, current, status);
    };
    for (const action of actions) {
      switch (action.kind) {
        case 'lock':
          await setOperation(cluster!, action.operation);
          break;
        case 'unlock':
          await setOperation(cluster!, undefined);
          break;
        case 'status':
          await write(action.status);
          break;
        case 'event':
          world.events.record(current, action.event);
          break;
        case 'step':
          try {
            log.info('compaction step', { compaction: key, ...action.step });
            const { facts, event } = await performStep(action.step, crew!, current.status ?? {}, clock, signal);
            delete note.failure;
            await write({ ...current.status, ...facts });
            if (event) world.events.record(current, event);
          } catch (error) {
            if (!(error instanceof EngineError)) throw error;
            log.warn('compaction step failed', { compaction: key, ...action.step, error });
            note.failure = {
              at: clock.monotonic(),
              of: action.step.kind,
              message: error.message,
              count: (note.failure?.count ?? 0) + 1,
              isFinal: error.code === 'ENGINE_REFUSED' || error.code === 'ENGINE_UNKNOWN',
            };
          }
      }
    }
  }

  /** The cluster's own controller writes it too: whoever comes second is refused (409), and looks again. */
  async function setOperation(cluster: Live<RaftCluster>, operation: Operation | undefined): Promise<void> {
    const { operation: _, ...status } = cluster.status ?? {};
    await writeStatus(client, clusterType, views.clusters, cluster, {
      ...status,
      ...(operation === undefined ? {} : { operation }),
    });
  }

  /** A run that was deleted keeps nobody off any more. */
  async function letGo(key: Key): Promise<ReconcileResult> {
    const { namespace, name } = refOf(key);
    const holder = `${raftCompaction.kind}/${name}`;
    for (const { metadata } of views.clusters.cache.list()) {
      const cluster = metadata.namespace === namespace ? views.clusters.get(keyOf({ metadata })) : undefined;
      if (cluster?.status?.operation?.holder !== holder) continue;
      try {
        await setOperation(cluster, undefined);
      } catch (error) {
        if (!isConflict(error)) throw error;
        return { requeueAfterMs: CONFLICT_RETRY_MS };
      }
    }
    return {};
  }

  const ofCluster = (cluster: Key): readonly Key[] =>
    views.compactions.cache
      .byIndex('cluster', cluster)
      .filter((one) => !hasEnded(one))
      .map(keyOf);
  const ended = (before: Live<ScheduledRun>, after: Live<ScheduledRun>) =>
    before.status?.completionTime !== after.status?.completionTime;
  const watches: Watch[] = [
    {
      kind: raftCluster,
      selector: own,
      keys: (cluster: Live) => ofCluster(keyOf(cluster)),
      changed: (before: Live<RaftCluster>, after: Live<RaftCluster>) => stage(before) !== stage(after),
    } as Watch,
    {
      kind: raftSnapshot,
      selector: own,
      keys: ({ metadata, spec }: Live & { spec: { clusterName: string } }) =>
        ofCluster(keyOf({ namespace: metadata.namespace ?? '', name: spec.clusterName })),
      changed: ended,
    } as Watch,
    {
      kind: raftRestore,
      selector: own,
      keys: ({ metadata, spec }: Live & { spec: { target: { newCluster: { name: string } } } }) =>
        ofCluster(keyOf({ namespace: metadata.namespace ?? '', name: spec.target.newCluster.name })),
      changed: ended,
    } as Watch,
  ];
  return {
    definition: { name: COMPACTION_CONTROLLER, kind: type, selector: own, watches, workers: world.workers, reconcile },
    close,
  };
}

/** What of a cluster matters to its compactions. */
function stage({ metadata, spec, status }: Live<RaftCluster>): string {
  const { holder, type } = status?.operation ?? {};
  return [metadata.deletionTimestamp, spec.paused, spec.replicas, status?.formed, status?.clusterId, holder, type].join(
    ' ',
  );
}
