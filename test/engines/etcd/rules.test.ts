import { describe, expect, test } from '@jest/globals';
import type { RaftClusterSpec } from '../../../src/api/cluster.ts';
import { crash } from '../../../src/engines/etcd/crash.ts';
import { flagProblems } from '../../../src/engines/etcd/flags.ts';
import { versionChange } from '../../../src/engines/etcd/upgrades.ts';
import { profileOf } from '../../../src/engines/open.ts';
import type { MemberInput } from '../../../src/engines/profile.ts';
import { clusterOf } from '../../controllers/objects.ts';

describe('versions of etcd', () => {
  test.each([
    ['3.6.8', '3.6.8', 'same'],
    ['3.6.8', 'v3.6.8', 'same'],
    ['3.6.5', '3.6.8', 'patch'],
    ['3.6.8', '3.6.5', 'patch'],
    ['3.5.35', '3.6.8', 'minor'],
    ['3.6.8', '3.7.0-rc.1', 'minor'],
    ['3.7.0-rc.1', '3.7.0', 'patch'],
    ['3.6.8', '3.5.35', 'etcd 3.6 cannot go back to 3.5.35'],
    ['3.5.35', '3.7.0', 'one minor version at a time: update to 3.6 before 3.7.0'],
    ['3.6.8', '4.0.0', 'etcd 3.6 cannot become 4.0.0'],
    ['3.6.8', 'latest', '"latest" is no version: write it as 3.6.8'],
    ['3.6.8', '3.6', '"3.6" is no version'],
    ['3.6.8', '', '"" is no version'],
    ['3.5.25', '3.5.25', 'too old: 3.5.26'],
    ['3.5.26', '3.5.26', 'same'],
    ['3.5.20', '3.5.26', 'patch'],
    ['3.5.26', '3.6.8', 'minor'],
    ['3.5.25', '3.6.8', 'update to 3.5.26 before 3.6.8'],
    ['main', '3.6.8', 'the members say that they run "main"'],
  ])('from %j to %j: %s', (from, to, expected) => {
    const change = versionChange(from, to);
    expect(change.kind === 'refused' ? change.reason : change.kind).toContain(expected);
  });

  test('as long as one member runs the old minor version, the others may go back to it', () => {
    const running = ['3.5.35', '3.6.8'];
    expect(versionChange('3.6.8', '3.5.35', running)).toEqual({ kind: 'minor' });
    expect(versionChange('3.5.35', '3.5.35', running)).toEqual({ kind: 'same' });
    expect(versionChange('3.6.8', '3.7.0', running)).toMatchObject({ kind: 'refused' });
  });
});

/** What a member of this spec is started with. */
function argsOf(spec: RaftClusterSpec, more: Partial<MemberInput> = {}): readonly string[] {
  const { container } = profileOf(spec.engine.type).member({
    spec,
    settings: { image: 'i', imagePullPolicy: 'Never' },
    host: 'h',
    token: 't',
    config: 'c',
    disk: 'd',
    containerSecurityContext: {},
    ...more,
  });
  return container.args;
}

describe('flags of etcd', () => {
  test.each([
    ['max-request-bytes', undefined],
    ['feature-gates', undefined],
    ['auto-compaction-retention', undefined],
    ['listen-peer-urls', 'listen-peer-urls is set by the operator: leave it out'],
    ['quota-backend-bytes', 'use spec.engine.quotaBytes'],
    ['peer-cert-file', 'use spec.tls'],
    ['initial-cluster-state', 'leave it out'],
    ['force-new-cluster', 'force-new-cluster is refused'],
    ['unsafe-no-fsync', 'lost with the power'],
    ['discovery-srv', 'is refused'],
    ['--name', '"--name" is not the name of a flag'],
    ['name=x --data-dir', 'is not the name of a flag'],
    ['', 'is not the name of a flag'],
  ])('%j: %s', (name, expected) => {
    const problems = flagProblems([name]);
    if (expected === undefined) expect(problems).toEqual([]);
    else expect(problems).toEqual([expect.stringContaining(expected)]);
  });

  test('what the operator sets is refused, flag by flag', () => {
    for (const type of ['Etcd', 'Embedded'] as const) {
      const profile = profileOf(type);
      const { spec } = clusterOf('c', { engine: { type, quotaBytes: 20_000_000 } });
      const set = argsOf(spec, { tls: { server: '/s', peer: '/p' } }).flatMap(
        (arg) => /^--([a-z-]+)=/.exec(arg)?.[1] ?? [],
      );
      expect(set.length).toBeGreaterThan(15);
      // What spec says is joined to what the operator sets.
      for (const name of set.filter((each) => each !== 'feature-gates')) {
        const problems = profile.problems({ ...spec.engine, flags: { [name]: 'x' } });
        expect(problems).toEqual([expect.stringContaining(`spec.engine.flags: ${name} `)]);
      }
    }
  });

  test.each([
    ['3.6.8', {}, ['--feature-gates=CompactHashCheck=true']],
    [
      '3.6.8',
      { 'feature-gates': 'LeaseCheckpoint=true' },
      ['--feature-gates=CompactHashCheck=true,LeaseCheckpoint=true'],
    ],
    [
      '3.6.8',
      { 'experimental-compact-hash-check-enabled': 'false' },
      ['--experimental-compact-hash-check-enabled=false'],
    ],
    ['3.5.35', {}, ['--experimental-compact-hash-check-enabled=true']],
    [
      '3.5.35',
      { 'experimental-compact-hash-check-enabled': 'false' },
      ['--experimental-compact-hash-check-enabled=false'],
    ],
  ])('etcd %s with the flags %j compares its members, unless told otherwise', (version, flags, expected) => {
    const { spec } = clusterOf('c', { engine: { type: 'Etcd', version, flags } });
    expect(argsOf(spec).filter((arg) => /gates|compact-hash/.test(arg))).toEqual(expected);
  });

  test('a spec without a fault has none, and a version that is none is named', () => {
    const { engine } = clusterOf('c', { engine: { type: 'Etcd' } }).spec;
    const profile = profileOf('Etcd');
    expect(profile.problems(engine)).toEqual([]);
    expect(profile.problems({ ...engine, version: 'newest' })).toEqual([
      'spec.engine.version: "newest" is no version: write it as 3.6.8',
    ]);
  });
});

describe('the image of etcd', () => {
  const { engine } = clusterOf('c', { engine: { type: 'Etcd' } }).spec;
  const settings = { image: 'raftsman', imagePullPolicy: 'Never' } as const;
  const { image } = profileOf('Etcd');

  test('is that of the version, from where the operator was told, unless the spec names one', () => {
    expect(image(engine, settings)).toBe('quay.io/coreos/etcd:v3.6.8');
    expect(image({ ...engine, version: 'v3.5.35' }, { ...settings, repositories: { Etcd: 'here:5000/etcd' } })).toBe(
      'here:5000/etcd:v3.5.35',
    );
    expect(image({ ...engine, image: 'mine@sha256:0', version: '3.5.35' }, settings)).toBe('mine@sha256:0');
  });

  test.each([
    [{ version: '3.5.35' }, '--experimental-snapshot-catchup-entries=10240'],
    [{ image: 'here:5000/etcd:v3.5.35' }, '--experimental-snapshot-catchup-entries=10240'],
    [{ image: 'here:5000/etcd' }, '--snapshot-catchup-entries=10240'],
    [{ version: '3.6.0', image: 'etcd:v3.5.35' }, '--snapshot-catchup-entries=10240'],
  ])('%j is given %s', (more, expected) => {
    const { spec } = clusterOf('c', { engine: { type: 'Etcd', ...more } });
    const input = { settings, host: 'h', token: 't', config: 'c', disk: 'd', containerSecurityContext: {} };
    expect(profileOf('Etcd').member({ spec, ...input }).container.args).toContain(expected);
  });
});

describe('the last words of etcd', () => {
  const zap = (level: string, msg: string, error?: string) =>
    JSON.stringify({
      level,
      ts: '2026-11-22T09:00:00Z',
      caller: 'a.go:1',
      msg,
      ...(error === undefined ? {} : { error }),
    });

  test.each([
    [undefined, '', undefined],
    ['', '', undefined],
    [`${zap('info', 'closed')}\n`, 'closed', undefined],
    [
      `${zap('fatal', 'discovery failed', 'listen tcp: address already in use')}\n${zap('info', 'closing')}`,
      'discovery failed: listen tcp: address already in use',
      undefined,
    ],
    [
      `"cut off"}\n${zap('panic', 'failed to recover v3 backend from snapshot', 'invalid database')}\npanic: failed\n\ngoroutine 1 [running]:\nmain.main()`,
      'failed to recover v3 backend from snapshot: invalid database',
      'corrupt',
    ],
    [
      `${zap('fatal', 'failed to read WAL, cannot be repaired', 'wal: crc mismatch')}`,
      'failed to read WAL, cannot be repaired: wal: crc mismatch',
      'corrupt',
    ],
    [
      `${zap('fatal', 'failed to open WAL', 'no space left on device')}`,
      'failed to open WAL: no space left on device',
      undefined,
    ],
    [
      `panic: freepages: failed to get all reachable pages\n\ngoroutine 9:\n`,
      'panic: freepages: failed to get all reachable pages',
      'corrupt',
    ],
    // A process that was killed has said nothing of why: what etcd tells at every start is no sign of damage.
    [
      `${zap('info', 'Opening db file (/db) with mode -rw------- and with options: {NoFreelistSync: true}')}\n${zap('warn', 'snap: slow')}`,
      'snap: slow',
      undefined,
    ],
    [
      `${zap('fatal', 'failed to open WAL', 'fileutil: file already locked')}`,
      'failed to open WAL: fileutil: file already locked',
      undefined,
    ],
    ['fatal error: runtime: out of memory\n\ngoroutine 1:', 'fatal error: runtime: out of memory', undefined],
    [
      `${zap('warn', 'the member has been permanently removed from the cluster')}\n${zap('info', 'stopped')}`,
      'the member has been permanently removed from the cluster',
      'removed',
    ],
    [
      '{"level":"info"}\nETCD_DATA_LOST: the disk of c-1 holds no data',
      'ETCD_DATA_LOST: the disk of c-1 holds no data',
      'lost',
    ],
  ])('%j', (message, text, verdict) => {
    expect(crash(message)).toEqual({ text, ...(verdict === undefined ? {} : { verdict }) });
  });

  test('of the tool that restores tell that it was cut short', () => {
    const said = 'Error: data-dir "/var/lib/raftsman/restored" not empty or could not be read';
    expect(crash(said)).toEqual({ text: said, again: true });
  });

  test('are short, however long they were', () => {
    expect(crash(zap('fatal', 'x'.repeat(10_000))).text).toHaveLength(500);
  });
});
