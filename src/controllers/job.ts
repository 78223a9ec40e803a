/**
 * The Jobs that carry bytes between members and stores, as manifests and as what can be read from them. Snapshot bytes
 * never pass through the operator: it makes the Job, asks it for its progress, and reads its result.
 */

import type { RaftCluster } from '../api/cluster.ts';
import type { RaftSnapshotStoreSpec } from '../api/store.ts';
import {
  type ArchiveResult,
  type DeleteResult,
  isFailure,
  type JobFailure,
  parseOutcome,
  type Verb,
} from '../jobs/result.ts';
import type { Job, Pod } from '../kube/kinds.ts';
import { controllerOf, type KubeObject, type Live, type Manifest, type OwnerReference } from '../kube/objects.ts';
import { type Component, type Labels, objectLabels, podLabels } from './labels.ts';
import { PORTS } from './names.ts';
import { containerSecurityContext, type PodSettings, podBasics } from './restricted.ts';
import { storeEnvironment, storeMounts, storeVolumes } from './store/access.ts';
import { certificatesAt, certificatesMount, certificatesVolume } from './tls/resources.ts';

export const JOB_CONTAINER = 'job';
/** A Job that hangs ends after this long; a whole archive of the largest embedded state takes minutes. */
export const JOB_DEADLINE_SECONDS = 3600;
/** How long a Job and its log stay to be looked at once its result is recorded. */
const KEEP_DONE_SECONDS = 300;
const KEEP_FAILED_SECONDS = 3600;

export interface JobInput {
  readonly name: string;
  readonly namespace: string;
  readonly owner: OwnerReference;
  readonly cluster: string;
  readonly component: Component;
  /** Labels by which the owner's controller finds the Job and its pods. */
  readonly labels: Labels;
  readonly verb: Verb;
  readonly args: readonly string[];
  readonly store: RaftSnapshotStoreSpec;
  /** The cluster whose members it speaks with, if it does with any. */
  readonly speaksWith?: RaftCluster;
  readonly settings: PodSettings;
}

export function jobManifest(input: JobInput): Manifest {
  const { verb, store, speaksWith } = input;
  const secured = speaksWith !== undefined && speaksWith.spec.tls.mode !== 'Disabled';
  const writes = verb === 'save' || verb === 'delete';
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      name: input.name,
      namespace: input.namespace,
      labels: { ...objectLabels(input.cluster, input.component), ...input.labels },
      ownerReferences: [input.owner],
    },
    spec: {
      backoffLimit: 2,
      activeDeadlineSeconds: JOB_DEADLINE_SECONDS,
      // Status 3 says that trying again is pointless: a corrupt archive stays corrupt.
      podFailurePolicy: {
        rules: [
          {
            action: 'FailJob',
            onExitCodes: { containerName: JOB_CONTAINER, operator: 'In', values: [2, 3] },
          },
          // A node that is drained is not the Job's failure.
          { action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
        ],
      },
      template: {
        metadata: { labels: { ...podLabels(input.cluster, input.component), ...input.labels } },
        spec: {
          ...podBasics,
          restartPolicy: 'Never',
          containers: [
            {
              name: JOB_CONTAINER,
              image: input.settings.image,
              imagePullPolicy: input.settings.imagePullPolicy,
              args: ['job', verb, ...input.args, ...(secured ? [`--tls-dir=${certificatesAt('client')}`] : [])],
              env: storeEnvironment(store),
              ports: [{ name: 'progress', containerPort: PORTS.progress }],
              terminationMessagePolicy: 'File',
              resources: { requests: { cpu: '50m', memory: '128Mi' } },
              securityContext: containerSecurityContext,
              volumeMounts: [
                { name: 'tmp', mountPath: '/tmp' },
                ...(secured ? [certificatesMount] : []),
                ...storeMounts(store, !writes),
              ],
            },
          ],
          volumes: [
            { name: 'tmp', emptyDir: {} },
            ...(secured ? [certificatesVolume(speaksWith, ['client'])] : []),
            ...storeVolumes(store),
          ],
        },
      },
    },
  };
}

/** What can be known of a Job by looking at it and at its pods. */
export type JobState =
  /** No pod has begun. `obstacle` says what keeps it, where something does. */
  | { readonly kind: 'starting'; readonly obstacle?: string }
  | { readonly kind: 'running'; readonly pod: string; readonly podIP?: string }
  /** It has ended, and its pod's last words have not reached us yet. */
  | { readonly kind: 'ending' }
  | { readonly kind: 'succeeded'; readonly result: ArchiveResult | DeleteResult }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string }
  /** It has ended well, but its result can no longer be read: its pod was removed, or left no message. */
  | { readonly kind: 'lost' };

/** The Jobs among these that `owner` controls. */
export function ownJobs(owner: Live<KubeObject>, jobs: readonly Live<Job>[]): readonly Live<Job>[] {
  return jobs.filter((job) => controllerOf(job)?.uid === owner.metadata.uid);
}

/** The first of these names that there is a Job of `owner` of, and how it does. */
export function currentJob(
  owner: Live<KubeObject>,
  { jobs, pods }: { readonly jobs: readonly Live<Job>[]; readonly pods: readonly Live<Pod>[] },
  names: readonly string[],
  now: Date,
): [Live<Job>, JobState] | [undefined, undefined] {
  const own = ownJobs(owner, jobs);
  const job = names.map((name) => own.find(({ metadata }) => metadata.name === name)).find((one) => one !== undefined);
  return job ? [job, readJob(job, pods, now)] : [undefined, undefined];
}

export interface ExpireJob {
  readonly kind: 'expireJob';
  readonly name: string;
  readonly seconds: number;
}

/** Jobs get their end only after their result is recorded: an operator that was away must still find it. */
export function expiries(owner: Live<KubeObject>, jobs: readonly Live<Job>[]): ExpireJob[] {
  return ownJobs(owner, jobs)
    .filter(({ spec, metadata }) => spec['ttlSecondsAfterFinished'] === undefined && !metadata.deletionTimestamp)
    .map((job) => {
      const good = job.status?.conditions?.some(({ type, status }) => type === 'Complete' && status === 'True');
      return { kind: 'expireJob', name: job.metadata.name, seconds: good ? KEEP_DONE_SECONDS : KEEP_FAILED_SECONDS };
    });
}

/** How long after a Job's end its pod may still show up in the watch. */
const LAST_WORDS_MS = 10_000;

export function readJob(job: Live<Job>, pods: readonly Live<Pod>[], now: Date): JobState {
  const ended = (type: string) => job.status?.conditions?.find((one) => one.type === type && one.status === 'True');
  const complete = ended('Complete');
  const failed = ended('Failed');
  const own = pods
    .filter((pod) => pod.metadata.ownerReferences?.some((owner) => owner.uid === job.metadata.uid))
    .sort((a, b) => (a.metadata.creationTimestamp < b.metadata.creationTimestamp ? -1 : 1));
  if (complete) {
    for (const pod of own) {
      const outcome = parseOutcome(terminated(pod)?.message);
      if (outcome !== undefined && !isFailure(outcome)) return { kind: 'succeeded', result: outcome };
    }
    const at = Date.parse(job.status?.completionTime ?? job.metadata.creationTimestamp);
    return now.getTime() - at < LAST_WORDS_MS ? { kind: 'ending' } : { kind: 'lost' };
  }
  if (failed) {
    const failure = lastFailure(own);
    if (failure) return { kind: 'failed', code: failure.error.code, message: failure.error.message };
    const obstacle = own.map(obstacleOf).findLast((one) => one !== undefined);
    const words = [
      failed.message ?? `the Job ended: ${failed.reason ?? 'no reason given'}`,
      obstacle,
      deathOf(own.at(-1)),
    ];
    return {
      kind: 'failed',
      code: failed.reason ?? 'JobFailed',
      message: words.filter((word) => word !== undefined).join('; '),
    };
  }
  const pod = own.findLast((one) => one.status?.phase === 'Running');
  if (pod) {
    const podIP = pod.status?.podIP;
    return { kind: 'running', pod: pod.metadata.name, ...(podIP === undefined ? {} : { podIP }) };
  }
  const obstacle = own.map(obstacleOf).findLast((one) => one !== undefined) ?? retryOf(own);
  return { kind: 'starting', ...(obstacle === undefined ? {} : { obstacle }) };
}

function terminated(pod: Live<Pod>) {
  return pod.status?.containerStatuses?.find((one) => one.name === JOB_CONTAINER)?.state?.terminated;
}

function lastFailure(pods: readonly Live<Pod>[]): JobFailure | undefined {
  for (const pod of pods.toReversed()) {
    const outcome = parseOutcome(terminated(pod)?.message);
    if (outcome !== undefined && isFailure(outcome)) return outcome;
  }
  return undefined;
}

/** Why a pod's process ended, where it could not say it itself (killed for memory, an unknown flag). */
function deathOf(pod: Live<Pod> | undefined): string | undefined {
  const end = pod && terminated(pod);
  if (!pod || !end) return undefined;
  const words = end.message ? `: ${end.message.trim().slice(-500)}` : '';
  return `pod ${pod.metadata.name} ended with status ${end.exitCode}${end.reason ? ` (${end.reason})` : ''}${words}`;
}

/** A Job that is between two tries says why the last one failed. */
function retryOf(pods: readonly Live<Pod>[]): string | undefined {
  const failure = lastFailure(pods);
  return failure && `the last try failed and is repeated: ${failure.error.message}`;
}

const harmless = new Set(['ContainerCreating', 'PodInitializing']);

/** What keeps a pod from running, in words: an image that cannot be pulled, a Secret that is missing, no room. */
export function obstacleOf(pod: Live<Pod>): string | undefined {
  const name = pod.metadata.name;
  const containers = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  for (const { state, lastState } of containers) {
    const { reason, message } = state?.waiting ?? {};
    if (reason === undefined || harmless.has(reason)) continue;
    const last = lastState?.terminated;
    const failure = parseOutcome(last?.message);
    const cause =
      failure !== undefined && isFailure(failure)
        ? failure.error.message
        : reason === 'CrashLoopBackOff' && last
          ? `its last run ended with status ${last.exitCode}${lastLine(last.message)}`
          : message;
    return `pod ${name} cannot start: ${reason}${cause ? `: ${cause}` : ''}`;
  }
  const unscheduled = pod.status?.conditions?.find((one) => one.type === 'PodScheduled' && one.status === 'False') as
    | { reason?: string; message?: string }
    | undefined;
  if (unscheduled?.reason === 'Unschedulable')
    return `pod ${name} cannot be scheduled: ${unscheduled.message ?? 'no node fits'}`;
  return undefined;
}

/** What a container said last: a termination message, or the end of its log. */
export function lastLine(message: string | undefined): string {
  const line = message?.trimEnd().split('\n').at(-1)?.trim();
  return line ? `: ${line.slice(0, 500)}` : '';
}

/** Jobs say `sha-256=<base64>`, as HashiCorp's tools do; the API says the same hash in hex, as sha256sum does. */
export function checksumInHex(checksum: string): string {
  const base64 = /^sha-256=(.*)$/.exec(checksum)?.[1];
  return base64 === undefined ? checksum : Buffer.from(base64, 'base64').toString('hex');
}

/** The other way round: what `--checksum` takes. */
export function checksumOfHex(hex: string): string {
  return `sha-256=${Buffer.from(hex, 'hex').toString('base64')}`;
}
