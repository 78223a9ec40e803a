/** From a look at a RaftSnapshotStore to its condition, and to when to look again. Pure. */
import { findCondition, setCondition } from '../../api/conditions.ts';
import type { RaftSnapshotStore, RaftSnapshotStoreStatus } from '../../api/store.ts';
import type { EventInput } from '../../kube/contract.ts';
import type { Live } from '../../kube/objects.ts';
import { note, warning } from '../events.ts';
import { same } from '../manifests.ts';

/** What a look at the store found. */
export type StoreFinding =
  | { readonly kind: 'ready'; readonly location: string }
  | { readonly kind: 'claimMissing'; readonly claim: string }
  | { readonly kind: 'claimLost'; readonly claim: string }
  | { readonly kind: 'secretMissing'; readonly secret: string }
  | { readonly kind: 'secretKeyMissing'; readonly secret: string; readonly key: string }
  /** The store itself said no. `code` is a StoreError's. */
  | { readonly kind: 'refused'; readonly code: string; readonly message: string };

export type StoreAction =
  | { readonly kind: 'status'; readonly status: RaftSnapshotStoreStatus }
  | { readonly kind: 'event'; readonly event: EventInput };

export interface StorePlan {
  readonly actions: readonly StoreAction[];
  readonly requeueAfterMs: number;
}

/** A store that works is looked at now and then; one that does not, soon, and less and less often. */
const WORKING_MS = 300_000;
const FIRST_MS = 1_000;
const SLOWEST_MS = 10_000;

export function planStore(
  store: Live<RaftSnapshotStore>,
  finding: StoreFinding,
  /** How often in a row it was found wanting before. */
  failures: number,
  now: Date,
): StorePlan {
  const { status, reason, message } = verdict(finding);
  const before = findCondition(store.status?.conditions, 'Ready');
  const generation = store.metadata.generation;
  const next: RaftSnapshotStoreStatus = {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    conditions: setCondition(
      store.status?.conditions,
      { type: 'Ready', status, reason, message: message.slice(0, 4096), observedGeneration: generation },
      now,
    ) as NonNullable<RaftSnapshotStoreStatus['conditions']>,
  };
  const actions: StoreAction[] = [];
  if (!same(store.status, next)) actions.push({ kind: 'status', status: next });
  if (before?.status !== status || before.reason !== reason) {
    const event =
      status === 'True'
        ? note('StoreReady', 'CheckStore', message)
        : warning('StoreUnavailable', 'CheckStore', message);
    actions.push({ kind: 'event', event });
  }
  const requeueAfterMs = status === 'True' ? WORKING_MS : Math.min(SLOWEST_MS, FIRST_MS * 2 ** Math.min(failures, 10));
  return { actions, requeueAfterMs };
}

const reasons: Readonly<Record<string, string>> = {
  STORE_BUCKET_MISSING: 'BucketNotFound',
  STORE_FOLDER_MISSING: 'FolderNotFound',
  STORE_ACCESS_DENIED: 'AccessDenied',
  STORE_UNREACHABLE: 'Unreachable',
  STORE_FULL: 'Full',
  STORE_SPEC_INVALID: 'InvalidSpec',
};

function verdict(finding: StoreFinding): { status: 'True' | 'False'; reason: string; message: string } {
  switch (finding.kind) {
    case 'ready':
      return { status: 'True', reason: 'Reachable', message: `${finding.location} is there` };
    case 'claimMissing':
      return no(
        'ClaimNotFound',
        `spec.volume.claimName: PersistentVolumeClaim ${finding.claim} does not exist: create it, and the store becomes ready by itself`,
      );
    case 'claimLost':
      return no(
        'ClaimLost',
        `spec.volume.claimName: PersistentVolumeClaim ${finding.claim} has lost its volume: restore the volume or name another claim`,
      );
    case 'secretMissing':
      return no(
        'SecretNotFound',
        `spec.s3.credentialsSecret.name: Secret ${finding.secret} does not exist: create it, and the store becomes ready by itself`,
      );
    case 'secretKeyMissing':
      return no(
        'SecretKeyNotFound',
        `spec.s3.credentialsSecret: Secret ${finding.secret} has no key ${finding.key}: add it, or name the key that it has`,
      );
    case 'refused':
      return no(reasons[finding.code] ?? 'CheckFailed', finding.message);
  }
}

function no(reason: string, message: string) {
  return { status: 'False' as const, reason, message };
}
