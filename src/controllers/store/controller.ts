/** Reconciles RaftSnapshotStores: looks whether each can be used, and says so. */
import { raftSnapshotStore } from '../../api/kinds.ts';
import type { RaftSnapshotStore } from '../../api/store.ts';
import { persistentVolumeClaims, type Secret, secrets } from '../../kube/kinds.ts';
import type { Key, Live, ResourceType } from '../../kube/objects.ts';
import type { ControllerDefinition, ReconcileContext, ReconcileResult } from '../../runtime/contract.ts';
import type { S3Credentials } from '../../stores/store.ts';
import { selections, type World } from '../world.ts';
import { messageOf, writeStatus } from '../writes.ts';
import { plainSpec } from './access.ts';
import { planStore, type StoreFinding } from './plan.ts';

export const STORE_CONTROLLER = 'store';
const CHECK_TIMEOUT_MS = 10_000;

interface Checked {
  readonly generation: number | undefined;
  readonly uid: string;
  readonly failures: number;
  /** On the monotonic clock. */
  readonly dueAt: number;
}

export interface StoreController {
  readonly definition: ControllerDefinition<RaftSnapshotStore>;
  /** Looks at a store now: somebody has had trouble with it. */
  recheck(key: Key): void;
}

export function storeController(world: World): StoreController {
  const { client, views, clock } = world;
  /** When each store was last looked at: our own write of its status must not make us look again. */
  const checked = new Map<Key, Checked>();

  async function look(store: Live<RaftSnapshotStore>, signal: AbortSignal): Promise<StoreFinding> {
    const namespace = store.metadata.namespace ?? '';
    const { spec } = store;
    if (spec.volume) {
      const claim = spec.volume.claimName;
      const found = await client.find(persistentVolumeClaims, { namespace, name: claim }, { signal });
      if (!found || found.metadata.deletionTimestamp !== undefined) return { kind: 'claimMissing', claim };
      if (found.status?.phase === 'Lost') return { kind: 'claimLost', claim };
      // A claim that waits for its first consumer is bound by the first Job.
      return { kind: 'ready', location: `volume ${claim}${spec.volume.path ? `/${spec.volume.path}` : ''}` };
    }
    let credentials: S3Credentials | undefined;
    const wanted = spec.s3.credentialsSecret;
    if (wanted) {
      const secret = await client.find(secrets, { namespace, name: wanted.name }, { signal });
      if (!secret) return { kind: 'secretMissing', secret: wanted.name };
      const keys = [wanted.accessKeyIdKey, wanted.secretAccessKeyKey, wanted.sessionTokenKey];
      const missing = keys.find((key) => key !== undefined && !secret.data?.[key]);
      if (missing !== undefined) return { kind: 'secretKeyMissing', secret: wanted.name, key: missing };
      const sessionToken = wanted.sessionTokenKey && secretValue(secret, wanted.sessionTokenKey);
      credentials = {
        accessKeyId: secretValue(secret, wanted.accessKeyIdKey),
        secretAccessKey: secretValue(secret, wanted.secretAccessKeyKey),
        ...(sessionToken ? { sessionToken } : {}),
      };
    }
    const opened = await world.openStore(plainSpec(spec), credentials);
    const limit = new AbortController();
    const cancel = clock.after(CHECK_TIMEOUT_MS, () => limit.abort());
    try {
      await opened.check({ signal: AbortSignal.any([signal, limit.signal]) });
      return { kind: 'ready', location: opened.location };
    } catch (error) {
      if (signal.aborted) throw error;
      const code = (error as { code?: unknown }).code;
      const message = limit.signal.aborted
        ? `${opened.location} gives no answer within ${CHECK_TIMEOUT_MS / 1000} s: check spec.s3.endpoint and that the operator may reach it`
        : messageOf(error);
      return {
        kind: 'refused',
        code: limit.signal.aborted ? 'STORE_UNREACHABLE' : typeof code === 'string' ? code : 'STORE_FAILED',
        message,
      };
    } finally {
      cancel();
      opened.close();
    }
  }

  async function reconcile(key: Key, { now, signal }: ReconcileContext): Promise<ReconcileResult> {
    const store = views.stores.get(key);
    if (!store || store.metadata.deletionTimestamp !== undefined) {
      checked.delete(key);
      return {};
    }
    const { generation, uid } = store.metadata;
    const last = checked.get(key);
    const known = last?.generation === generation && last?.uid === uid ? last : undefined;
    const waitMs = (known?.dueAt ?? 0) - clock.monotonic();
    if (known && waitMs > 0) return { requeueAfterMs: waitMs };
    const finding = await look(store, signal);
    const failures = known?.failures ?? 0;
    const plan = planStore(store, finding, failures, new Date(now));
    let written = store;
    for (const action of plan.actions) {
      if (action.kind === 'status')
        written = await writeStatus(
          client,
          raftSnapshotStore as ResourceType<RaftSnapshotStore>,
          views.stores,
          written,
          action.status,
        );
      else world.events.record(store, action.event);
    }
    checked.set(key, {
      generation,
      uid,
      failures: finding.kind === 'ready' ? 0 : failures + 1,
      dueAt: clock.monotonic() + plan.requeueAfterMs,
    });
    return { requeueAfterMs: plan.requeueAfterMs };
  }

  return {
    definition: {
      name: STORE_CONTROLLER,
      kind: raftSnapshotStore as ResourceType<RaftSnapshotStore>,
      selector: selections(world.namespace).own,
      workers: world.workers,
      reconcile,
    },
    recheck(key) {
      checked.delete(key);
      world.manager.enqueue(STORE_CONTROLLER, key);
    },
  };
}

function secretValue(secret: Live<Secret>, key: string): string {
  return Buffer.from(secret.data?.[key] ?? '', 'base64').toString('utf8');
}
