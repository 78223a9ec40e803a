import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { addressesOf, freeSlot, SLOTS } from './addresses.ts';
import { pathOf } from './api.ts';
import { startTimeOf } from './command.ts';
import { compileSettings, diskComplaint, goComplaint } from './go-build.ts';
import { parseLdd } from './image-build.ts';
import { etcdPart, etcdPrograms, etcdVersions, type GoPart, goParts, partOf } from './parts.ts';
import { isClusterName } from './places.ts';
import { progressTo } from './progress.ts';
import { machineComplaint } from './sandbox.ts';

describe('what is missing is told by name, with what to do', () => {
  const all = () => true;

  test('a machine that has everything has nothing to complain of', () => {
    expect(machineComplaint(0, 'linux', all)).toBeUndefined();
  });

  test('not Linux', () => {
    expect(machineComplaint(0, 'darwin', all)).toMatchObject({
      code: 'NOT_LINUX',
      message: expect.stringContaining('darwin'),
    });
  });

  test('not root', () => {
    expect(machineComplaint(1000, 'linux', all)).toMatchObject({
      code: 'NOT_ROOT',
      message: expect.stringContaining('root'),
    });
  });

  test('missing commands are all named at once', () => {
    const has = (command: string) => command !== 'ip' && command !== 'flock';
    const complaint = machineComplaint(0, 'linux', has);
    expect(complaint?.code).toBe('MISSING_COMMAND');
    expect(complaint?.message).toContain('ip, flock');
    expect(complaint?.message).toContain('iproute2');
  });

  test('no Go, a Go too old, a Go that will do', () => {
    expect(goComplaint(undefined)?.code).toBe('NO_GO');
    expect(goComplaint('go version go1.19.8 linux/amd64\n')).toMatchObject({
      code: 'GO_TOO_OLD',
      message: expect.stringContaining('go1.19.8'),
    });
    expect(goComplaint('go version go1.26.0 linux/amd64')).toBeUndefined();
    expect(goComplaint('go version go2.0 linux/amd64')).toBeUndefined();
  });

  test('no disk: how much there is, how much is needed, and which variables move it', () => {
    const complaint = diskComplaint('/cache', 1.5 * 2 ** 30, 7 * 2 ** 30);
    expect(complaint?.code).toBe('NO_DISK');
    expect(complaint?.message).toContain('1.5 GiB');
    expect(complaint?.message).toContain('7.0 GiB');
    expect(complaint?.message).toContain('XDG_CACHE_HOME');
    expect(diskComplaint('/cache', 7 * 2 ** 30, 7 * 2 ** 30)).toBeUndefined();
  });
});

describe('clusters side by side', () => {
  test('no two slots share an address, and all lie in 198.18.0.0/15', () => {
    const seen = new Set<string>();
    for (let slot = 0; slot < SLOTS; slot += 1) {
      const { whole, services, pods, link, node } = addressesOf(slot);
      for (const each of [whole, services, pods, link, node]) {
        expect(seen.has(each)).toBe(false);
        seen.add(each);
      }
      expect(whole).toMatch(/^198\.1[89]\.\d+\.0\/22$/);
      // An interface name has at most 15 characters.
      expect(link.length).toBeLessThanOrEqual(15);
    }
    expect(() => addressesOf(SLOTS)).toThrow(RangeError);
  });

  test('a new cluster gets the lowest free slot, and none when all are taken', () => {
    expect(freeSlot(new Set([0, 1, 3]))).toBe(2);
    expect(freeSlot(new Set(Array.from({ length: SLOTS }, (_, slot) => slot)))).toBeUndefined();
  });

  test('names that could leave the folder, or break a cgroup or a context, are refused', () => {
    for (const good of ['a', 'demo', 'it-4711', 'x'.repeat(40)]) expect(isClusterName(good)).toBe(true);
    for (const bad of ['', '..', 'a/b', '-a', 'a-', 'A', 'a b', 'x'.repeat(41)]) expect(isClusterName(bad)).toBe(false);
  });
});

test('a process is known by id and start time together', () => {
  expect(startTimeOf(process.pid)).toMatch(/^\d+$/);
  expect(startTimeOf(process.pid)).toBe(startTimeOf(process.pid));
  expect(startTimeOf(4_194_304)).toBeUndefined();
});

test('API paths', () => {
  const metadata = { name: 'x', namespace: 's3' };
  expect(pathOf({ apiVersion: 'apps/v1', kind: 'Deployment', metadata })).toBe(
    '/apis/apps/v1/namespaces/s3/deployments/x',
  );
  expect(pathOf({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'x' } })).toBe('/api/v1/namespaces/x');
  expect(pathOf({ apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', metadata: { name: 'x' } })).toBe(
    '/apis/storage.k8s.io/v1/storageclasses/x',
  );
});

test('every tool name leads to the part that has it', () => {
  expect(partOf('kubectl')).toBe('kubernetes');
  expect(partOf('etcdctl')).toBe('etcdctl');
  expect(partOf('etcd')).toBe('etcd');
  expect(partOf('docker')).toBeUndefined();
  expect(partOf('etcd-3.5.35')).toBeUndefined();
});

test('an older etcd is a part of its own, built at its version, and takes no tool name from the current one', () => {
  for (const version of etcdVersions) {
    for (const program of etcdPrograms) {
      const part: GoPart = goParts[etcdPart(program, version)];
      expect(part).toMatchObject({ version, names: [program] });
      const { sources } = compileSettings(part);
      expect(readFileSync(join(sources, 'go.mod'), 'utf8')).toMatch(
        new RegExp(`${part.package} v${version.replaceAll('.', '\\.')}\\b`),
      );
    }
  }
  expect(new Set(etcdVersions.map((version) => etcdPart('etcd', version))).size).toBe(etcdVersions.length);
});

test('shared libraries are read from what ldd prints', () => {
  const text = [
    '\tlinux-vdso.so.1 (0x00007fff)',
    '\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f01)',
    '\t/lib64/ld-linux-x86-64.so.2 (0x00007f02)',
  ].join('\n');
  expect(parseLdd(text)).toEqual(['/lib/x86_64-linux-gnu/libm.so.6', '/lib64/ld-linux-x86-64.so.2']);
});

test('a step prints when it is done and how long it took, and says so when it fails', async () => {
  let now = 0;
  const lines: string[] = [];
  const progress = progressTo(
    (line) => lines.push(line),
    () => now,
  );
  await progress.step('first', async () => {
    now = 1500;
  });
  await expect(
    progress.step('second', async () => {
      now = 2500;
      throw new Error('no');
    }),
  ).rejects.toThrow('no');
  expect(lines).toEqual(['[   1.5 s] first: done in 1.5 s\n', '[   2.5 s] second: FAILED after 1.0 s\n']);
});
