/** A member's flags: etcd's names, defaults and rules, and a few of ours. Every flag also from `RAFTSMAN_<FLAG>`. */

import { NodeError, wrongFlag as wrong } from './errors.ts';
import { defaultQuotaBytes } from './quota.ts';
import { type TlsFiles, tlsFilesOf, tlsFlags } from './tls-flags.ts';
import { isSecure, parseUrls } from './urls.ts';

export interface InitialMember {
  readonly name: string;
  readonly peerUrls: readonly string[];
}

export interface NodeOptions {
  readonly name: string;
  readonly dataDir: string;
  readonly listenClientUrls: readonly string[];
  readonly advertiseClientUrls: readonly string[];
  readonly listenPeerUrls: readonly string[];
  readonly initialAdvertisePeerUrls: readonly string[];
  readonly listenMetricsUrls: readonly string[];
  readonly clientTls: TlsFiles | undefined;
  readonly peerTls: TlsFiles | undefined;
  /** Checked by `checkInitialCluster` when it is needed: once there is data it is not looked at. */
  readonly initialCluster: readonly InitialMember[];
  readonly initialClusterState: 'new' | 'existing';
  readonly initialClusterToken: string;
  /** Entries in the log since the last snapshot that make one due. */
  readonly snapshotCount: number;
  /** Entries kept behind a snapshot for members that lag. */
  readonly snapshotCatchupEntries: number;
  /** Milliseconds between checks whether a snapshot is due; 0: whenever entries were applied. */
  readonly snapshotPeriodMs: number;
  readonly heartbeatMs: number;
  readonly electionMs: number;
  readonly maxLearners: number;
  /** Of the state, history included; negative: no quota. */
  readonly quotaBackendBytes: number;
  /** Answer reads without a round while a quorum's last answers are fresh enough: trusts the members' clocks. */
  readonly leaseReads: boolean;
  readonly restoreArchive: string | undefined;
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error';
  readonly logFormat: 'json' | 'text';
}

export type ParsedFlags = { readonly help: true } | { readonly help: false; readonly options: NodeOptions };

interface Flag {
  readonly value: string;
  readonly default: string;
  readonly help: string;
}

const flags = {
  name: { value: 'NAME', default: 'default', help: 'name of this member' },
  'data-dir': { value: 'DIR', default: '<name>.etcd', help: 'folder that holds all of this member’s data' },
  'listen-client-urls': {
    value: 'URLS',
    default: 'http://localhost:2379',
    help: 'where clients (gRPC) are listened to',
  },
  'advertise-client-urls': { value: 'URLS', default: 'http://localhost:2379', help: 'where clients reach this member' },
  'listen-peer-urls': {
    value: 'URLS',
    default: 'http://localhost:2380',
    help: 'where the other members are listened to',
  },
  'initial-advertise-peer-urls': {
    value: 'URLS',
    default: 'http://localhost:2380',
    help: 'where the other members reach this one',
  },
  'listen-metrics-urls': {
    value: 'URLS',
    default: '',
    help: 'where /health, /readyz, /livez, /metrics and /version are served, and POST /snapshot takes a snapshot',
  },
  'initial-cluster': {
    value: 'NAME=URL,…',
    default: '<name>=<initial-advertise-peer-urls>',
    help: 'all members of the cluster at its beginning',
  },
  'initial-cluster-state': {
    value: 'new|existing',
    default: 'new',
    help: 'existing: the cluster has formed; a member without data joins it, if it was added and has not started before',
  },
  'initial-cluster-token': { value: 'TOKEN', default: 'etcd-cluster', help: 'tells clusters with equal members apart' },
  'snapshot-count': {
    value: 'N',
    default: '10000',
    help: 'entries since the last snapshot that make the next one due: at least so many in the log by the period, more than so many applied without',
  },
  'snapshot-catchup-entries': {
    value: 'N',
    default: '5000',
    help: 'entries kept behind a snapshot for members that lag',
  },
  'snapshot-period': {
    value: 'DURATION',
    default: '0s',
    help: 'time between checks whether a snapshot is due, drawn from one to two periods; 0s: after every batch',
  },
  'heartbeat-interval': { value: 'MS', default: '100', help: 'milliseconds between a leader’s heartbeats' },
  'election-timeout': { value: 'MS', default: '1000', help: 'milliseconds without a leader before an election' },
  ...tlsFlags,
  'max-learners': { value: 'N', default: '1', help: 'learners that may be added at once' },
  'quota-backend-bytes': {
    value: 'BYTES',
    default: '0',
    help: 'size of the state beyond which puts are refused until space is made; 0: 2 GiB, negative: no quota',
  },
  'lease-reads': {
    value: 'true|false',
    default: 'false',
    help: 'read without asking a quorum while its last answers are fresh: faster, and stale when clocks run at different speeds',
  },
  'restore-archive': {
    value: 'FILE',
    default: '',
    help: 'a snapshot archive that a new cluster begins with; ignored once there is data',
  },
  'log-level': { value: 'LEVEL', default: 'info', help: 'debug, info, warn or error' },
  'log-format': { value: 'json|text', default: 'json', help: 'how log lines are written' },
} as const satisfies Record<string, Flag>;

type FlagName = keyof typeof flags;

export const nodeUsage = (): string =>
  [
    'usage: raftsman node [--flag=value …]',
    '',
    'Runs one member of a cluster. Flags are etcd’s where etcd has them; each is also read from RAFTSMAN_<FLAG_WITH_UNDERSCORES>.',
    '',
    ...Object.entries<Flag>(flags).map(
      ([name, flag]) =>
        `  --${name} ${flag.value}\n        ${flag.help}${flag.default === '' ? '' : ` (default ${flag.default})`}`,
    ),
    '',
  ].join('\n');

/** May be given without a value, as in Go. */
const isSwitch = (name: string): boolean => flags[name as FlagName].value === 'true|false';

export function parseFlags(argv: readonly string[], environment: NodeJS.ProcessEnv): ParsedFlags {
  const given = new Map<string, string>();
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!;
    if (word === '--help' || word === '-h') return { help: true };
    const match = /^--?([a-z][a-z-]*)(?:=(.*))?$/s.exec(word);
    if (!match)
      throw new NodeError(
        'NODE_FLAG_UNKNOWN',
        `unexpected argument ${JSON.stringify(word)}: flags are --name=value`,
        2,
      );
    const name = match[1]!;
    if (!(name in flags)) {
      throw new NodeError('NODE_FLAG_UNKNOWN', `unknown flag --${name} (raftsman node --help lists all flags)`, 2);
    }
    let value = match[2];
    if (value === undefined) {
      const next = argv[i + 1];
      if (isSwitch(name) && next !== 'true' && next !== 'false') value = 'true';
      else if (next === undefined) throw wrong(name, 'needs a value');
      else {
        value = next;
        i++;
      }
    }
    given.set(name, value);
  }
  const read = (name: FlagName): string | undefined =>
    given.get(name) ?? environment[`RAFTSMAN_${name.toUpperCase().replaceAll('-', '_')}`];
  return { help: false, options: toOptions(read) };
}

function toOptions(read: (name: FlagName) => string | undefined): NodeOptions {
  const text = (name: FlagName): string => read(name) ?? flags[name].default;
  const name = text('name');
  if (!/^[^\s,=]+$/.test(name))
    throw wrong('name', `${JSON.stringify(name)} must be one word without comma or equals sign`);
  const peerUrls = parseUrls('initial-advertise-peer-urls', text('initial-advertise-peer-urls'));
  const initialCluster = parseInitialCluster(
    read('initial-cluster') ?? peerUrls.map((url) => `${name}=${url}`).join(','),
  );
  if (read('listen-client-urls') !== undefined && read('advertise-client-urls') === undefined) {
    throw wrong('advertise-client-urls', 'must be given when --listen-client-urls is');
  }
  const heartbeatMs = whole('heartbeat-interval', text('heartbeat-interval'), 1, 10_000);
  const electionMs = whole('election-timeout', text('election-timeout'), 1, 50_000);
  if (electionMs < 5 * heartbeatMs) {
    throw wrong('election-timeout', `${electionMs} must be at least five times --heartbeat-interval (${heartbeatMs})`);
  }
  const restoreArchive = text('restore-archive');
  const listenClientUrls = parseUrls('listen-client-urls', text('listen-client-urls'));
  const listenPeerUrls = parseUrls('listen-peer-urls', text('listen-peer-urls'));
  const listenMetricsUrls =
    text('listen-metrics-urls') === '' ? [] : parseUrls('listen-metrics-urls', text('listen-metrics-urls'));
  const secret = listenMetricsUrls.find(isSecure);
  if (secret !== undefined)
    throw wrong('listen-metrics-urls', `${secret}: metrics and health are served with http only`);
  const on = (name: FlagName): boolean => oneOf(name, text(name), ['true', 'false']) === 'true';
  return {
    name,
    dataDir: read('data-dir') ?? `${name}.etcd`,
    listenClientUrls,
    advertiseClientUrls: parseUrls('advertise-client-urls', text('advertise-client-urls')),
    listenPeerUrls,
    initialAdvertisePeerUrls: peerUrls,
    listenMetricsUrls,
    clientTls: tlsFilesOf('client', text, on, listenClientUrls),
    peerTls: tlsFilesOf('peer', text, on, listenPeerUrls),
    initialCluster,
    initialClusterState: oneOf('initial-cluster-state', text('initial-cluster-state'), ['new', 'existing']),
    initialClusterToken: text('initial-cluster-token'),
    snapshotCount: whole('snapshot-count', text('snapshot-count'), 1, Number.MAX_SAFE_INTEGER),
    snapshotCatchupEntries: whole(
      'snapshot-catchup-entries',
      text('snapshot-catchup-entries'),
      0,
      Number.MAX_SAFE_INTEGER,
    ),
    snapshotPeriodMs: duration('snapshot-period', text('snapshot-period')),
    heartbeatMs,
    electionMs,
    maxLearners: whole('max-learners', text('max-learners'), 0, 1000),
    quotaBackendBytes: quota('quota-backend-bytes', text('quota-backend-bytes')),
    leaseReads: on('lease-reads'),
    restoreArchive: restoreArchive === '' ? undefined : restoreArchive,
    logLevel: oneOf('log-level', text('log-level'), ['debug', 'info', 'warn', 'error']),
    logFormat: oneOf('log-format', text('log-format'), ['json', 'text']),
  };
}

/** Throws what `parseFlags` does. For a member without data: one that has some knows better. */
export function checkInitialCluster({ name, initialCluster, initialAdvertisePeerUrls: peerUrls }: NodeOptions): void {
  const self = initialCluster.find((member) => member.name === name);
  if (!self) throw wrong('initial-cluster', `does not contain this member’s name ${JSON.stringify(name)}`);
  if (self.peerUrls.join() === [...peerUrls].sort().join()) return;
  throw wrong(
    'initial-cluster',
    `has ${name} at ${self.peerUrls.join(',')}, but --initial-advertise-peer-urls is ${peerUrls.join(',')}`,
  );
}

function parseInitialCluster(text: string): InitialMember[] {
  const members = new Map<string, string[]>();
  for (const part of text.split(',')) {
    const at = part.indexOf('=');
    // etcdctl prints members that have not started without a name.
    if (at < 0) throw wrong('initial-cluster', `${JSON.stringify(part)} is not NAME=URL`);
    const name = part.slice(0, at).trim();
    members.set(name, [...(members.get(name) ?? []), ...parseUrls('initial-cluster', part.slice(at + 1))]);
  }
  const seen = new Map<string, string>();
  for (const [name, peerUrls] of members) {
    for (const url of peerUrls) {
      const other = seen.get(url);
      if (other !== undefined) throw wrong('initial-cluster', `${url} is given for ${other} and for ${name}`);
      seen.set(url, name);
    }
  }
  return [...members].map(([name, peerUrls]) => ({ name, peerUrls: peerUrls.sort() }));
}

function whole(flag: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) {
    throw wrong(
      flag,
      `${JSON.stringify(text)} is not a whole number from ${least}${most < Number.MAX_SAFE_INTEGER ? ` to ${most}` : ' up'}`,
    );
  }
  return value;
}

function quota(flag: string, text: string): number {
  const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw wrong(flag, `${JSON.stringify(text)} is not a whole number of bytes`);
  return value === 0 ? defaultQuotaBytes : value;
}

function duration(flag: string, text: string): number {
  const match = /^(\d+)(ms|s|m|h)?$/.exec(text);
  if (!match || (match[2] === undefined && match[1] !== '0'))
    throw wrong(flag, `${JSON.stringify(text)} is not a duration such as 120s`);
  const value =
    Number(match[1]) * { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[(match[2] ?? 's') as 'ms' | 's' | 'm' | 'h'];
  // HR-32.
  if (value > 0 && value < 5) throw wrong(flag, `${text} is less than 5ms`);
  if (value > 2 ** 30) throw wrong(flag, `${text} is more than twelve days`);
  return value;
}

function oneOf<const T extends string>(flag: string, text: string, allowed: readonly T[]): T {
  const found = allowed.find((value) => value === text);
  if (found === undefined) throw wrong(flag, `${JSON.stringify(text)} must be ${allowed.join(' or ')}`);
  return found;
}
