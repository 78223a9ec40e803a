/** Keeps the certificates of RaftClusters: issues and renews them, or looks at what others have issued. */
import type { RaftCluster } from '../../api/cluster.ts';
import { raftCluster } from '../../api/kinds.ts';
import { isNotFound } from '../../kube/errors.ts';
import { pods, type Secret, secrets } from '../../kube/kinds.ts';
import { type Key, keyOf, type Live, type ResourceType } from '../../kube/objects.ts';
import type { ControllerDefinition, ReconcileContext, ReconcileResult, Watch } from '../../runtime/contract.ts';
import { CLUSTER, COMPONENT } from '../labels.ts';
import { memberHost, memberNames } from '../names.ts';
import { byLabel, selections, type World } from '../world.ts';
import { isRefusal, messageOf, NameTakenError } from '../writes.ts';
import { certificateOf, certificates, whyNotIssued } from './cert-manager.ts';
import { type Finding, inspect, type Role, roles } from './inspect.ts';
import { issuer } from './issue.ts';
import { secretNames, secretsOf } from './names.ts';
import { proofPolls } from './proofs.ts';
import { type Found, stateOf } from './report.ts';
import type { TlsState } from './state.ts';

export const TLS_CONTROLLER = 'tls';

/** How soon something that is wrong is looked at again, where no watch tells of it. */
const FAULT_MS = 10_000;
/** How often somebody else's Secrets are read while all is well: no watch tells of them. */
const CALM_MS = 3_600_000;
/** So soon at most they are read again because a member refuses what they say. */
const DISTRUST_MS = 5_000;
/** Nodes learn of a changed Secret within this. A member that is started anew for it must not meet the old one. */
const SETTLE_MS = 10_000;

interface Outcome {
  readonly found: Found;
  readonly recheckMs: number;
}

interface Looked {
  readonly uid: string;
  readonly generation: number | undefined;
  /** On the monotonic clock. */
  readonly at: number;
  readonly outcome: Outcome;
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
  /** Others' Secrets cost a request each: they are not read at every look. */
  const looked = new Map<Key, Looked>();
  /** When a change of what is trusted was first seen, on the monotonic clock. */
  const changed = new Map<Key, { readonly trust: string; readonly at: number }>();

  async function reconcile(key: Key, context: ReconcileContext): Promise<ReconcileResult> {
    const cluster = views.clusters.get(key);
    if (!cluster || cluster.metadata.deletionTimestamp !== undefined || cluster.spec.tls.mode === 'Disabled') {
      proofs.forget(key);
      forget(key);
      looked.delete(key);
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
    const { mode } = cluster.spec.tls;
    if (mode === 'Managed') return fromOwnAuthority(cluster, now, signal);
    const known = looked.get(key);
    const { uid, generation } = cluster.metadata;
    const patienceMs = world.certificates.isDistrusted(cluster) ? DISTRUST_MS : (known?.outcome.recheckMs ?? 0);
    const leftMs = (known?.at ?? 0) + patienceMs - clock.monotonic();
    if (known?.uid === uid && known.generation === generation && leftMs > 0)
      return {
        ...(mode === 'Secrets' ? known.outcome : withWhatIsHeld(cluster, known.outcome, now)),
        recheckMs: leftMs,
      };
    const outcome =
      mode === 'Secrets' ? await fromOthers(cluster, now, signal) : await fromCertManager(cluster, now, signal);
    looked.set(key, { uid, generation, at: clock.monotonic(), outcome });
    return outcome;
  }

  /** cert-manager's Secrets bear our labels: the watch tells of them, and its Certificates need not be read for it. */
  function withWhatIsHeld(cluster: Live<RaftCluster>, { found, recheckMs }: Outcome, now: Date): Outcome {
    const held = cachedSecrets(cluster);
    const { fault, ...rest } = { ...found, secrets: findings(cluster, held, now) };
    return { found: roles.every((role) => held[role]) || !fault ? rest : { ...rest, fault }, recheckMs };
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
        found: { names, secrets: seen, expiresAt, ...(waiting ? { aside: `${goesOn}: waits for ${waiting}` } : {}) },
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

  async function fromCertManager(cluster: Live<RaftCluster>, now: Date, signal: AbortSignal): Promise<Outcome> {
    const { namespace = '' } = cluster.metadata;
    const names = secretsOf(cluster);
    const why: string[] = [];
    try {
      for (const role of roles) {
        const there = await client.find(certificates, { namespace, name: names[role] }, { signal });
        if (there && there.metadata.ownerReferences?.[0]?.uid !== cluster.metadata.uid) throw new NameTakenError(there);
        const wanted = certificateOf(role, cluster);
        if (!cluster.spec.paused) await world.applier.apply(certificates, wanted, there);
        why.push(whyNotIssued(there, names[role]));
      }
    } catch (error) {
      const secrets = findings(cluster, cachedSecrets(cluster), now);
      const failed = (reason: string, message: string): Outcome => ({
        found: { names, secrets, fault: { reason, message } },
        recheckMs: FAULT_MS,
      });
      if (error instanceof NameTakenError) return failed('NameTaken', messageOf(error));
      if (isNotFound(error))
        return failed(
          'CertManagerNotFound',
          'spec.tls.mode is CertManager, and Kubernetes knows no Certificate of cert-manager.io/v1: install cert-manager',
        );
      if (isRefusal(error))
        return failed('Refused', `Kubernetes refuses a Certificate, and is asked again: ${messageOf(error)}`);
      throw error;
    }
    const held = cachedSecrets(cluster);
    const missing = roles.findIndex((role) => held[role] === undefined);
    const secrets = findings(cluster, held, now);
    if (missing >= 0)
      return {
        found: { names, secrets, fault: { reason: 'CertificatePending', message: why[missing]! } },
        recheckMs: FAULT_MS,
      };
    return { found: { names, secrets }, recheckMs: calmOrFault(secrets) };
  }

  async function fromOthers(cluster: Live<RaftCluster>, now: Date, signal: AbortSignal): Promise<Outcome> {
    const { namespace = '' } = cluster.metadata;
    const names = secretsOf(cluster);
    const read = await Promise.all(
      roles.map(
        async (role) => [role, await client.find(secrets, { namespace, name: names[role] }, { signal })] as const,
      ),
    );
    const found = findings(cluster, Object.fromEntries(read), now);
    return { found: { names, secrets: found }, recheckMs: calmOrFault(found) };
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
      keys: (pod) => (pod.metadata.labels?.[COMPONENT] === 'member' ? byLabel(CLUSTER)(pod).filter(changesCa) : []),
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
      workers: world.workers,
      reconcile,
    },
    close: () => proofs.close(),
  };
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

function calmOrFault(found: Readonly<Record<Role, Finding>>): number {
  return roles.every((role) => found[role].kind === 'sound') ? CALM_MS : FAULT_MS;
}
