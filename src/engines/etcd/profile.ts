import {
  basics,
  dataFolder,
  extraFlags,
  fetching,
  fromConfig,
  memberContainer,
  memberFlags,
  podName,
  ports,
  schemeOf,
  serving,
  smallResources,
  tlsFlags,
} from '../containers.ts';
import type { EngineProfile, Json, MemberInput, MemberParts } from '../profile.ts';
import { compareVersions, parseVersion, type Version } from '../versions.ts';
import { crash } from './crash.ts';
import { flagProblems } from './flags.ts';
import { versionChange } from './upgrades.ts';

/** Where the members' data lie on the disk. A folder of their own, so that a restored one can take the name at once. */
const data = `${dataFolder}/etcd`;
const restored = `${dataFolder}/restored`;
const snapshotFile = `${dataFolder}/restore.db`;

/**
 * Clients that watched the cluster the archive is of must not take the restored one's revisions for those that they know:
 * the revision jumps by more than a cluster can have written since.
 */
export const revisionBump = 1_000_000_000;

/**
 * /livez reads a key, and waits for as long as a defragmentation holds the file. A full one of 8 GiB is read and written in ten
 * minutes at 30 MB/s: that is how long a compaction waits for it, and this is two more.
 */
const silentSeconds = 720;

export const etcdProfile: EngineProfile = {
  type: 'Etcd',
  ports,
  // It reads certificates at every handshake, and --trusted-ca-file only when it starts.
  reloadsTrust: false,
  defaultVersion: '3.6.8',
  image({ image, version }, { repositories }) {
    if (image !== undefined) return image;
    const repository = repositories?.Etcd ?? 'quay.io/coreos/etcd';
    return `${repository}:v${(version ?? etcdProfile.defaultVersion).replace(/^v/, '')}`;
  },
  problems({ flags = {}, version }) {
    const change = version === undefined ? undefined : versionChange(version, version);
    return [
      ...flagProblems(Object.keys(flags)),
      ...(change?.kind === 'refused' ? [`spec.engine.version: ${change.reason}`] : []),
    ];
  },
  versionChange,
  member,
  // etcd 3.5 knows no flag for it.
  maxLearners: (version) => (before(parseVersion(version) ?? parseVersion('3.5.0')!, '3.6.0') ? 1 : 2),
  quotaBounds: 'sizeBytes',
  restoredRevision: (archive) => archive + revisionBump,
  crash,
};

/** The version by which flags are chosen. An image of unknown version is taken for the newest. */
function flagsVersion({ version, image }: MemberInput['spec']['engine']): Version {
  const tagged = image === undefined ? undefined : /:(v?\d[^:@/]*)(@|$)/.exec(image)?.[1];
  return parseVersion(version ?? tagged ?? '') ?? parseVersion(etcdProfile.defaultVersion)!;
}

const before = (version: Version, text: string) => compareVersions(version, parseVersion(text)!) < 0;

function member(input: MemberInput): MemberParts {
  const { settings, config } = input;
  const { engine, log } = input.spec;
  const version = flagsVersion(engine);
  const experimental = before(version, '3.6.0') ? 'experimental-' : '';
  const catchup = `${experimental}snapshot-catchup-entries`;
  // Peers are known by a CA of their own. By default etcd asks DNS as well, which learns of a new pod later than its peers.
  const peers = input.tls === undefined ? [] : [`--${experimental}peer-skip-client-san-verification=true`];
  return {
    container: {
      name: memberContainer,
      image: etcdProfile.image(engine, settings),
      command: ['/usr/local/bin/etcd'],
      args: [
        ...memberFlags(input, data, engine.etcd),
        `--${catchup}=${log.trailingLogs}`,
        ...(engine.quotaBytes === undefined ? [] : [`--quota-backend-bytes=${engine.quotaBytes}`]),
        // The next one may learn before this one votes: for five seconds after that, etcd takes none.
        ...(before(version, '3.6.0') ? [] : ['--max-learners=2']),
        '--logger=zap',
        '--log-outputs=stderr',
        ...tlsFlags(input),
        ...peers,
        ...extraFlags(compared(engine.flags, version)),
      ],
      env: [
        podName,
        // Flags would be in the pod for good; these are read anew whenever the container starts.
        fromConfig('ETCD_INITIAL_CLUSTER', config, 'initial-cluster'),
        fromConfig('ETCD_INITIAL_CLUSTER_STATE', config, 'initial-cluster-state'),
      ],
      // Asks for a linearizable read: what the member serves is caught up.
      ...serving(input, { periodSeconds: 1, failureThreshold: 3, timeoutSeconds: 2 }, silentSeconds),
    },
    initContainers: [preparing(input, 'prepare', [])],
    ...(input.archive === undefined
      ? {}
      : {
          restore: {
            args: [],
            initContainers: [
              ...fetching(
                input,
                ['--extract', `--output=${snapshotFile}`, `--clear=${restored}`],
                [clusterState(config)],
              ),
              restoring(input),
              preparing(input, 'adopt', [`--adopt=${restored}`, `--remove=${snapshotFile}`]),
            ],
            volumes: input.archive.volumes,
          },
        }),
  };
}

/**
 * After each compaction the leader compares what members hold: without that, nobody learns of data that differ. (The check at
 * the start of a member is left out: members that start together wait seven seconds for each other's answer.)
 */
function compared(flags: Readonly<Record<string, string>> = {}, version: Version): Readonly<Record<string, string>> {
  const flag = 'experimental-compact-hash-check-enabled';
  if (flags[flag] !== undefined) return flags;
  if (before(version, '3.6.0')) return { ...flags, [flag]: 'true' };
  const gates = ['CompactHashCheck=true', flags['feature-gates']].filter((each) => each !== undefined);
  return { ...flags, 'feature-gates': gates.join(',') };
}

function clusterState(config: string): Json {
  return fromConfig('RAFTSMAN_INITIAL_CLUSTER_STATE', config, 'initial-cluster-state');
}

/** etcd starts on an empty disk under its old id, with none of what it has acknowledged: this comes before it. */
function preparing(input: MemberInput, name: 'prepare' | 'adopt', flags: readonly string[]): Json {
  const { settings, config, host } = input;
  return {
    name,
    image: settings.image,
    args: ['job', 'prepare', `--data-dir=${data}`, `--metrics=${host}:${ports.metrics}`, ...flags],
    env: [podName, clusterState(config), fromConfig('RAFTSMAN_JOINING', config, 'joining')],
    resources: smallResources,
    ...basics(input),
  };
}

/** By the tool of the very version that the member runs. */
function restoring(input: MemberInput): Json {
  const { spec, settings, host, token, config } = input;
  return {
    name: 'restore',
    image: etcdProfile.image(spec.engine, settings),
    command: ['/usr/local/bin/etcdutl'],
    args: [
      'snapshot',
      'restore',
      snapshotFile,
      '--name=$(POD_NAME)',
      `--data-dir=${restored}`,
      '--initial-cluster=$(INITIAL_CLUSTER)',
      `--initial-cluster-token=${token}`,
      `--initial-advertise-peer-urls=${schemeOf(input)}://${host}:${ports.peer}`,
      `--bump-revision=${revisionBump}`,
      '--mark-compacted',
      // A pod keeps its init containers for life, and runs them again when its node restarts: there is nothing to restore
      // then. The image has no shell to ask; this is the one flag that makes the tool do nothing and succeed.
      '--help=$(FORMED)',
    ],
    env: [podName, fromConfig('INITIAL_CLUSTER', config, 'initial-cluster'), fromConfig('FORMED', config, 'formed')],
    resources: smallResources,
    ...basics(input),
  };
}
