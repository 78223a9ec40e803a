import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { EtcdClient } from '../../src/etcd/client.ts';
import { runJob } from '../../src/jobs/job.ts';
import { parseOutcome } from '../../src/jobs/result.ts';
import { S3Store } from '../../src/stores/s3.ts';
import { sampleState } from '../archive/samples.ts';
import { type Single, startSingle } from '../etcd/single.ts';
import { type CuttingProxy, startCuttingProxy } from '../stores/cutting-proxy.ts';
import { type S3Server, startS3 } from '../stores/versitygw.ts';

let member: Single;
let server: S3Server;
let proxy: CuttingProxy;
let folder: string;
let direct: S3Store;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'raftsman-s3-job-'));
  member = await startSingle();
  server = await startS3();
  proxy = await startCuttingProxy(server.port);
  const { bucket, endpoint, credentials } = server;
  direct = new S3Store({ bucket, endpoint, forcePathStyle: true }, credentials);
  const client = new EtcdClient({ endpoints: [member.url] });
  // Enough for several parts, and not to be compressed away.
  for (let at = 0; at < 24; at++)
    await client.put({ key: Buffer.from(`k${at}`), value: sampleState(1_000_000, at + 1) });
  client.close();
}, 600_000);
beforeEach(() => proxy.heal());
afterAll(async () => {
  direct?.close();
  await proxy?.close();
  await server?.close();
  await member?.close();
  await rm(folder, { recursive: true, force: true });
});

async function job(...argv: string[]) {
  const log = join(folder, 'termination.json');
  const env = {
    RAFTSMAN_STORE: JSON.stringify({ s3: { bucket: server.bucket, endpoint: proxy.endpoint, forcePathStyle: true } }),
    AWS_ACCESS_KEY_ID: server.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: server.credentials.secretAccessKey,
    RAFTSMAN_TERMINATION_LOG: log,
    RAFTSMAN_PROGRESS_PORT: '0',
  };
  const status = await runJob(argv, env, { stdout: () => {}, stderr: () => {} });
  return { status, outcome: parseOutcome(await readFile(log, 'utf8')) };
}

test('save, verify, fetch and delete work against a bucket as they do against a volume', async () => {
  const saved = await job('save', `--endpoints=${member.url}`, '--cluster=demo', '--key=ns/demo/a.tar.gz');
  expect(saved).toMatchObject({ status: 0, outcome: { keys: 24, revision: 25 } });
  expect(await job('verify', '--key=ns/demo/a.tar.gz')).toEqual(saved);
  expect(await job('fetch', '--key=ns/demo/a.tar.gz', `--output=${folder}/a.tar.gz`)).toEqual(saved);
  expect((await job('delete', '--key=ns/demo/a.tar.gz')).status).toBe(0);
  expect(await direct.head('ns/demo/a.tar.gz')).toBeUndefined();
});

test('a store that breaks off midway fails the job for now, and leaves no half archive under the key', async () => {
  proxy.cutAfter(12_000_000);
  expect(await job('save', `--endpoints=${member.url}`, '--key=cut')).toMatchObject({
    status: 1,
    outcome: { error: { code: 'STORE_UNREACHABLE', permanent: false } },
  });
  expect(await direct.head('cut')).toBeUndefined();
  proxy.heal();
  expect((await job('save', `--endpoints=${member.url}`, '--key=cut')).status).toBe(0);
  for (const verb of [['verify'], ['fetch', `--output=${folder}/cut.tar.gz`]]) {
    proxy.cutAfter(12_000_000);
    expect(await job(...verb, '--key=cut')).toMatchObject({
      status: 1,
      outcome: { error: { code: 'STORE_UNREACHABLE', permanent: false } },
    });
    proxy.heal();
  }
  await expect(readFile(`${folder}/cut.tar.gz`)).rejects.toMatchObject({ code: 'ENOENT' });
});
