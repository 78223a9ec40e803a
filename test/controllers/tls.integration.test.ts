/** Certificates of RaftClusters against a real API server, with real members that speak TLS. */
import type { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { findCondition } from '../../src/api/conditions.ts';
import { certificates } from '../../src/controllers/tls/cert-manager.ts';
import { certificatesOf, type Role, textAt } from '../../src/controllers/tls/inspect.ts';
import { leafOf } from '../../src/controllers/tls/names.ts';
import { issueLeaf, newAuthority, type Pair } from '../../src/controllers/tls/x509.ts';
import { EtcdClient } from '../../src/etcd/client.ts';
import { EtcdError } from '../../src/etcd/errors.ts';
import { pods, type Secret, secrets, statefulSets } from '../../src/kube/kinds.ts';
import type { Live, Manifest, ResourceType } from '../../src/kube/objects.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { put } from './data.ts';
import { type Ground, kinds, type Plane, plane, small, volumeStore, waitFor } from './plane.ts';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
/** Of writes, while certificates change: each takes a handshake, and the machine may be busy. */
const LONGEST_PAUSE_MS = 10_000;

let server: Plane;
beforeAll(async () => {
  server = await plane('controllers-tls');
}, 600_000);
afterAll(async () => {
  await server?.stop();
}, 60_000);

/** Whose time goes as it is told to: behind the members' own, so that what it issues is valid for them already. */
function shiftedClock(offset: number) {
  const clock = { ...systemClock, now: () => systemClock.now() + clock.offset, offset };
  return clock;
}

const secretOf = ({ client, namespace }: Ground, name: string): Promise<Live<Secret>> =>
  client.get(secrets, { namespace, name });

/** As a program does that mounts the Secret and reads it again for each connection. */
async function freshClient(
  ground: Ground,
  { replicas = 3, secret = 'c-client-tls', deadlineMs = 30_000 } = {},
): Promise<EtcdClient> {
  const given = await secretOf(ground, secret);
  const bytes = (key: string) => Buffer.from(textAt(given, key)!);
  return new EtcdClient({
    endpoints: Array.from({ length: replicas }, (_, ordinal) => ground.node.endpoint(`c-${ordinal}`, 'https')),
    tls: { ca: bytes('ca.crt'), cert: bytes('tls.crt'), key: bytes('tls.key'), serverName: 'c-client' },
    // Handshakes take their time on a busy machine.
    deadlineMs,
  });
}

/** Writes all the time, each key once and over a connection of its own, as long as nobody refuses it. */
class FreshWriter {
  readonly #ground: Ground;
  readonly #acknowledged = new Map<string, string>();
  readonly #times = [performance.now()];
  readonly #running: Promise<void>;
  #stopped = false;

  constructor(ground: Ground) {
    this.#ground = ground;
    this.#running = this.#write();
    // Told by `more` and `stop`: until then nobody may be waiting.
    this.#running.catch(() => {});
  }

  /** Between two acknowledged writes, the time before the first and after the last included. */
  get longestPauseMs(): number {
    return this.#times.slice(1).reduce((longest, at, n) => Math.max(longest, at - this.#times[n]!), 0);
  }

  async more(count: number): Promise<void> {
    const wanted = this.#acknowledged.size + count;
    const enough = waitFor(async () => this.#acknowledged.size >= wanted);
    // A write that is refused says so at once, and not when nobody waits any more.
    await Promise.race([enough, this.#running]);
    await enough;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
    this.#times.push(performance.now());
  }

  /** Acknowledged writes that are not there, or are not what was written. */
  async missing(): Promise<string[]> {
    const reader = await freshClient(this.#ground);
    try {
      const { kvs } = await reader.range({ key: Buffer.from('fresh/'), rangeEnd: Buffer.from('fresh0') });
      const found = new Map(kvs.map(({ key, value }) => [Buffer.from(key).toString(), Buffer.from(value).toString()]));
      return [...this.#acknowledged].filter(([key, value]) => found.get(key) !== value).map(([key]) => key);
    } finally {
      reader.close();
    }
  }

  async #write(): Promise<void> {
    for (let n = 0; !this.#stopped; n++) {
      const [key, value] = [`fresh/${n}`, `value ${n}`];
      // Whoever is late is given up soon: what counts is how long nobody answers.
      const etcd = await freshClient(this.#ground, { deadlineMs: LONGEST_PAUSE_MS / 4 });
      try {
        await put(etcd, key, value);
        this.#acknowledged.set(key, value);
        this.#times.push(performance.now());
      } catch (error) {
        // A machine that is busy may be late. A handshake that is refused is an outage.
        if (!(error instanceof EtcdError) || error.code !== 'ETCD_DEADLINE_EXCEEDED') throw error;
      } finally {
        etcd.close();
      }
    }
  }
}

/** What a member shows whoever connects. */
function shown(ground: Ground, member: string): Promise<X509Certificate> {
  const { hostname: host, port } = new URL(ground.node.endpoint(member, 'https'));
  return new Promise((done, fail) => {
    const socket = connect({ host, port: Number(port), servername: 'c-client', rejectUnauthorized: false }, () => {
      done(socket.getPeerX509Certificate()!);
      socket.destroy();
    });
    socket.once('error', fail);
  });
}

/** The operator looks at nothing but changes: one without a meaning makes it see what time it is. */
async function touch({ client, namespace }: Ground): Promise<void> {
  const annotations = { 'example.org/touched': String(performance.now()) };
  await client.patch(kinds.cluster, { namespace, name: 'c' }, { metadata: { annotations } });
}

const certificatesReady = (ground: Ground, wanted: { status?: string; reason?: string }) =>
  ground.condition(kinds.cluster, 'c', 'CertificatesReady', wanted);

const saidOf = (cluster: { status?: { conditions?: [] } } | undefined) =>
  findCondition(cluster?.status?.conditions, 'CertificatesReady')?.message;

async function on(name: string, work: (ground: Ground) => Promise<void>, options = {}): Promise<void> {
  const ground = await server.ground(name, options);
  try {
    await work(ground);
  } finally {
    await ground.stop();
  }
}

describe('a cluster with certificates of its own', () => {
  test('serves none but who has one; certificates and CA are replaced while no write is refused; a snapshot is taken', async () => {
    const clock = shiftedClock(-70 * DAY);
    await on(
      'own',
      async (ground) => {
        const { client, namespace } = ground;
        await ground.create(kinds.cluster, 'c', {
          ...small,
          tls: { mode: 'Managed', managed: { caOverlapDays: 0 } },
        });
        await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' }, 90_000);
        const told = await certificatesReady(ground, { status: 'True', reason: 'Valid' });
        expect(Date.parse(told.status!.certificatesExpire!)).toBeCloseTo(clock.now() + 90 * DAY, -6);
        const stranger = new EtcdClient({ endpoints: [ground.node.endpoint('c-0')] });
        await expect(put(stranger, 'a', '1')).rejects.toThrow();
        stranger.close();

        const before = (await client.listAll(pods, { namespace })).items.map(({ metadata }) => metadata.uid);
        const writer = new FreshWriter(ground);
        /** New connections, made with what the Secret holds at this stage, have written. */
        const writesGoOn = () => writer.more(2);

        await writesGoOn();
        const first = await shown(ground, 'c-0');
        // A third of their life is left: they are renewed.
        clock.offset = -5 * DAY;
        await touch(ground);
        await waitFor(async () => {
          const now = await Promise.all([0, 1, 2].map((ordinal) => shown(ground, `c-${ordinal}`)));
          return now.every(({ serialNumber }) => serialNumber !== first.serialNumber);
        });
        await writesGoOn();

        const trusted = async () => certificatesOf(textAt(await secretOf(ground, 'c-server-tls'), 'ca.crt')!);
        const old = (await trusted())[0]!;
        const ref = { namespace, name: 'c' };
        await client.patch(kinds.cluster, ref, { spec: { tls: { managed: { caGeneration: 2 } } } });
        await waitFor(async () => (await trusted()).length === 2);
        expect((await shown(ground, 'c-0')).checkIssued(old)).toBe(true);
        const fresh = (await trusted()).find(({ fingerprint256 }) => fingerprint256 !== old.fingerprint256)!;
        await writesGoOn();
        clock.offset += 3 * MINUTE;
        await touch(ground);
        // Every member shows first that it trusts the new one.
        await waitFor(async () => {
          const now = await Promise.all([0, 1, 2].map((ordinal) => shown(ground, `c-${ordinal}`)));
          return now.every((certificate) => certificate.checkIssued(fresh));
        });
        await writesGoOn();
        clock.offset += 3 * MINUTE;
        await touch(ground);
        await waitFor(async () => (await trusted()).map((one) => one.fingerprint256).join() === fresh.fingerprint256);
        await certificatesReady(ground, { status: 'True', reason: 'Valid' });
        await writesGoOn();
        await writer.stop();
        expect(await writer.missing()).toEqual([]);
        expect(writer.longestPauseMs).toBeLessThan(LONGEST_PAUSE_MS);
        // They read their files again: nobody was restarted.
        const after = (await client.listAll(pods, { namespace })).items.map(({ metadata }) => metadata.uid);
        expect(after.toSorted()).toEqual(before.toSorted());

        await client.delete(secrets, { namespace, name: 'c-client-tls' });
        await waitFor(async () => (await client.find(secrets, { namespace, name: 'c-client-tls' })) !== undefined);
        await volumeStore(ground);
        await ground.create(kinds.snapshot, 's', { clusterName: 'c', storeName: 'archives' });
        await ground.condition(kinds.snapshot, 's', 'Complete', { status: 'True' });
        await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' });
      },
      { clock },
    );
  }, 300_000);

  test('what is in the way of a Secret is not touched, and the cluster starts when it is gone', () =>
    on('taken', async (ground) => {
      const { client, namespace } = ground;
      const ref = { namespace, name: 'c-server-tls' };
      await client.create(secrets, { apiVersion: 'v1', kind: 'Secret', metadata: ref, data: { mine: 'AA==' } });
      await ground.create(kinds.cluster, 'c', { ...small, replicas: 1, tls: { mode: 'Managed' } });
      const cluster = await certificatesReady(ground, { status: 'False', reason: 'NameTaken' });
      expect(saidOf(cluster as never)).toContain('Secret c-server-tls is in the way');
      expect((await secretOf(ground, 'c-server-tls')).data).toEqual({ mine: 'AA==' });
      expect(await client.find(statefulSets, { namespace, name: 'c' })).toBeUndefined();
      await client.delete(secrets, ref);
      await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' });
    }));
});

const lifetime = () => ({ notBefore: Date.now() - MINUTE, notAfter: Date.now() + 90 * DAY });

function contents(role: Role, ca: Pair, namespace: string, more: Record<string, string | undefined> = {}) {
  const { certificate, key } = issueLeaf(ca, leafOf(role, 'c', namespace), lifetime());
  const stringData = { 'tls.crt': certificate, 'tls.key': key, 'ca.crt': ca.certificate, ...more };
  return Object.fromEntries(
    Object.entries(stringData).flatMap(([name, text]) =>
      text === undefined ? [] : [[name, Buffer.from(text).toString('base64')]],
    ),
  );
}

async function give({ client, namespace }: Ground, name: string, data: Record<string, string>, labels = {}) {
  const there = await client.find(secrets, { namespace, name });
  if (there) await client.replace(secrets, { ...there, data });
  else await client.create(secrets, { apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace, labels }, data });
}

describe('a cluster with given Secrets', () => {
  test('says what is wrong with which, makes nothing of it, and starts when all are right; later faults change nothing', () =>
    on('given', async (ground) => {
      const { client, namespace } = ground;
      const ca = newAuthority('theirs', lifetime());
      const other = newAuthority('foreign', lifetime());
      const tls = { mode: 'Secrets', secrets: { server: 'srv', peer: 'pr', client: 'cl' } };
      await ground.create(kinds.cluster, 'c', { ...small, replicas: 1, tls });
      const says = async (reason: string, what: RegExp) => {
        await ground.until(kinds.cluster, 'c', (one) => {
          const found = findCondition(one?.status?.conditions, 'CertificatesReady');
          return found?.status === 'False' && found.reason === reason && what.test(found.message);
        });
      };
      await says('SecretNotFound', /Secret srv does not exist.*Secret pr does not exist.*Secret cl does not exist/);
      await give(ground, 'pr', contents('peer', ca, namespace));
      await give(ground, 'cl', contents('client', ca, namespace));
      await give(ground, 'srv', contents('server', ca, namespace, { 'tls.key': undefined }));
      await says('SecretKeyMissing', /^Secret srv has no key tls\.key/);
      await give(ground, 'srv', contents('server', other, namespace));
      await says('CertificateUntrusted', /Secret srv.*Secret cl|Secret cl.*Secret srv/);
      expect(await client.find(statefulSets, { namespace, name: 'c' })).toBeUndefined();
      await give(ground, 'srv', contents('server', ca, namespace));
      await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' });
      await waitFor(async () => (await ground.events('c')).includes('SecretNotFound'));

      const [pod] = (await client.listAll(pods, { namespace })).items;
      const wrong = contents('server', ca, namespace, {
        'tls.key': issueLeaf(ca, leafOf('server', 'c', 'x'), lifetime()).key,
      });
      await give(ground, 'srv', wrong);
      await says('KeyMismatch', /^Secret srv: tls\.key does not belong/);
      await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' });
      const etcd = await freshClient(ground, { replicas: 1, secret: 'cl' });
      await put(etcd, 'a', '1');
      etcd.close();
      await give(ground, 'srv', contents('server', ca, namespace));
      await certificatesReady(ground, { status: 'True' });
      expect((await client.listAll(pods, { namespace })).items.map(({ metadata }) => metadata.uid)).toEqual([
        pod!.metadata.uid,
      ]);
      // They are somebody else's: not a label has been changed.
      expect((await secretOf(ground, 'srv')).metadata.labels ?? {}).toEqual({});
    }));
});

const crdType: ResourceType<Manifest> = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  kind: 'CustomResourceDefinition',
  plural: 'customresourcedefinitions',
  namespaced: false,
};

/** Of cert-manager's own what the API server needs to serve it. */
const certificateCrd = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'certificates.cert-manager.io' },
  spec: {
    group: 'cert-manager.io',
    scope: 'Namespaced',
    names: { kind: 'Certificate', listKind: 'CertificateList', plural: 'certificates', singular: 'certificate' },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
} as Manifest;

describe('a cluster with certificates of cert-manager', () => {
  test('waits for it, asks for what it needs, and starts from the Secrets that it fills', () =>
    on('cert-manager', async (ground) => {
      const { client, namespace } = ground;
      const tls = { mode: 'CertManager', certManager: { issuerRef: { name: 'ours' } } };
      await ground.create(kinds.cluster, 'c', { ...small, replicas: 1, tls });
      const without = await certificatesReady(ground, { status: 'False', reason: 'CertManagerNotFound' });
      expect(saidOf(without as never)).toContain('install cert-manager');
      await client.apply(crdType, certificateCrd);
      const waits = await certificatesReady(ground, { status: 'False', reason: 'CertificatePending' });
      expect(saidOf(waits as never)).toContain('cert-manager has not issued Certificate c-server-tls yet');

      const ca = newAuthority('of the issuer', lifetime());
      for (const role of ['server', 'peer', 'client'] as const) {
        const certificate = await client.get(certificates, { namespace, name: `c-${role}-tls` });
        const { spec } = certificate as unknown as {
          spec: Record<string, unknown> & { secretTemplate: { labels: object } };
        };
        expect(spec).toMatchObject({ secretName: `c-${role}-tls`, issuerRef: { name: 'ours', kind: 'Issuer' } });
        // In cert-manager's place.
        await give(ground, `c-${role}-tls`, contents(role, ca, namespace), spec.secretTemplate.labels);
      }
      await ground.condition(kinds.cluster, 'c', 'Ready', { status: 'True' });
      const first = await shown(ground, 'c-0');
      await give(ground, 'c-server-tls', contents('server', ca, namespace));
      await waitFor(async () => (await shown(ground, 'c-0')).serialNumber !== first.serialNumber);
      await certificatesReady(ground, { status: 'True', reason: 'Valid' });
    }));
});
