import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { runJob } from '../../src/jobs/job.ts';

let disk: string;
beforeEach(() => {
  disk = mkdtempSync(join(tmpdir(), 'raftsman-disk-'));
});
afterEach(() => rmSync(disk, { recursive: true, force: true }));

const data = () => join(disk, 'etcd');
const restored = () => join(disk, 'restored');

function log(folder: string, content = 'log'): void {
  mkdirSync(join(folder, 'member/wal'), { recursive: true });
  writeFileSync(join(folder, 'member/wal/0-0.wal'), content);
}

async function prepare(env: Record<string, string>, ...flags: string[]) {
  let said = '';
  const say = (text: string) => {
    said += text;
  };
  const argv = ['prepare', `--data-dir=${data()}`, ...flags];
  const status = await runJob(argv, { POD_NAME: 'c-1', ...env }, { stdout: say, stderr: say });
  return { status, last: said.trimEnd().split('\n').at(-1) ?? '' };
}

const formed = { RAFTSMAN_INITIAL_CLUSTER_STATE: 'existing', RAFTSMAN_JOINING: '' };
const forming = { RAFTSMAN_INITIAL_CLUSTER_STATE: 'new', RAFTSMAN_JOINING: '' };

describe('before a member of etcd starts, an empty disk', () => {
  test.each([
    ['in a cluster that has not formed starts', forming, 0],
    ['of the member that joins starts', { ...formed, RAFTSMAN_JOINING: 'c-1' }, 0],
    ['of a member that has taken part does not', formed, 1],
    ['of another member than the one that joins does not', { ...formed, RAFTSMAN_JOINING: 'c-11' }, 1],
    ['does not where nobody says whether the cluster has formed', {}, 1],
    ['does not where the answer is unknown', { RAFTSMAN_INITIAL_CLUSTER_STATE: 'New' }, 1],
  ])('%s', async (_, env, status) => {
    const found = await prepare(env as Record<string, string>);
    expect(found.status).toBe(status);
    if (status !== 0) expect(found.last).toMatch(/^ETCD_DATA_LOST: the disk of c-1 holds no data in .*etcd, although/);
  });

  test('is one without a log: what etcd makes before that holds nothing', async () => {
    mkdirSync(join(data(), 'member/snap'), { recursive: true });
    writeFileSync(join(data(), 'member/snap/db'), 'half');
    expect(await prepare(formed)).toMatchObject({ status: 1 });
    log(data());
    expect(await prepare(formed)).toMatchObject({ status: 0 });
  });
});

describe('restored data', () => {
  const flags = () => [`--adopt=${restored()}`, `--remove=${join(disk, 'restore.db')}`];
  const content = () => readFileSync(join(data(), 'member/wal/0-0.wal'), 'utf8');

  test('become the data of a member that has none, and what they came from goes', async () => {
    log(restored(), 'restored');
    writeFileSync(join(disk, 'restore.db'), 'snapshot');
    mkdirSync(join(data(), 'member/snap'), { recursive: true });
    expect(await prepare(forming, ...flags())).toMatchObject({ status: 0 });
    expect(content()).toBe('restored');
    expect(readdirSync(disk)).toEqual(['etcd']);
  });

  test('never take the place of data', async () => {
    log(data(), 'own');
    log(restored(), 'restored');
    expect(await prepare(forming, ...flags())).toMatchObject({ status: 0 });
    expect(content()).toBe('own');
    expect(readdirSync(disk)).toEqual(['etcd']);
  });

  test('must be there, or the member would start as an empty one', async () => {
    mkdirSync(restored());
    const { status, last } = await prepare(forming, ...flags());
    expect(status).toBe(1);
    expect(last).toMatch(/^ETCD_RESTORE_MISSING: .*restored holds no restored data for c-1/);
  });

  test('are nobody’s business once the cluster has formed: the guard after it decides', async () => {
    log(restored(), 'old');
    expect(await prepare(formed, ...flags())).toMatchObject({ status: 0 });
    expect(existsSync(data())).toBe(false);
    expect(await prepare(formed)).toMatchObject({ status: 1 });
  });
});

test('prepare is told what it may not do', async () => {
  expect(await prepare(forming, '--force')).toMatchObject({ status: 2, last: expect.stringContaining('--force') });
});
