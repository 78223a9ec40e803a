import { createHash } from 'node:crypto';
import { ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { S3Store } from '../../src/stores/s3.ts';
import type { S3Spec } from '../../src/stores/store.ts';
import { collect, sampleState, stream, verdict } from '../archive/samples.ts';
import { freePort } from '../ports.ts';
import { type CuttingProxy, startCuttingProxy } from './cutting-proxy.ts';
import { type S3Server, startS3 } from './versitygw.ts';

const mebibyte = 1024 * 1024;
let server: S3Server;
let proxy: CuttingProxy;
const opened: S3Store[] = [];

beforeAll(async () => {
  server = await startS3();
  proxy = await startCuttingProxy(server.port);
}, 600_000);
afterEach(() => {
  proxy.heal();
  for (const store of opened.splice(0)) store.close();
});
afterAll(async () => {
  await proxy?.close();
  await server?.close();
});

function open(change: Partial<S3Spec> = {}, credentials = server.credentials): S3Store {
  const spec = {
    bucket: server.bucket,
    endpoint: server.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    ...change,
  };
  const store = new S3Store(spec, credentials);
  opened.push(store);
  return store;
}

async function keys(store: S3Store, prefix = ''): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of store.list(prefix)) found.push(key);
  return found;
}

async function unfinishedUploads(): Promise<number> {
  const client = new S3Client({
    endpoint: server.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: server.credentials,
  });
  try {
    return (await client.send(new ListMultipartUploadsCommand({ Bucket: server.bucket }))).Uploads?.length ?? 0;
  } finally {
    client.destroy();
  }
}

describe('an S3 store', () => {
  test('gives back what was put in one request, whole and in ranges', async () => {
    const store = open({ prefix: 'backups/prod' });
    const bytes = sampleState(300_000);
    const put = await store.put('ns/small.tar.gz', stream(bytes));
    expect(put).toMatchObject({
      key: 'ns/small.tar.gz',
      sizeBytes: 300_000,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    });
    const { sizeBytes, chunks } = await store.get('ns/small.tar.gz');
    expect(sizeBytes).toBe(300_000);
    expect((await collect(chunks)).equals(bytes)).toBe(true);
    for (const range of [{ start: 10 }, { start: 5, end: 5 }, { start: 1000, end: 99_999 }]) {
      const part = await store.get('ns/small.tar.gz', { range });
      const expected = bytes.subarray(range.start, (range.end ?? bytes.length) + 1);
      expect(part.sizeBytes).toBe(expected.length);
      expect((await collect(part.chunks)).equals(expected)).toBe(true);
    }
    expect(await store.head('ns/small.tar.gz')).toMatchObject({ sizeBytes: 300_000, etag: put.etag });
    expect(await keys(open())).toContain('backups/prod/ns/small.tar.gz');
    await store.delete('ns/small.tar.gz');
    await store.delete('ns/small.tar.gz');
    expect(await store.head('ns/small.tar.gz')).toBeUndefined();
  });

  test('gives back what was put in several parts, its length unknown beforehand', async () => {
    const store = open();
    const bytes = sampleState(20 * mebibyte + 12_345);
    const put = await store.put('large', stream(bytes));
    expect(put.sizeBytes).toBe(bytes.length);
    expect(put.etag).toMatch(/-3"?$/);
    const back = createHash('sha256');
    for await (const chunk of (await store.get('large')).chunks) back.update(chunk);
    expect(back.digest('hex')).toBe(put.sha256);
    expect(await unfinishedUploads()).toBe(0);
    await store.delete('large');
  });

  test('an empty object is an object', async () => {
    const store = open();
    await store.put('empty', stream(new Uint8Array(0)));
    expect(await store.head('empty')).toMatchObject({ sizeBytes: 0 });
    expect((await collect((await store.get('empty')).chunks)).length).toBe(0);
    await store.delete('empty');
  });

  test('lists its own keys by any prefix, over several pages', async () => {
    const store = open({ prefix: 'listed' });
    const names = Array.from({ length: 1005 }, (_, at) => `k/${String(at).padStart(4, '0')}`);
    for (let at = 0; at < names.length; at += 50) {
      await Promise.all(names.slice(at, at + 50).map((name) => store.put(name, stream(Buffer.from('x')))));
    }
    expect(await keys(store)).toEqual(names);
    expect(await keys(store, 'k/000')).toEqual(names.slice(0, 10));
    expect(await keys(store, 'none')).toEqual([]);
    expect(await keys(open({ prefix: 'list' }))).toEqual([]);
  });

  test('a source that fails midway leaves nothing, no unfinished upload either, and what was there stays', async () => {
    const store = open();
    await store.put('k', stream(Buffer.from('old')));
    async function* failing() {
      yield* stream(sampleState(18 * mebibyte));
      throw new Error('the member went away');
    }
    await expect(store.put('k', failing())).rejects.toThrow('the member went away');
    await expect(store.put('new', failing())).rejects.toThrow('the member went away');
    expect(await store.head('new')).toBeUndefined();
    expect((await collect((await store.get('k')).chunks)).toString()).toBe('old');
    expect(await unfinishedUploads()).toBe(0);
    await store.delete('k');
  });

  test('an abort midway leaves nothing', async () => {
    const store = open();
    const abort = new AbortController();
    async function* slow() {
      yield* stream(sampleState(18 * mebibyte));
      abort.abort(new Error('enough'));
      yield* stream(sampleState(mebibyte));
    }
    expect(await verdict(store.put('k', slow(), { signal: abort.signal }))).toBe('STORE_ABORTED');
    expect(await store.head('k')).toBeUndefined();
    expect(await unfinishedUploads()).toBe(0);
    const gone = AbortSignal.abort(new Error('already'));
    expect(await verdict(store.get('k', { signal: gone }))).toBe('STORE_ABORTED');
  });

  test('a connection that is cut midway leaves nothing under the key, at any place', async () => {
    const direct = open();
    for (const [at, megabytes] of [1, 9, 20].entries()) {
      const store = open({ endpoint: proxy.endpoint });
      proxy.heal();
      await store.check();
      proxy.cutAfter(megabytes * mebibyte);
      const key = `cut-${at}`;
      expect([at, await verdict(store.put(key, stream(sampleState(24 * mebibyte))))]).toEqual([
        at,
        'STORE_UNREACHABLE',
      ]);
      proxy.heal();
      expect(await direct.head(key)).toBeUndefined();
      // The same store serves again once the network does.
      await store.put(key, stream(Buffer.from('whole')));
      expect((await collect((await direct.get(key)).chunks)).toString()).toBe('whole');
      await direct.delete(key);
    }
    expect(proxy.cuts).toBeGreaterThan(2);
  });

  test('a download that is cut midway fails, and is not taken for a short object', async () => {
    const direct = open();
    await direct.put('k', stream(sampleState(6 * mebibyte)));
    const store = open({ endpoint: proxy.endpoint });
    proxy.cutAfter(2 * mebibyte);
    const reading = store.get('k').then(({ chunks }) => collect(chunks));
    await expect(reading).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    await direct.delete('k');
  });

  test('what is not there: head knows nothing, get says so', async () => {
    const store = open();
    expect(await store.head('nothing')).toBeUndefined();
    await expect(store.get('nothing')).rejects.toMatchObject({
      code: 'STORE_KEY_MISSING',
      message: expect.stringContaining('there is no such object'),
    });
    expect(await verdict(store.put('../x', stream(Buffer.from('x'))))).toBe('STORE_KEY_INVALID');
  });

  test('a missing bucket is called so by every call, with what to do', async () => {
    const store = open({ bucket: 'no-such-bucket' });
    await expect(store.check()).rejects.toMatchObject({
      code: 'STORE_BUCKET_MISSING',
      message: expect.stringContaining(`create the bucket "no-such-bucket" at ${server.endpoint}`),
    });
    expect(await verdict(store.put('k', stream(Buffer.from('x'))))).toBe('STORE_BUCKET_MISSING');
    expect(await verdict(store.get('k'))).toBe('STORE_BUCKET_MISSING');
    expect(await verdict(store.head('k'))).toBe('STORE_BUCKET_MISSING');
    expect(await verdict(keys(store))).toBe('STORE_BUCKET_MISSING');
    await open().check();
  });

  test('wrong credentials are called so, and are not in the message', async () => {
    for (const credentials of [
      { accessKeyId: 'nobody', secretAccessKey: 'nothing-at-all' },
      { ...server.credentials, secretAccessKey: 'not-the-secret' },
    ]) {
      const store = open({}, credentials);
      const failure = await store.check().catch((error: unknown) => error as Error & { code: string });
      expect(failure).toMatchObject({
        code: 'STORE_ACCESS_DENIED',
        message: expect.stringContaining('refuses these credentials'),
      });
      expect(String(failure)).not.toContain(credentials.secretAccessKey);
      expect(await verdict(store.put('k', stream(Buffer.from('x'))))).toBe('STORE_ACCESS_DENIED');
    }
  });

  test('an endpoint where nobody listens is called unreachable, with its address', async () => {
    const endpoint = `http://127.0.0.1:${await freePort()}`;
    const store = open({ endpoint });
    await expect(store.check()).rejects.toMatchObject({
      code: 'STORE_UNREACHABLE',
      message: expect.stringContaining(endpoint),
    });
    expect(await verdict(store.put('k', stream(sampleState(20 * mebibyte))))).toBe('STORE_UNREACHABLE');
    expect(await verdict(store.get('k'))).toBe('STORE_UNREACHABLE');
    expect(await verdict(open({ endpoint: 'http://nowhere.invalid:9' }).check())).toBe('STORE_UNREACHABLE');
  });
});
