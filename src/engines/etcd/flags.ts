/** Flags of etcd that `spec.engine.flags` may not have, because something else says them or because they lose data. Pure. */

/** What to use instead, where there is something. */
const owned: Readonly<Record<string, string>> = {
  name: '',
  'data-dir': '',
  'wal-dir': '',
  'listen-client-urls': '',
  'listen-client-http-urls': '',
  'advertise-client-urls': '',
  'listen-peer-urls': '',
  'initial-advertise-peer-urls': '',
  'listen-metrics-urls': '',
  'initial-cluster': '',
  'initial-cluster-state': '',
  'initial-cluster-token': '',
  'heartbeat-interval': 'spec.engine.etcd.heartbeatMilliseconds',
  'election-timeout': 'spec.engine.etcd.electionMilliseconds',
  'quota-backend-bytes': 'spec.engine.quotaBytes',
  'snapshot-count': 'spec.log.snapshotThreshold',
  'snapshot-catchup-entries': 'spec.log.trailingLogs',
  'experimental-snapshot-catchup-entries': 'spec.log.trailingLogs',
  'cert-file': 'spec.tls',
  'key-file': 'spec.tls',
  'trusted-ca-file': 'spec.tls',
  'client-cert-auth': 'spec.tls',
  'client-cert-file': 'spec.tls',
  'client-key-file': 'spec.tls',
  'auto-tls': 'spec.tls',
  'peer-cert-file': 'spec.tls',
  'peer-key-file': 'spec.tls',
  'peer-trusted-ca-file': 'spec.tls',
  'peer-client-cert-auth': 'spec.tls',
  'peer-client-cert-file': 'spec.tls',
  'peer-client-key-file': 'spec.tls',
  'peer-auto-tls': 'spec.tls',
  'peer-skip-client-san-verification': 'spec.tls',
  'experimental-peer-skip-client-san-verification': 'spec.tls',
  'max-learners': '',
  logger: '',
  'log-outputs': '',
  'log-format': '',
  'config-file': '',
  version: 'spec.engine.version',
  help: '',
  h: '',
};

const dangerous: Readonly<Record<string, string>> = {
  'force-new-cluster': 'it would make each member a cluster of its own',
  'unsafe-no-fsync': 'acknowledged writes would be lost with the power',
  'strict-reconfig-check': 'it guards the quorum when members come and go',
};

export function flagProblems(names: readonly string[]): string[] {
  return names.flatMap((name) => {
    const problem = problemOf(name);
    return problem === undefined ? [] : `spec.engine.flags: ${problem}`;
  });
}

function problemOf(name: string): string | undefined {
  if (!/^[a-z][a-z0-9-]{0,127}$/.test(name))
    return `"${name}" is not the name of a flag: write it without dashes before it, such as max-request-bytes`;
  const danger = dangerous[name];
  if (danger !== undefined) return `${name} is refused: ${danger}`;
  if (/^(discovery|proxy)/.test(name)) return `${name} is refused: the operator tells members who they are with`;
  const instead = owned[name];
  if (instead === undefined) return undefined;
  return `${name} is set by the operator: ${instead === '' ? 'leave it out' : `use ${instead}`}`;
}
