import { describe, expect, test } from '@jest/globals';
import { checkInitialCluster, type NodeOptions, nodeUsage, parseFlags } from '../../src/node/flags.ts';
import { clusterIdOf, identityOf, memberIdOf } from '../../src/node/identity.ts';
import { compareIds } from '../../src/raft/membership.ts';
import { asMemberId } from '../../src/raft/types.ts';

function parsed(argv: string[], environment: NodeJS.ProcessEnv = {}): NodeOptions {
  const result = parseFlags(argv, environment);
  if (result.help) throw new Error('help');
  return result.options;
}

describe('flags', () => {
  test('have etcd’s defaults', () => {
    expect(parsed([])).toMatchObject({
      name: 'default',
      dataDir: 'default.etcd',
      listenClientUrls: ['http://localhost:2379'],
      advertiseClientUrls: ['http://localhost:2379'],
      listenPeerUrls: ['http://localhost:2380'],
      initialCluster: [{ name: 'default', peerUrls: ['http://localhost:2380'] }],
      initialClusterState: 'new',
      initialClusterToken: 'etcd-cluster',
      snapshotCount: 10_000,
      snapshotCatchupEntries: 5000,
      heartbeatMs: 100,
      electionMs: 1000,
      snapshotPeriodMs: 0,
      maxLearners: 1,
      quotaBackendBytes: 2 * 1024 ** 3,
      leaseReads: false,
    });
  });

  test('RS-24 a quota of 0 is etcd’s default, a negative one is none', () => {
    const quotaOf = (text: string): number => parsed([`--quota-backend-bytes=${text}`]).quotaBackendBytes;
    expect(['0', '-1', '8589934592'].map(quotaOf)).toEqual([2147483648, -1, 8589934592]);
    expect(() => quotaOf('2GB')).toThrow('--quota-backend-bytes: "2GB" is not a whole number of bytes');
  });

  test('are taken as --x=y, as --x y and as -x, and the last one wins', () => {
    expect(
      parsed([
        '--name=a',
        '--data-dir',
        '/d',
        '-initial-cluster-token',
        't',
        '--data-dir=/e',
        '--initial-cluster=a=http://localhost:2380',
      ]),
    ).toMatchObject({
      name: 'a',
      dataDir: '/e',
      initialClusterToken: 't',
    });
  });

  test('come from the environment too, and a flag wins over it', () => {
    const environment = { RAFTSMAN_INITIAL_CLUSTER_STATE: 'existing', RAFTSMAN_SNAPSHOT_COUNT: '7' };
    expect(parsed(['--snapshot-count=8'], environment)).toMatchObject({
      initialClusterState: 'existing',
      snapshotCount: 8,
    });
  });

  test('a cluster of three, in any order, with a member at two addresses', () => {
    const { initialCluster } = parsed([
      '--name=b',
      '--initial-advertise-peer-urls=http://b:2380',
      '--initial-cluster=a=http://a:2380,c=http://c:2,b=http://b:2380,c=http://c:1',
    ]);
    expect(initialCluster).toEqual([
      { name: 'a', peerUrls: ['http://a:2380'] },
      { name: 'c', peerUrls: ['http://c:1', 'http://c:2'] },
      { name: 'b', peerUrls: ['http://b:2380'] },
    ]);
  });

  test('durations: HR-32 nothing below five milliseconds', () => {
    expect(parsed(['--snapshot-period=120s']).snapshotPeriodMs).toBe(120_000);
    expect(parsed(['--snapshot-period=2m']).snapshotPeriodMs).toBe(120_000);
    expect(parsed(['--snapshot-period=5ms']).snapshotPeriodMs).toBe(5);
    expect(() => parsed(['--snapshot-period=4ms'])).toThrow(/--snapshot-period: 4ms is less than 5ms/);
    expect(() => parsed(['--snapshot-period=3'])).toThrow(/is not a duration/);
  });

  test.each([
    [['--nope=1'], 'NODE_FLAG_UNKNOWN', /unknown flag --nope/],
    [['stray'], 'NODE_FLAG_UNKNOWN', /unexpected argument "stray"/],
    [['--name'], 'NODE_FLAG_INVALID', /--name: needs a value/],
    [['--name=a b'], 'NODE_FLAG_INVALID', /--name: "a b" must be one word/],
    [['--lease-reads=perhaps'], 'NODE_FLAG_INVALID', /--lease-reads: "perhaps" must be true or false/],
    [['--max-learners=-1'], 'NODE_FLAG_INVALID', /--max-learners/],
    [
      ['--name=x', '--initial-cluster=y=http://localhost:2380'],
      'NODE_FLAG_INVALID',
      /--initial-cluster: does not contain this member’s name "x"/,
    ],
    [
      ['--initial-cluster=default=http://elsewhere:1'],
      'NODE_FLAG_INVALID',
      /--initial-cluster: has default at http:\/\/elsewhere:1/,
    ],
    [['--initial-cluster=default'], 'NODE_FLAG_INVALID', /is not NAME=URL/],
    [
      ['--name=a', '--initial-cluster=a=http://localhost:2380,b=http://localhost:2380'],
      'NODE_FLAG_INVALID',
      /is given for a and for b/,
    ],
    [['--listen-peer-urls=localhost:2380'], 'NODE_FLAG_INVALID', /--listen-peer-urls/],
    [['--listen-peer-urls=ftp://localhost:2380'], 'NODE_FLAG_INVALID', /only http and https/],
    [['--listen-metrics-urls=https://localhost:2381'], 'NODE_FLAG_INVALID', /--listen-metrics-urls: .* http only/],
    [
      ['--listen-peer-urls=https://localhost:2380'],
      'NODE_FLAG_INVALID',
      /--peer-cert-file: must be given, and --peer-key-file: --listen-peer-urls has https/,
    ],
    [['--cert-file=c'], 'NODE_FLAG_INVALID', /--key-file: must be given when --cert-file is/],
    [['--peer-key-file=k'], 'NODE_FLAG_INVALID', /--peer-cert-file: must be given when --peer-key-file is/],
    [
      ['--client-cert-auth'],
      'NODE_FLAG_INVALID',
      /--trusted-ca-file: must be given when --client-cert-auth is: it says whose/,
    ],
    [
      ['--cert-file=c', '--key-file=k'],
      'NODE_FLAG_INVALID',
      /--listen-client-urls: http:\/\/localhost:2379 is not secured, but --cert-file is given: listen at https/,
    ],
    [
      [
        '--listen-client-urls=https://h:1,http://h:2',
        '--advertise-client-urls=https://h:1',
        '--cert-file=c',
        '--key-file=k',
        '--trusted-ca-file=a',
      ],
      'NODE_FLAG_INVALID',
      /--listen-client-urls: http:\/\/h:2 is not secured, but --trusted-ca-file is given/,
    ],
    [
      ['--peer-cert-allowed-cn=m', '--listen-peer-urls=https://h:1', '--peer-cert-file=c', '--peer-key-file=k'],
      'NODE_FLAG_INVALID',
      /--peer-trusted-ca-file: must be given when only certificates for m are allowed/,
    ],
    [['--client-cert-auth=perhaps'], 'NODE_FLAG_INVALID', /--client-cert-auth: "perhaps" must be true or false/],
    [['--listen-peer-urls=http://localhost'], 'NODE_FLAG_INVALID', /needs a port/],
    [['--listen-peer-urls=http://localhost:1/x'], 'NODE_FLAG_INVALID', /nothing more/],
    [['--listen-client-urls=http://0.0.0.0:2379'], 'NODE_FLAG_INVALID', /--advertise-client-urls: must be given/],
    [['--initial-cluster-state=old'], 'NODE_FLAG_INVALID', /must be new or existing/],
    [['--snapshot-count=0'], 'NODE_FLAG_INVALID', /--snapshot-count: "0" is not a whole number from 1 up/],
    [['--snapshot-count=-5'], 'NODE_FLAG_INVALID', /--snapshot-count/],
    [['--heartbeat-interval=300'], 'NODE_FLAG_INVALID', /--election-timeout: 1000 must be at least five times/],
    [
      ['--election-timeout=60000'],
      'NODE_FLAG_INVALID',
      /--election-timeout: "60000" is not a whole number from 1 to 50000/,
    ],
  ])('%j is refused with the flag’s name', (argv, code, message) => {
    const refused = (): unknown => checkInitialCluster(parsed(argv as string[]));
    expect(refused).toThrow(message);
    expect(refused).toThrow(expect.objectContaining({ code, exitCode: 2 }));
  });

  test('certificates: one set for clients and one for members; authorities that are given are asked for, as in etcd', () => {
    const urls = ['--listen-client-urls=https://h:1,http://h:2', '--advertise-client-urls=https://h:1'];
    const files = ['--cert-file=c', '--key-file=k'];
    expect(parsed([])).toMatchObject({ clientTls: undefined, peerTls: undefined });
    expect(parsed([...urls, ...files])).toMatchObject({
      clientTls: { use: 'client', certFile: 'c', keyFile: 'k', trustedCaFile: undefined, clientCertAuth: false },
      peerTls: undefined,
    });
    const environment = {
      RAFTSMAN_PEER_CERT_FILE: 'c',
      RAFTSMAN_PEER_KEY_FILE: 'k',
      RAFTSMAN_PEER_TRUSTED_CA_FILE: 'a',
    };
    expect(parsed(['--listen-peer-urls=https://h:3', '--peer-cert-allowed-cn=x, y'], environment).peerTls).toEqual({
      use: 'peer',
      certFile: 'c',
      keyFile: 'k',
      trustedCaFile: 'a',
      clientCertAuth: true,
      allowedCommonNames: ['x', 'y'],
      allowedHostnames: [],
    });
  });

  test('a switch needs no value, and takes one', () => {
    const peer = ['--listen-peer-urls=https://h:3', '--peer-cert-file=c', '--peer-key-file=k'];
    const auth = (...more: string[]) => parsed([...peer, '--peer-trusted-ca-file=a', ...more]);
    expect(auth('--peer-client-cert-auth', '--name=x', '--initial-cluster=x=https://h:3').name).toBe('x');
    expect(auth('--peer-client-cert-auth', '--lease-reads', 'true').leaseReads).toBe(true);
    expect(auth('--lease-reads', '--peer-client-cert-auth=true').leaseReads).toBe(true);
  });

  test('GR-05 a member without a name does not come to be', () => {
    const blank = (): unknown => parsed(['--name=']);
    expect(blank).toThrow(/--name: "" must be one word/);
    expect(blank).toThrow(expect.objectContaining({ code: 'NODE_FLAG_INVALID', exitCode: 2 }));
  });

  test('of the cluster’s beginning may name members that have not started, as etcdctl prints them', () => {
    const options = parsed(['--initial-cluster==http://h:1,default=http://localhost:2380']);
    expect(options.initialCluster).toEqual([
      { name: '', peerUrls: ['http://h:1'] },
      { name: 'default', peerUrls: ['http://localhost:2380'] },
    ]);
    expect(() => checkInitialCluster(options)).not.toThrow();
  });

  test('--help lists every flag', () => {
    expect(parseFlags(['--help'], {})).toEqual({ help: true });
    expect(nodeUsage()).toMatch(/--restore-archive FILE[\s\S]*--log-level/);
  });
});

describe('identity', () => {
  test('of a default member is etcd’s: the ids that its documentation shows', () => {
    const { clusterId, memberId } = identityOf(parsed([]));
    expect([memberId, clusterId]).toEqual(['8e9e05c52164694d', 'cdf818194e3a8c32']);
  });

  test('depends on addresses and token, not on names or order', () => {
    const cluster = (order: string, token: string) =>
      identityOf(
        parsed([
          '--name=a',
          '--initial-advertise-peer-urls=http://h:1',
          `--initial-cluster=${order}`,
          `--initial-cluster-token=${token}`,
        ]),
      ).clusterId;
    const one = cluster('a=http://h:1,b=http://h:2', 't');
    expect(cluster('b=http://h:2,a=http://h:1', 't')).toBe(one);
    expect(cluster('a=http://h:1,x=http://h:2', 't')).toBe(one);
    expect(cluster('a=http://h:1,b=http://h:2', 'u')).not.toBe(one);
  });

  test('ids are ordered as the numbers that they are', () => {
    const ids = ['ff', '1', '10', '8e9e05c52164694d'].map(asMemberId);
    expect([...ids].sort(compareIds)).toEqual(['1', '10', 'ff', '8e9e05c52164694d']);
    expect(clusterIdOf(ids)).toBe(clusterIdOf([...ids].reverse()));
    expect(memberIdOf(['http://b', 'http://a'], '')).toBe(memberIdOf(['http://a', 'http://b'], ''));
  });
});
