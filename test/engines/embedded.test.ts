import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { verifyArchive } from '../../src/archive/verify.ts';
import { EmbeddedEngine } from '../../src/engines/embedded/embedded.ts';
import { openEngine, parseEndpoints } from '../../src/engines/open.ts';
import { snapshotArchive } from '../../src/engines/snapshot-archive.ts';
import { EtcdClient } from '../../src/etcd/client.ts';
import { version } from '../../src/version.ts';
import { collect, verdict } from '../archive/samples.ts';
import { type Single, startSingle } from '../etcd/single.ts';

let member: Single;
let client: EtcdClient;
const engine = new EmbeddedEngine();
const bytes = (text: string): Uint8Array => Buffer.from(text);

beforeAll(async () => {
  member = await startSingle();
  client = new EtcdClient({ endpoints: [member.url] });
  for (let at = 0; at < 20; at++) await client.put({ key: bytes(`key-${at}`), value: bytes(`value ${at}`.repeat(at)) });
  await client.deleteRange({ key: bytes('key-3') });
});
afterAll(async () => {
  engine.close();
  client.close();
  await member.close();
});

/** A port on which nobody listens. */
async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('the embedded engine', () => {
  test('status is what the member says of itself, its ids in hexadecimal', async () => {
    const status = await engine.status({ url: member.url });
    expect(status).toMatchObject({
      memberId: '8e9e05c52164694d',
      clusterId: 'cdf818194e3a8c32',
      revision: 22,
      isLearner: false,
    });
    expect(status.appliedIndex).toBeGreaterThan(0);
    expect(status.version).toMatch(/^\d+\.\d+\.\d+/);
    const members = await engine.members([{ url: member.url }]);
    expect(members.map(({ id }) => id)).toEqual(['8e9e05c52164694d']);
  });

  test('a fingerprint is of the present revision, or of an older one, and changes with the data', async () => {
    const now = await engine.fingerprint({ url: member.url });
    expect(now).toMatchObject({ revision: 22, keys: 19 });
    expect(now.hash).toMatch(/^[0-9a-f]{8}$/);
    expect(await engine.fingerprint({ url: member.url }, 22)).toEqual(now);
    const older = await engine.fingerprint({ url: member.url }, 21);
    expect(older).toMatchObject({ revision: 21, keys: 20 });
    expect(older.hash).not.toBe(now.hash);
  });

  test('a revision that is not there yet is refused by name', async () => {
    expect(await verdict(engine.fingerprint({ url: member.url }, 10_000))).toBe('ENGINE_REVISION_UNAVAILABLE');
  });

  test('a snapshot has its facts, its size and its bytes, from the first endpoint that answers', async () => {
    const dead = { url: `http://127.0.0.1:${await closedPort()}` };
    const snapshot = await engine.openSnapshot([dead, { url: member.url }]);
    expect(snapshot.endpoint).toEqual({ url: member.url });
    expect(snapshot.facts).toMatchObject({ revision: 22, clusterId: 'cdf818194e3a8c32' });
    expect((await collect(snapshot.chunks)).length).toBe(snapshot.sizeBytes);
    expect(snapshot.sizeBytes % 512).toBe(32);
    snapshot.close();
  });

  test('an archive is the snapshot with its fingerprint', async () => {
    const now = new Date('2026-05-06T07:08:09.123Z');
    const archive = await snapshotArchive(engine, [{ url: member.url }], { cluster: 'demo', now });
    const state: Uint8Array[] = [];
    const { meta } = await verifyArchive(archive.chunks, {
      onState: (chunk) => void state.push(Uint8Array.from(chunk)),
    });
    archive.close();
    const fingerprint = await engine.fingerprint({ url: member.url }, 22);
    expect(meta.raftsman).toEqual({
      engine: 'Embedded',
      engineVersion: version,
      clusterId: 'cdf818194e3a8c32',
      cluster: 'demo',
      ...fingerprint,
      createdAt: '2026-05-06T07:08:09.123Z',
    });
    expect(meta.id).toBe(`${meta.term}-${meta.index}-${now.getTime()}`);
    expect(Buffer.concat(state).length).toBe(meta.size);
    expect(archive.summary().meta.size).toBe(meta.size);
  });

  test('an abort ends the snapshot', async () => {
    const abort = new AbortController();
    const snapshot = await engine.openSnapshot([{ url: member.url }], { signal: abort.signal });
    abort.abort();
    expect(await verdict(collect(snapshot.chunks))).not.toBe('good');
  });

  test('nobody there, no endpoint, no such engine', async () => {
    const url = `http://127.0.0.1:${await closedPort()}`;
    expect(await verdict(engine.status({ url }, { timeoutMs: 500 }))).toBe('ENGINE_UNAVAILABLE');
    expect(await verdict(engine.openSnapshot([{ url }]))).toBe('ENGINE_UNAVAILABLE');
    expect(await verdict(engine.status({ url: 'nonsense' }))).toBe('ENGINE_ENDPOINT_INVALID');
    expect(() => openEngine('Etcetera')).toThrow('unknown engine "Etcetera": use Embedded, Etcd');
  });

  test('endpoints as etcdctl takes them', () => {
    expect(parseEndpoints('http://a:1, b:2')).toEqual([{ url: 'http://a:1' }, { url: 'http://b:2' }]);
    for (const wrong of ['', ',', 'ftp://a', 'http://']) {
      expect(() => parseEndpoints(wrong)).toThrow('is not an endpoint');
    }
  });
});
