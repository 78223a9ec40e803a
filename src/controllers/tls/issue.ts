/** Brings the Secrets of mode Managed to what the plan says. */
import type { RaftCluster } from '../../api/cluster.ts';
import { isAlreadyExists } from '../../kube/errors.ts';
import { type Secret, secrets } from '../../kube/kinds.ts';
import { controllerOf, type Key, keyOf, type Live, refOf } from '../../kube/objects.ts';
import { note } from '../events.ts';
import type { World } from '../world.ts';
import { NameTakenError } from '../writes.ts';
import { type AuthorityState, type AuthorityStep, after, endOf, lifetimeOf, readAuthority } from './authority.ts';
import { type Role, roles, stamp, textAt } from './inspect.ts';
import { type LeafWrite, type ManagedPlan, planManaged } from './managed.ts';
import { leafOf, secretNames } from './names.ts';
import type { ProofPolls } from './proofs.ts';
import { authoritySecret, leafSecret } from './resources.ts';
import type { Credentials } from './state.ts';
import { issueLeaf, newAuthority, type Pair } from './x509.ts';

export type OwnSecrets = { readonly [S in Role | 'authority']?: Live<Secret> };

/** A CA, then what follows from it, then the look that nothing is left: more rounds mean that somebody undoes it. */
const MOST_ROUNDS = 6;

export interface Issuer {
  /** Acts until nothing is left to do now, and returns the plan that says so. Does nothing to a paused cluster. */
  issue(cluster: Live<RaftCluster>, now: Date, signal: AbortSignal): Promise<ManagedPlan>;
  ownSecrets(cluster: Live<RaftCluster>): OwnSecrets;
  forget(key: Key): void;
}

export function issuer(world: World, proofs: ProofPolls): Issuer {
  const { client, views } = world;
  /** Certificates that only prove something, and are never stored, with the CA that issued them. */
  const probes = new Map<Key, { readonly ca: string; readonly pair: Pair }>();

  function ownSecrets(cluster: Live<RaftCluster>): OwnSecrets {
    const { name, namespace = '' } = cluster.metadata;
    const found = (['authority', ...roles] as const).map((what) => {
      const secret = views.secrets.get(keyOf({ namespace, name: secretNames[what](name) }));
      if (secret && controllerOf(secret)?.uid !== cluster.metadata.uid) throw new NameTakenError(secret);
      return [what, secret] as const;
    });
    return Object.fromEntries(found.filter(([, secret]) => secret !== undefined)) as OwnSecrets;
  }

  async function issue(cluster: Live<RaftCluster>, now: Date, signal: AbortSignal): Promise<ManagedPlan> {
    const { name, namespace = 'default' } = cluster.metadata;
    for (let round = 0; ; round++) {
      const own = ownSecrets(cluster);
      const plan = planManaged({
        cluster: { name, namespace },
        spec: cluster.spec.tls.managed,
        secrets: own,
        unproven: proofs.unproven(keyOf(cluster), cluster, toProve(cluster, own, now)),
        now,
      });
      const done = plan.kind === 'fault' || (plan.kind === 'leaves' && plan.writes.length === 0);
      if (done || cluster.spec.paused || round === MOST_ROUNDS) return plan;
      if (plan.kind === 'authority') await takeStep(cluster, plan.state, plan.step, own.authority, now);
      else await writeLeaves(cluster, plan.writes, own, signal);
    }
  }

  /** By which members show that they have what the last step gave them; undefined while nothing is to be shown. */
  function toProve(cluster: Live<RaftCluster>, own: OwnSecrets, now: Date): Credentials | undefined {
    const state = own.authority && readable(own.authority);
    if (!state) return undefined;
    const { current, next, previous } = state;
    if (previous) {
      const [cert, key] = ['tls.crt', 'tls.key'].map((item) => own.client && textAt(own.client, item));
      return cert && key ? { ca: current.client.certificate, cert, key } : undefined;
    }
    if (!next) return undefined;
    const { certificate, key } = probeOf(cluster, next.client, now);
    return { ca: `${current.client.certificate}${next.client.certificate}`, cert: certificate, key };
  }

  function probeOf(cluster: Live<RaftCluster>, authority: Pair, now: Date): Pair {
    const { name, namespace = 'default' } = cluster.metadata;
    const known = probes.get(keyOf(cluster));
    if (known?.ca === authority.certificate) return known.pair;
    const lifetime = lifetimeOf(cluster.spec.tls.managed.caDays, now.getTime());
    const pair = issueLeaf(authority, leafOf('client', name, namespace), lifetime);
    probes.set(keyOf(cluster), { ca: authority.certificate, pair });
    return pair;
  }

  async function takeStep(
    cluster: Live<RaftCluster>,
    state: AuthorityState | undefined,
    step: AuthorityStep,
    there: Live<Secret> | undefined,
    now: Date,
  ): Promise<void> {
    const { name } = cluster.metadata;
    const lifetime = lifetimeOf(cluster.spec.tls.managed.caDays, now.getTime());
    const made = {
      client: newAuthority(`raftsman ${name}`, lifetime),
      peer: newAuthority(`raftsman ${name} peers`, lifetime),
    };
    await write(cluster, authoritySecret(cluster, after(state, step, made, now.getTime())), there);
    const text = {
      create: `a CA for this cluster is made${step.kind === 'create' && step.orphans ? ' beside the one whose key is lost' : ''}`,
      introduce: 'a new CA is made and trusted beside the old one',
      activate: 'the new CA issues certificates from now on',
      retire: 'the old CA is no longer trusted',
    }[step.kind];
    const until = state && step.kind === 'introduce' ? `, which ends at ${stamp(new Date(endOf(state.current)))}` : '';
    world.events.record(cluster, note('CertificateAuthority', 'RotateCA', text + until));
  }

  async function writeLeaves(
    cluster: Live<RaftCluster>,
    writes: readonly LeafWrite[],
    own: OwnSecrets,
    signal: AbortSignal,
  ): Promise<void> {
    const secretOf = ({ role, bundle, issue }: LeafWrite): Secret => {
      const live = own[role];
      const pair = issue
        ? issueLeaf(issue.authority, issue.leaf, issue.lifetime)
        : { certificate: textAt(live!, 'tls.crt')!, key: textAt(live!, 'tls.key')! };
      return leafSecret(cluster, role, pair, bundle);
    };
    // A cluster that is being made waits for them: all at once. Later in the plan's order, one after the other.
    if (writes.every(({ role }) => own[role] === undefined))
      await Promise.all(writes.map((each) => write(cluster, secretOf(each), undefined)));
    else for (const each of writes) await write(cluster, secretOf(each), own[each.role]);
    signal.throwIfAborted();
    const renewed = writes.filter(({ role, issue }) => issue && own[role] !== undefined);
    if (renewed.length > 0) {
      const names = renewed.map(({ role }) => secretNames[role](cluster.metadata.name)).join(', ');
      world.events.record(cluster, note('CertificatesRenewed', 'RenewCertificates', `new certificates in ${names}`));
    }
  }

  /** Refused by the server (409) where somebody wrote meanwhile: two operators never mix their CAs and certificates. */
  async function write(cluster: Live<RaftCluster>, wanted: Secret, there: Live<Secret> | undefined): Promise<void> {
    if (there) {
      const { annotations, labels, ...rest } = there.metadata;
      const metadata = {
        ...rest,
        annotations: { ...annotations, ...wanted.metadata.annotations },
        labels: { ...labels, ...wanted.metadata.labels },
      };
      views.secrets.wrote(await client.replace<Secret>(secrets, { ...there, ...wanted, metadata }));
      return;
    }
    try {
      views.secrets.wrote(await client.create<Secret>(secrets, wanted));
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      const found = await client.find<Secret>(secrets, refOf(keyOf(wanted)));
      // Gone between the two: the next round makes it.
      if (!found) return;
      if (controllerOf(found)?.uid !== cluster.metadata.uid) throw new NameTakenError(found);
      // Another operator's, or one that lost its label: what it holds counts, and the next round looks at it.
      const { labels } = wanted.metadata;
      views.secrets.wrote(await client.patch<Secret>(secrets, refOf(keyOf(found)), { metadata: { labels } }));
    }
  }

  return { issue, ownSecrets, forget: (key) => void probes.delete(key) };
}

function readable(secret: Secret): AuthorityState | undefined {
  try {
    return readAuthority(secret);
  } catch {
    // The plan says what is wrong with it.
    return undefined;
  }
}
