/** Whether the members may go to the version that spec asks for, and the snapshot that comes before they do. Pure. */
import type { RaftCluster } from '../../api/cluster.ts';
import { findCondition, isTrue } from '../../api/conditions.ts';
import { apiVersion } from '../../api/meta.ts';
import type { RaftSnapshotPolicy } from '../../api/policy.ts';
import { maxRunName, type RaftSnapshot } from '../../api/snapshot.ts';
import type { EngineProfile } from '../../engines/engine.ts';
import { parseVersion } from '../../engines/versions.ts';
import type { Live, Manifest } from '../../kube/objects.ts';
import { BEFORE_VERSION, CLUSTER, MANAGED_BY } from '../labels.ts';
import { hashOf } from '../manifests.ts';
import type { Held } from './step.ts';

/** What is known of one member's version. */
export interface MemberVersion {
  readonly name: string;
  /** What it says that it runs; absent while it does not answer. */
  readonly version?: string;
  readonly image?: string;
  /** It does not run what spec says. */
  readonly outdated: boolean;
}

export interface VersionInput {
  readonly cluster: Live<RaftCluster>;
  readonly profile: VersionRules;
  /** The image that members should run. */
  readonly image: string;
  readonly members: readonly MemberVersion[];
  readonly formed: boolean;
  /** Enough members serve for a snapshot to be taken. */
  readonly quorum: boolean;
  readonly snapshots: readonly Live<RaftSnapshot>[];
  readonly policies: readonly Live<RaftSnapshotPolicy>[];
}

export type VersionRules = Pick<EngineProfile, 'defaultVersion' | 'problems' | 'versionChange'>;

export type VersionPlan =
  /** Nothing about the version stands in the way. `note`: what a person should know of it. */
  | { readonly kind: 'free'; readonly note?: string }
  /** The members must not run what spec asks for. */
  | { readonly kind: 'refused'; readonly held: Held }
  /** A snapshot comes first, and is made or underway. */
  | { readonly kind: 'snapshot'; readonly message: string; readonly make?: Manifest }
  /** The snapshot that should come first has failed. */
  | { readonly kind: 'failed'; readonly held: Held };

/** The version that members will run, where that can be known before they do: images are tagged with it, mostly. */
function targetVersion({ engine }: RaftCluster['spec'], { defaultVersion }: VersionRules): string | undefined {
  if (engine.version !== undefined) return engine.version;
  if (engine.image === undefined) return defaultVersion;
  const tag = /:([^:@/]+)(@|$)/.exec(engine.image)?.[1] ?? '';
  return parseVersion(tag) ? tag : undefined;
}

export function planVersion(input: VersionInput): VersionPlan {
  const { cluster, profile, members, image, formed } = input;
  const { engine } = cluster.spec;
  const [problem] = profile.problems(engine);
  if (problem !== undefined) return refused('EngineInvalid', problem);
  const old = members.filter(({ outdated }) => outdated);
  if (old.length === 0) return { kind: 'free' };
  // An image may hold another version than its name says: a member that runs it knows.
  const reached = members.find((member) => member.image === image && member.version !== undefined)?.version;
  const target = reached ?? targetVersion(cluster.spec, profile);
  const running = runningVersions(input);
  const changes = target === undefined ? [] : running.map((from) => profile.versionChange(from, target, running));
  const refusal = changes.find((change) => change.kind === 'refused');
  if (refusal) return refused('VersionRefused', `${refusal.reason}: the members stay as they are`);
  // Once a member runs it, it is too late to come before.
  if (!formed || reached !== undefined || changes.some(({ kind }) => kind === 'same')) return { kind: 'free' };
  // What members do not say is in their image.
  const unknown = target === undefined || changes.length === 0 || changes.some(({ kind }) => kind === 'unknown');
  if (unknown && old.every((member) => member.image === image)) return { kind: 'free' };
  return snapshotFirst(input, running.join(', '), target ?? image);
}

/** What the members say, or said last while none answers. */
function runningVersions({ cluster, members }: VersionInput): string[] {
  const said = members.flatMap(({ version }) => version ?? []);
  const versions = said.length > 0 ? said : (cluster.status?.version ?? '').split(', ').filter((one) => one !== '');
  return [...new Set(versions)].sort();
}

function refused(reason: string, message: string): VersionPlan {
  return { kind: 'refused', held: { reason, message } };
}

/**
 * One snapshot for each change of version that is tried: of the same name however often one looks, of another once spec
 * is changed, so that a failure is tried anew. It belongs to nobody, as those of policies do: whoever deletes the cluster
 * does not mean to delete its backups.
 */
function snapshotFirst(input: VersionInput, from: string, to: string): VersionPlan {
  const { cluster, snapshots, policies, quorum } = input;
  const name = snapshotName(cluster, input.image);
  const there = snapshots.find(({ metadata }) => metadata.name === name);
  if (there !== undefined) {
    const complete = findCondition(there.status?.conditions, 'Complete');
    if (complete?.status === 'True') return { kind: 'free' };
    if (there.status?.completionTime !== undefined)
      return {
        kind: 'failed',
        held: {
          reason: 'SnapshotFailed',
          message: `no member goes from ${from} to ${to}, because RaftSnapshot ${name}, which comes first, failed: ${complete?.message ?? 'no reason given'}. Mend the cause and delete that RaftSnapshot, or change spec: it is tried anew`,
        },
      };
    const said = complete === undefined ? '' : `: ${complete.message}`;
    return { kind: 'snapshot', message: `RaftSnapshot ${name} comes before ${to}${said}` };
  }
  const none = (why: string): VersionPlan => ({ kind: 'free', note: `no snapshot was taken before ${to}: ${why}` });
  if (!quorum) return none('too few members serve for one');
  const storeName = storeOf(policies);
  if (storeName === undefined) return none('no RaftSnapshotPolicy of this cluster names a store for it');
  return {
    kind: 'snapshot',
    message: `RaftSnapshot ${name} comes before ${to}`,
    make: {
      apiVersion,
      kind: 'RaftSnapshot',
      metadata: {
        name,
        namespace: cluster.metadata.namespace ?? 'default',
        labels: { [MANAGED_BY]: 'raftsman', [CLUSTER]: cluster.metadata.name },
        annotations: { [BEFORE_VERSION]: to },
      },
      spec: { clusterName: cluster.metadata.name, storeName, deletionPolicy: 'Retain' },
    },
  };
}

/** Bounded by what the API takes; the hash tells clusters apart whose names begin alike. */
export function snapshotName({ metadata, spec }: Live<RaftCluster>, image: string): string {
  const { uid, generation = 0 } = metadata;
  const tail = `-before-${hashOf([uid, generation, spec.engine.version, image]).slice(0, 10)}`;
  return `${metadata.name.slice(0, maxRunName - tail.length)}${tail}`;
}

/** Of a policy that can take snapshots at present, rather than of one that cannot. */
function storeOf(policies: readonly Live<RaftSnapshotPolicy>[]): string | undefined {
  const own = policies
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  return (own.find(({ status }) => isTrue(status?.conditions, 'Ready')) ?? own[0])?.spec.storeName;
}
