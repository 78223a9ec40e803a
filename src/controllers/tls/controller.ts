/** Keeps the certificates of RaftClusters: issues and renews them, or looks at what others have issued. */
import type { RaftCluster } from '../../api/cluster.ts';
import { raftCluster } from '../../api/kinds.ts';
import { isNotFound } from '../../kube/errors.ts';
import { pods, type Secret, secrets } from '../../kube/kinds.ts';
import { controllerOf, type Key, keyOf, type Live, type ObjectRef, type ResourceType } from '../../kube/objects.ts';
import type { Cache, ControllerDefinition, ReconcileContext, ReconcileResult, Watch } from '../../runtime/contract.ts';
import { CLUSTER, isMember } from '../labels.ts';
import { memberHost, memberNames } from '../names.ts';
import { byLabel, selections, type World } from '../world.ts';
import { isRefusal, messageOf, NameTakenError } from '../writes.ts';
import { DAY_MS } from './authority.ts';
import { certificateOf, certificates, whyNotIssued } from './cert-manager.ts';
import { type Finding, inspect, type Role, roles } from './inspect.ts';
import { issuer } from './issue.ts';
import { renewMsOf } from './managed.ts';
import { secretNames, secretsOf } from './names.ts';
import { proofPolls } from './proofs.ts';
import { CALM_MS, FAULT_MS, type Found, recheckMsOf, stateOf } from './report.ts';
import type { TlsState } from './state.ts';

export const TLS_CONTROLLER = 'tls';

/** Until a watch has begun. */
const SYNC_MS = 1_000;
/** Nodes learn of a changed Secret within this. A member that is started anew for it must not meet the old one. */
const SETTLE_MS = 10_000;

const noCertManager =
  'spec.tls.mode is CertManager, and Kubernetes knows no Certificate of cert-manager.io/v1: install cert-manager';

interface Outcome {
  readonly found: Found;
  readonly recheckMs: number;
}

/** cert-manager's Certificates as they were last looked at. */
interface Applied {
  readonly uid: string;
  readonly generation: number | undefined;
  /** On the monotonic clock. */
  readonly at: number;
  readonly holdsMs: number;
  readonly fault?: { readonly reason: string; readonly message: string };
}

export interface TlsController {
  readonly definition: ControllerDefinition<RaftCluster>;
  close(): void;
}

/** `wake` is told of a cluster whose certificates have changed, or what is to be said of them. */
export function tlsController(world: World, wake: (key: Key) => void): TlsController {
  const { client, views, clock } = world;
  const { own, managed } = selections(world.namespace);
  const proofs = proofPolls(world, TLS_CONTROLLER);
  const { issue, ownSecrets, forget } = issuer(world, proofs);
  const applied = new Map<Key, Applied>();
  /** Secrets that somebody else fills, by key. */
  const followed = new Map<Key, Cache<Secret>>();
  /** When a change of what is trusted was first seen, on the monotonic clock. */
  const changed = new Map<Key, { readonly trust: string; readonly at: number }>();

  async function reconcile(key: Key, context: ReconcileContext): Promise<ReconcileResult> {
    const cluster = views.clusters.get(key);
    if (!cluster || cluster.metadata.deletionTimestamp !== undefined || cluster.spec.tls.mode === 'Disabled') {
      proofs.forget(key);
      forget(key);
      applied.delete(key);
      changed.delete(key);
      world.certificates.forget(key);
      return {};
    }
    const now = new Date(context.now);
    const { found, recheckMs } = await lookAt(key, cluster, now, context.signal);
    const state = stateOf(found, world.certificates.of(cluster), now);
    const { settled, waitMs } = settle(key, cluster, state);
    if (world.certificates.set(cluster, settled)) wake(key);
    return { requeueAfterMs: Math.min(recheckMs, waitMs) };
  }

  async function lookAt(key: Key, cluster: Live<RaftCluster>, now: Date, signal: AbortSignal): Promise<Outcome> {
    switch (cluster.spec.tls.mode) {
      case 'Disabled':
      case 'Managed':
        return fromOwnAuthority(cluster, now, signal);
      case 'Secrets':
        return fromOthers(cluster, now, signal);
      case 'CertManager':
        return fromCertManager(key, cluster, now, signal);
    }
  }

  async function fromOwnAuthority(cluster: Live<RaftCluster>, now: Date, signal: AbortSignal): Promise<Outcome> {
    const names = secretsOf(cluster);
    const failed = (reason: string, message: string): Outcome => ({
      found: { names, secrets: findings(cluster, cachedSecrets(cluster), now), fault: { reason, message } },
      recheckMs: FAULT_MS,
    });
    try {
      const plan = await issue(cluster, now, signal);
      const seen = findings(cluster, ownSecrets(cluster), now);
      if (plan.kind === 'fault') return failed(plan.reason, plan.message);
      if (plan.kind === 'authority') return { found: { names, secrets: seen }, recheckMs: FAULT_MS };
      const { dueAt, expiresAt, waiting, state } = plan;
      const goesOn = state.next ? 'a new CA is trusted beside the old one' : 'the old CA is still trusted';
      return {
        found: {
          names,
          secrets: seen,
          expiresAt,
          renewMs: renewMsOf(cluster.spec.tls.managed),
          ...(waiting ? { aside: `${goesOn}, and waits ${waiting}` } : {}),
        },
        // A timer holds no more than some weeks, and clocks are set.
        recheckMs: Math.min(CALM_MS, Math.max(1_000, (dueAt ?? Number.POSITIVE_INFINITY) - now.getTime())),
      };
    } catch (error) {
      if (error instanceof NameTakenError) return failed('NameTaken', messageOf(error));
      if (isRefusal(error))
        return failed('Refused', `Kubernetes refuses a Secret, and is asked again: ${messageOf(error)}`);
      throw error;
    }
  }

  function cachedSecrets(cluster: Live<RaftCluster>): { readonly [R in Role]?: Secret } {
    const { name, namespace = '' } = cluster.metadata;
    return Object.fromEntries(
      roles.map((role) => [role, views.secrets.get(keyOf({ namespace, name: secretNames[role](name) }))]),
    );
  }

  /** Its Secrets bear our labels, and the watch tells of them; the Certificates themselves are looked at now and then. */
  async function fromCertManager(
    key: Key,
    cluster: Live<RaftCluster>,
    now: Date,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { uid, generation } = cluster.metadata;
    const known = applied.get(key);
    const leftMs = (known?.at ?? 0) + (known?.holdsMs ?? 0) - clock.monotonic();
    const fresh = known?.uid === uid && known.generation === generation && leftMs > 0;
    const { fault, holdsMs } = fresh ? known : await applyCertificates(cluster, signal);
    if (!fresh)
      applied.set(key, { uid, generation, at: clock.monotonic(), holdsMs, ...(fault === undefined ? {} : { fault }) });
    const names = secretsOf(cluster);
    const held = cachedSecrets(cluster);
    // What has been issued counts, whatever becomes of the next.
    const whole = roles.every((role) => held[role] !== undefined);
    const found = {
      names,
      secrets: findings(cluster, held, now),
      renewMs: cluster.spec.tls.certManager!.renewBeforeDays * DAY_MS,
      ...(fault && !whole ? { fault } : {}),
    };
    return { found, recheckMs: Math.min(fresh ? leftMs : holdsMs, recheckMsOf(found)) };
  }

  async function applyCertificates(
    cluster: Live<RaftCluster>,
    signal: AbortSignal,
  ): Promise<{ readonly fault?: Applied['fault']; readonly holdsMs: number }> {
    const { namespace = '' } = cluster.metadata;
    const names = secretsOf(cluster);
    const held = cachedSecrets(cluster);
    const failed = (reason: string, message: string) => ({ fault: { reason, message }, holdsMs: FAULT_MS });
    let pending: string | undefined;
    try {
      for (const role of roles) {
        const there = await client.find(certificates, { namespace, name: names[role] }, { signal });
        if (there && controllerOf(there)?.uid !== cluster.metadata.uid) throw new NameTakenError(there);
        if (!cluster.spec.paused) await world.applier.apply(certificates, certificateOf(role, cluster), there);
        if (held[role] === undefined) pending ??= whyNotIssued(there, names[role]);
      }
    } catch (error) {
      if (error instanceof NameTakenError) return failed('NameTaken', messageOf(error));
      if (isNotFound(error)) return failed('CertManagerNotFound', noCertManager);
      if (isRefusal(error)) return failed('Refused', `Kubernetes refuses a Certificate: ${messageOf(error)}`);
      throw error;
    }
    return pending === undefined ? { holdsMs: CALM_MS } : failed('CertificatePending', pending);
  }

  /** Each by a watch of its own: nothing of other Secrets is ever seen. */
  async function fromOthers(cluster: Live<RaftCluster>, now: Date, signal: AbortSignal): Promise<Outcome> {
    const { namespace = '' } = cluster.metadata;
    const names = secretsOf(cluster);
    const read = roles.map(async (role) => {
      const ref = { namespace, name: names[role] };
      const cache = follow(ref);
      return [role, cache.synced ? cache.get(keyOf(ref)) : await client.find(secrets, ref, { signal })] as const;
    });
    const found = { names, secrets: findings(cluster, Object.fromEntries(await Promise.all(read)), now) };
    const synced = roles.every((role) => follow({ namespace, name: names[role] }).synced);
    return { found, recheckMs: synced ? recheckMsOf(found) : SYNC_MS };
  }

  function follow(ref: ObjectRef): Cache<Secret> {
    const of = keyOf(ref);
    const known = followed.get(of);
    if (known) return known;
    const { namespace = '', name } = ref;
    const cache = world.manager.cache<Secret>(secrets, { namespace, fieldSelector: `metadata.name=${name}` });
    followed.set(of, cache);
    cache.subscribe(() => {
      for (const { metadata, spec } of views.clusters.cache.list())
        if (metadata.namespace === namespace && Object.values(spec.tls.secrets ?? {}).includes(name))
          world.manager.enqueue(TLS_CONTROLLER, keyOf({ namespace, name: metadata.name }));
    });
    return cache;
  }

  /** A change of what is trusted counts for members' pods only when nodes have it too. */
  function settle(key: Key, cluster: Live<RaftCluster>, state: Extract<TlsState, { kind: 'on' }>) {
    const before = world.certificates.of(cluster);
    const old = before?.kind === 'on' ? before.trust : undefined;
    if (state.trust === undefined || old === undefined || state.trust === old) {
      changed.delete(key);
      return { settled: state, waitMs: Number.POSITIVE_INFINITY };
    }
    const seen = changed.get(key);
    const at = seen?.trust === state.trust ? seen.at : clock.monotonic();
    changed.set(key, { trust: state.trust, at });
    const waitMs = at + SETTLE_MS - clock.monotonic();
    return waitMs <= 0
      ? { settled: state, waitMs: Number.POSITIVE_INFINITY }
      : { settled: { ...state, trust: old }, waitMs };
  }

  const watches: Watch[] = [
    { kind: secrets, selector: managed, keys: byLabel(CLUSTER) } as Watch,
    // Members have to show what they have while CAs change; at other times a pod is no news here.
    {
      kind: pods,
      selector: managed,
      keys: (pod) => (isMember(pod) ? byLabel(CLUSTER)(pod).filter(changesCa) : []),
    } as Watch,
  ];

  /** A new or moved pod has to be asked. */
  function changesCa(key: Key): boolean {
    const cluster = views.clusters.get(key);
    const state = cluster && world.certificates.of(cluster);
    return state?.kind === 'on' && state.report.reason === 'ReplacingCA';
  }

  return {
    definition: {
      name: TLS_CONTROLLER,
      kind: raftCluster as ResourceType<RaftCluster>,
      selector: own,
      watches,
      changed: concernsCertificates,
      workers: world.workers,
      reconcile,
    },
    close: () => proofs.close(),
  };
}

/** A status is written with every step of the members; of it the certificates' names follow the size alone. */
function concernsCertificates(before: Live<RaftCluster>, after: Live<RaftCluster>): boolean {
  const facts = ({ metadata, status }: Live<RaftCluster>) =>
    JSON.stringify([metadata.uid, metadata.generation, metadata.deletionTimestamp, metadata.annotations, status?.size]);
  return facts(before) !== facts(after);
}

function findings(
  cluster: RaftCluster,
  held: { readonly [R in Role]?: Secret | undefined },
  now: Date,
): Readonly<Record<Role, Finding>> {
  const { name, namespace = 'default' } = cluster.metadata;
  const names = secretsOf(cluster);
  const members = memberNames(name, Math.max(1, cluster.spec.replicas, cluster.status?.size ?? 0));
  const hosts = members.map((member) => memberHost(name, namespace, member));
  const of = (role: Role) => inspect(role, names[role], held[role], role === 'client' ? [] : hosts, now);
  return { server: of('server'), peer: of('peer'), client: of('client') };
}
