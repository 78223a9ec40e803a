import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { verifyArchiveFile } from '../../src/archive/file.ts';
import { EmbeddedEngine } from '../../src/engines/embedded/embedded.ts';
import { EtcdClient } from '../../src/etcd/client.ts';
import { runJob } from '../../src/jobs/job.ts';
import { type ArchiveResult, type Outcome, parseOutcome, parseProgress } from '../../src/jobs/result.ts';
import { version } from '../../src/version.ts';
import { archiveOf, goodPieces, sampleState, written } from '../archive/samples.ts';
import { type Single, startSingle } from '../etcd/single.ts';

const root = resolve(import.meta.dirname, '../..');
let member: Single;
let folder: string;
let env: Record<string, string>;
/** What the jobs of this test have said. */
let lines: string[];

beforeAll(async () => {
  member = await startSingle();
  const client = new EtcdClient({ endpoints: [member.url] });
  for (let at = 0; at < 30; at++)
    await client.put({ key: Buffer.from(`k${at}`), value: Buffer.from(sampleState(2000, at)) });
  client.close();
});
afterAll(() => member.close());

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'raftsman-job-'));
  lines = [];
  env = {
    RAFTSMAN_STORE: JSON.stringify({ volume: { claimName: 'claim', path: 'prod' } }),
    RAFTSMAN_STORE_MOUNT: folder,
    RAFTSMAN_TERMINATION_LOG: join(folder, 'termination.json'),
    RAFTSMAN_PROGRESS_PORT: '0',
  };
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function job(...argv: string[]): Promise<{ status: number; outcome: Outcome | undefined }> {
  const status = await runJob(argv, env, { stdout: (text) => lines.push(text), stderr: (text) => lines.push(text) });
  const message = await readFile(join(folder, 'termination.json'), 'utf8').catch(() => undefined);
  return { status, outcome: parseOutcome(message) };
}

async function saved(): Promise<ArchiveResult> {
  const { status, outcome } = await job('save', `--endpoints=${member.url}`, '--cluster=demo', '--key=ns/a.tar.gz');
  expect(status).toBe(0);
  return outcome as ArchiveResult;
}

describe('a job', () => {
  test('save leaves an archive in the store, and verify finds the same in it that save has told', async () => {
    const result = await saved();
    const engine = new EmbeddedEngine();
    const { hash } = await engine.fingerprint({ url: member.url });
    engine.close();
    const path = join(folder, 'prod/ns/a.tar.gz');
    const archive = await verifyArchiveFile(path);
    expect(result).toEqual({
      key: 'ns/a.tar.gz',
      index: Number(archive.meta.index),
      term: 3,
      revision: 31,
      keys: 30,
      hash,
      sizeBytes: archive.sizeBytes,
      checksum: archive.checksum,
      engine: 'Embedded',
      engineVersion: version,
      clusterId: 'cdf818194e3a8c32',
      cluster: 'demo',
    });
    expect(await job('verify', '--key=ns/a.tar.gz')).toEqual({ status: 0, outcome: result });
    expect(await job('verify', '--key=ns/a.tar.gz', `--checksum=${result.checksum}`)).toMatchObject({ status: 0 });
  });

  test('fetch leaves the verified archive in a file, and removes what a killed run left', async () => {
    const result = await saved();
    const output = join(folder, 'restore.tar.gz');
    await writeFile(`${output}.0badcafe.partial`, 'half');
    expect(await job('fetch', '--key=ns/a.tar.gz', `--output=${output}`)).toEqual({ status: 0, outcome: result });
    expect((await verifyArchiveFile(output)).checksum).toBe(result.checksum);
    expect((await readdir(folder)).sort()).toEqual(['prod', 'restore.tar.gz', 'termination.json']);
  });

  test('fetch does nothing when the data are there already, whatever the store is like', async () => {
    env['RAFTSMAN_STORE_MOUNT'] = join(folder, 'not-mounted');
    const output = join(folder, 'restore.tar.gz');
    const there = await job('fetch', '--key=a', `--output=${output}`, `--unless-exists=${folder}`);
    expect(there).toEqual({ status: 0, outcome: { key: 'a' } });
    const absent = await job('fetch', '--key=a', `--output=${output}`, `--unless-exists=${folder}/none`);
    expect(absent).toMatchObject({ status: 1, outcome: { error: { code: 'STORE_FOLDER_MISSING', permanent: false } } });
  });

  test('delete deletes, and is done when there is nothing to delete', async () => {
    await saved();
    for (const _ of [1, 2]) {
      expect(await job('delete', '--key=ns/a.tar.gz')).toEqual({ status: 0, outcome: { key: 'ns/a.tar.gz' } });
      expect(await readdir(join(folder, 'prod/ns'))).toEqual([]);
    }
  });

  test('a bad archive fails verify and fetch for good, and fetch leaves no file', async () => {
    await saved();
    const path = join(folder, 'prod/ns/a.tar.gz');
    const good = await readFile(path);
    const damaged = Buffer.from(good);
    damaged[good.length >> 1] = (damaged[good.length >> 1] ?? 0) ^ 0x10;
    const cases: [string, Uint8Array, RegExp][] = [
      ['truncated', good.subarray(0, good.length - 1), /^ARCHIVE_TRUNCATED$/],
      ['padded', Buffer.concat([good, new Uint8Array(512)]), /^ARCHIVE_TRAILING_BYTES$/],
      ['corrupt', damaged, /^ARCHIVE_/],
      ['no archive', Buffer.from('hello'), /^ARCHIVE_NOT_GZIP$/],
      ['of other make', await archiveOf(goodPieces()), /^ARCHIVE_FOREIGN$/],
      [
        'of another engine',
        await written(sampleState(10), { raftsman: { ...(await factsOf(good)), engine: 'Consul' } }),
        /^ARCHIVE_FOREIGN$/,
      ],
      [
        'converted',
        await written(sampleState(10), {
          raftsman: {
            engine: 'Goraft',
            convertedFrom: 'goraft snapshot file',
            convertedAt: '2026-11-22T05:06:07.000Z',
          },
        }),
        /^ARCHIVE_FOREIGN$/,
      ],
    ];
    for (const [what, bytes, code] of cases) {
      await writeFile(path, bytes);
      for (const verb of [['verify'], ['fetch', `--output=${folder}/out.tar.gz`]]) {
        const result = await job(...verb, '--key=ns/a.tar.gz');
        expect([what, result]).toEqual([
          what,
          {
            status: 3,
            outcome: { error: { code: expect.stringMatching(code), message: expect.any(String), permanent: true } },
          },
        ]);
      }
    }
    expect((await readdir(folder)).sort()).toEqual(['prod', 'termination.json']);
  });

  async function factsOf(bytes: Uint8Array) {
    const path = join(folder, 'prod/facts');
    await writeFile(path, bytes);
    return (await verifyArchiveFile(path)).meta.raftsman!;
  }

  test('another archive than the one asked for is refused', async () => {
    await saved();
    const checksum = `sha-256=${'A'.repeat(43)}=`;
    for (const verb of [['verify'], ['fetch', `--output=${folder}/out.tar.gz`]]) {
      const { status, outcome } = await job(...verb, '--key=ns/a.tar.gz', `--checksum=${checksum}`);
      expect([status, outcome]).toMatchObject([3, { error: { code: 'ARCHIVE_CHANGED' } }]);
    }
    expect((await readdir(folder)).sort()).toEqual(['prod', 'termination.json']);
  });

  test('what may heal is worth a retry, what cannot is not', async () => {
    const dead = `--endpoints=http://127.0.0.1:${await closedPort()}`;
    const cases: [string[], number, string][] = [
      [['save', dead, '--key=a'], 1, 'ENGINE_UNAVAILABLE'],
      [['save', '--endpoints=nonsense://x', '--key=a'], 3, 'ENGINE_ENDPOINT_INVALID'],
      [['save', `--endpoints=${member.url}`, '--engine=Zab', '--key=a'], 3, 'ENGINE_UNKNOWN'],
      [['save', `--endpoints=${member.url}`, '--key=../a'], 3, 'STORE_KEY_INVALID'],
      [['verify', '--key=nothing'], 3, 'STORE_KEY_MISSING'],
      [['fetch', '--key=nothing', `--output=${folder}/x`], 3, 'STORE_KEY_MISSING'],
    ];
    for (const [argv, status, code] of cases) {
      expect(await job(...argv)).toMatchObject({ status, outcome: { error: { code, permanent: status === 3 } } });
    }
    env['RAFTSMAN_STORE'] = '{"s3":{}}';
    expect(await job('verify', '--key=a')).toMatchObject({
      status: 3,
      outcome: { error: { code: 'STORE_SPEC_INVALID' } },
    });
    delete env['RAFTSMAN_STORE'];
    expect(await job('verify', '--key=a')).toMatchObject({
      status: 3,
      outcome: { error: { message: expect.stringContaining('RAFTSMAN_STORE is not set') } },
    });
  });

  test('an error message too long for a termination message is shortened', async () => {
    env['RAFTSMAN_STORE'] = JSON.stringify({ s3: { bucket: 'b', endpoint: `\u0001"${'é'.repeat(5000)}` } });
    const { status, outcome } = await job('verify', '--key=a');
    expect([status, outcome]).toMatchObject([3, { error: { code: 'STORE_SPEC_INVALID' } }]);
    expect((await readFile(join(folder, 'termination.json'))).length).toBeLessThanOrEqual(4096);
  });

  test('wrong usage is status 2 with the flag in its line', async () => {
    for (const argv of [
      [],
      ['restore'],
      ['save', '--key=a'],
      ['verify', '--key=a', '--nonsense'],
      ['delete', '--key=a', '--output=b'],
      ['verify', '--key=a', 'b'],
    ]) {
      lines = [];
      expect([argv, (await job(...argv)).status]).toEqual([argv, 2]);
      expect(lines).toEqual([expect.stringMatching(/^raftsman job: .*\n$/)]);
    }
    expect((await job('--help')).status).toBe(0);
  });
});

async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

describe('a job as a process', () => {
  test('tells its progress while it runs; SIGTERM ends it cleanly, says so, and leaves nothing in the store', async () => {
    // A member that takes the connection and never answers.
    const hole = createServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1');
    await once(hole, 'listening');
    const port = await closedPort();
    const child = spawn(
      process.execPath,
      [
        '--disable-warning=ExperimentalWarning',
        'src/main.ts',
        'job',
        'save',
        `--endpoints=http://127.0.0.1:${(hole.address() as { port: number }).port}`,
        '--key=a',
      ],
      {
        cwd: root,
        env: { ...process.env, ...env, RAFTSMAN_PROGRESS_PORT: String(port) },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    try {
      const url = `http://127.0.0.1:${port}/progress`;
      let body: string | undefined;
      while (body === undefined) {
        expect(child.exitCode).toBeNull();
        body = await globalThis.fetch(url).then(
          (response) => response.text(),
          () => undefined,
        );
      }
      expect(parseProgress(body)).toEqual({ phase: 'Starting', bytes: 0 });
      expect((await globalThis.fetch(`http://127.0.0.1:${port}/`)).status).toBe(404);
      child.kill('SIGTERM');
      const [status] = (await once(child, 'exit')) as [number];
      expect(status).toBe(1);
      expect(parseOutcome(await readFile(join(folder, 'termination.json'), 'utf8'))).toMatchObject({
        error: { code: 'JOB_STOPPED', permanent: false },
      });
      expect((await readdir(folder)).sort()).toEqual(['termination.json']);
    } finally {
      child.kill('SIGKILL');
      hole.close();
    }
  });
});
