import { describe, expect, test } from '@jest/globals';
import { checksumInHex, checksumOfHex, jobManifest, obstacleOf, readJob } from '../../src/controllers/job.ts';
import type { Pod } from '../../src/kube/kinds.ts';
import type { Live } from '../../src/kube/objects.ts';
import {
  archiveResult,
  checksumHex,
  completeJob,
  endedPod,
  failedJob,
  jobOf,
  jobPod,
  memberPod,
  now,
  ownerOf,
  settings,
  storeOf,
} from './objects.ts';

const owner = ownerOf('RaftSnapshot', 'n');
const input = (verb: 'save' | 'verify') => ({
  name: 'n-save',
  namespace: 'default',
  owner,
  cluster: 'c',
  component: 'snapshot' as const,
  labels: {},
  verb,
  args: ['--key=k'],
  store: storeOf('v', true, { volume: { claimName: 'archives' } }).spec,
  settings,
});

describe('the manifest of a Job', () => {
  test('a try that says it is pointless ends the Job; a drained node does not', () => {
    expect(jobManifest(input('save'))).toMatchObject({
      spec: {
        backoffLimit: 2,
        podFailurePolicy: {
          rules: [{ action: 'FailJob', onExitCodes: { values: [2, 3] } }, { action: 'Ignore' }],
        },
        template: { spec: { restartPolicy: 'Never', automountServiceAccountToken: false } },
      },
    });
  });

  test('nothing lets it go before its result is recorded', () => {
    expect(JSON.stringify(jobManifest(input('save')))).not.toContain('ttlSecondsAfterFinished');
  });

  test('a volume is written to by save and only read by verify', () => {
    const mounts = (verb: 'save' | 'verify') => JSON.stringify(jobManifest(input(verb)));
    expect(mounts('save')).not.toContain('"readOnly":true');
    expect(mounts('verify')).toContain('"readOnly":true');
  });

  test('credentials come from the Secret into the environment and are nowhere else', () => {
    const store = storeOf('s', true, {
      s3: { bucket: 'bucket', credentialsSecret: { name: 'cred', accessKeyIdKey: 'id', sessionTokenKey: 'token' } },
    }).spec;
    const text = JSON.stringify(jobManifest({ ...input('save'), store }));
    expect(text).toContain('{"name":"AWS_ACCESS_KEY_ID","valueFrom":{"secretKeyRef":{"name":"cred","key":"id"}}}');
    expect(text).toContain('{"name":"AWS_SESSION_TOKEN","valueFrom":{"secretKeyRef":{"name":"cred","key":"token"}}}');
    expect(text).not.toContain('credentialsSecret');
  });
});

describe('what is read from a Job and its pods', () => {
  const job = (status = {}) => jobOf('n-save', owner, status);

  test('starting, and what keeps it from it', () => {
    expect(readJob(job(), [], now)).toEqual({ kind: 'starting' });
    const waiting = { reason: 'CreateContainerConfigError', message: 'secret "cred" not found' };
    const pod = jobPod(job(), { phase: 'Pending', containerStatuses: [{ name: 'job', state: { waiting } }] });
    expect(readJob(job(), [pod], now)).toEqual({
      kind: 'starting',
      obstacle: 'pod n-save-x cannot start: CreateContainerConfigError: secret "cred" not found',
    });
  });

  test('a pod that no node takes', () => {
    const conditions = [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/1 nodes fit' }];
    const pod = jobPod(job(), { phase: 'Pending', conditions });
    expect(obstacleOf(pod)).toBe('pod n-save-x cannot be scheduled: 0/1 nodes fit');
  });

  test('a member whose archive cannot be fetched says why', () => {
    const message = JSON.stringify({ error: { code: 'STORE_KEY_MISSING', message: 'no such key', permanent: true } });
    const pod = memberPod('c', 0, { ready: false });
    const broken = {
      ...pod,
      status: {
        phase: 'Pending',
        initContainerStatuses: [
          {
            name: 'fetch',
            state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off' } },
            lastState: { terminated: { exitCode: 3, message } },
          },
        ],
      },
    } as Live<Pod>;
    expect(obstacleOf(broken)).toBe('pod c-0 cannot start: CrashLoopBackOff: no such key');
  });

  test('running, with where to ask for progress', () => {
    const pod = jobPod(job(), { phase: 'Running', podIP: '10.0.0.9' });
    expect(readJob(job(), [pod], now)).toEqual({ kind: 'running', pod: 'n-save-x', podIP: '10.0.0.9' });
  });

  test('succeeded with the result that its pod left', () => {
    const done = job(completeJob);
    expect(readJob(done, [endedPod(done, JSON.stringify(archiveResult))], now)).toEqual({
      kind: 'succeeded',
      result: archiveResult,
    });
  });

  test('complete without its pod: the watch may lag, and then the result is lost', () => {
    expect(readJob(job({ ...completeJob, completionTime: '2026-11-22T02:13:59Z' }), [], now)).toEqual({
      kind: 'ending',
    });
    expect(readJob(job(completeJob), [], new Date(now.getTime() + 5_000))).toEqual({ kind: 'lost' });
  });

  test('failed with what the last pod said', () => {
    const dead = job(failedJob());
    const says = (message: string) => JSON.stringify({ error: { code: 'STORE_FULL', message, permanent: false } });
    const pods = [endedPod(dead, says('first'), 1, 'a'), endedPod(dead, says('second'), 1, 'b')];
    expect(readJob(dead, pods, now)).toEqual({ kind: 'failed', code: 'STORE_FULL', message: 'second' });
  });

  test('failed without a word: the reason of Kubernetes, and how the process ended', () => {
    const dead = job(failedJob('DeadlineExceeded', 'Job was active longer than specified deadline'));
    const pod = jobPod(dead, {
      phase: 'Failed',
      containerStatuses: [{ name: 'job', state: { terminated: { exitCode: 137, reason: 'OOMKilled' } } }],
    });
    expect(readJob(dead, [pod], now)).toEqual({
      kind: 'failed',
      code: 'DeadlineExceeded',
      message: 'Job was active longer than specified deadline; pod n-save-x ended with status 137 (OOMKilled)',
    });
  });

  test('pods of an earlier Job of the same name do not count', () => {
    const done = job(completeJob);
    const pod = endedPod(jobOf('other', owner), JSON.stringify(archiveResult));
    expect(readJob(done, [pod], new Date(now.getTime() + 60_000))).toEqual({ kind: 'lost' });
  });
});

test('a checksum is the same in hex and as HashiCorp writes it', () => {
  expect(checksumInHex(checksumOfHex(checksumHex))).toBe(checksumHex);
});
