import { version } from '../../version.ts';
import {
  dataFolder,
  extraFlags,
  fetching,
  fromConfig,
  memberContainer,
  memberFlags,
  podName,
  ports,
  serving,
  tlsFlags,
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
  const { settings, config } = input;
  const { engine, log } = input.spec;
  return {
    container: {
      name: memberContainer,
      image: embeddedProfile.image(engine, settings),
      args: [
        'node',
        ...memberFlags(input, dataFolder, engine.embedded),
        `--snapshot-catchup-entries=${log.trailingLogs}`,
        `--snapshot-period=${log.snapshotPeriodSeconds}s`,
        '--max-learners=2',
        ...(engine.quotaBytes === undefined ? [] : [`--quota-backend-bytes=${engine.quotaBytes}`]),
        ...tlsFlags(input),
        ...extraFlags(engine.flags),
      ],
      env: [
        podName,
        fromConfig('RAFTSMAN_INITIAL_CLUSTER', config, 'initial-cluster'),
        fromConfig('RAFTSMAN_INITIAL_CLUSTER_STATE', config, 'initial-cluster-state'),
        // A snapshot's compression and the log's fsyncs share these threads: with the usual 4, one would wait for the other.
        { name: 'UV_THREADPOOL_SIZE', value: '8' },
      ],
      ...serving(input, { periodSeconds: 1, failureThreshold: 3 }, 60),
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
      : // Its disk is empty, and for once nobody can tell whose it was.
        /\b(NODE_DATA_UNUSABLE|WAL_CORRUPT|WAL_MISSING|NODE_NO_ANSWER)\b/.test(text)
        ? 'corrupt'
        : undefined;
  return { text, ...(verdict === undefined ? {} : { verdict }) };
}
