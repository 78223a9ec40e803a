import { version } from '../../version.ts';
import {
  basics,
  dataFolder,
  extraFlags,
  fetching,
  fromConfig,
  memberContainer,
  memberPorts,
  memberResources,
  podName,
  ports,
  probe,
  tlsOf,
} from '../containers.ts';
import type { Crash, EngineProfile, MemberInput, MemberParts } from '../profile.ts';
import { invalidVersion } from '../versions.ts';

const archiveFile = `${dataFolder}/restore.tar.gz`;
/** Flags of `raftsman node` that nothing else in the spec says. */
const freeFlags = ['lease-reads', 'log-format', 'log-level'];

export const embeddedProfile: EngineProfile = {
  type: 'Embedded',
  ports,
  defaultVersion: version,
  reloadsTrust: true,
  image: (engine, settings) => engine.image ?? settings.image,
  problems({ flags = {}, version: wanted }) {
    const wrong = wanted === undefined ? undefined : invalidVersion(wanted);
    return [
      ...Object.keys(flags)
        .filter((name) => !freeFlags.includes(name))
        .map((name) => `spec.engine.flags: ${name} is not for you to set: there are ${freeFlags.join(', ')}`),
      ...(wrong === undefined ? [] : [`spec.engine.version: ${wrong}`]),
    ];
  },
  /** Its members say the version of the API that they speak. Which release they are is a matter of their image. */
  versionChange(_from, to) {
    const problem = invalidVersion(to);
    return problem === undefined ? { kind: 'unknown' } : { kind: 'refused', reason: problem };
  },
  member,
  // Index, term and history come along: the revision is the archive's own.
  quotaBounds: 'sizeInUseBytes',
  restoredRevision: (archive) => archive,
  maxLearners: () => 2,
  crash,
};

function member(input: MemberInput): MemberParts {
  const { spec, settings, host, token, config } = input;
  const { engine, log } = spec;
  const { scheme, flags } = tlsOf(input);
  return {
    container: {
      name: memberContainer,
      image: embeddedProfile.image(engine, settings),
      args: [
        'node',
        '--name=$(POD_NAME)',
        `--data-dir=${dataFolder}`,
        `--listen-client-urls=${scheme}://0.0.0.0:${ports.client}`,
        `--advertise-client-urls=${scheme}://${host}:${ports.client}`,
        `--listen-peer-urls=${scheme}://0.0.0.0:${ports.peer}`,
        `--initial-advertise-peer-urls=${scheme}://${host}:${ports.peer}`,
        `--listen-metrics-urls=http://0.0.0.0:${ports.metrics}`,
        `--initial-cluster-token=${token}`,
        `--heartbeat-interval=${engine.embedded.heartbeatMilliseconds}`,
        `--election-timeout=${engine.embedded.electionMilliseconds}`,
        `--snapshot-count=${log.snapshotThreshold}`,
        `--snapshot-catchup-entries=${log.trailingLogs}`,
        `--snapshot-period=${log.snapshotPeriodSeconds}s`,
        '--max-learners=2',
        ...(engine.quotaBytes === undefined ? [] : [`--quota-backend-bytes=${engine.quotaBytes}`]),
        ...flags,
        ...extraFlags(engine.flags),
      ],
      env: [
        podName,
        fromConfig('RAFTSMAN_INITIAL_CLUSTER', config, 'initial-cluster'),
        fromConfig('RAFTSMAN_INITIAL_CLUSTER_STATE', config, 'initial-cluster-state'),
        // A snapshot's compression and the log's fsyncs share these threads: with the usual 4, one would wait for the other.
        { name: 'UV_THREADPOOL_SIZE', value: '8' },
      ],
      ports: memberPorts,
      // The log is read before a member serves: it may take its time over it, but must show that it lives.
      startupProbe: probe('/livez', { periodSeconds: 1, failureThreshold: 1800 }),
      // Does not ask for a quorum: restarting members that wait for each other would help nobody.
      livenessProbe: probe('/livez', { periodSeconds: 10, failureThreshold: 6, timeoutSeconds: 5 }),
      readinessProbe: probe('/readyz', { periodSeconds: 1, failureThreshold: 3 }),
      resources: spec.podTemplate?.resources ?? memberResources,
      ...basics(input),
    },
    initContainers: [],
    ...(input.archive === undefined
      ? {}
      : {
          restore: {
            args: [`--restore-archive=${archiveFile}`],
            // A pod that starts anew on a disk with data needs no archive, and must not wait for a store that is away.
            initContainers: fetching(input, [`--output=${archiveFile}`, `--unless-exists=${dataFolder}/member`]),
            volumes: input.archive.volumes,
          },
        }),
  };
}

/** Members say one line, `CODE: message`, when they end. */
function crash(message: string | undefined): Crash {
  const text = (message ?? '').trimEnd().split('\n').at(-1)?.trim().slice(0, 500) ?? '';
  const verdict = /\bNODE_DATA_LOST\b/.test(text)
    ? 'lost'
    : /\bNODE_REMOVED\b/.test(text)
      ? 'removed'
      : /\b(NODE_DATA_UNUSABLE|WAL_CORRUPT|WAL_MISSING)\b/.test(text)
        ? 'corrupt'
        : undefined;
  return { text, ...(verdict === undefined ? {} : { verdict }) };
}
