/**
 * One candidate as a process of its own, which a test can stop (SIGSTOP) and wake. It prints the machine's forward-only
 * clock in nanoseconds every few milliseconds while it leads, and ends with 3 when it lost the lease.
 */
import { writeSync } from 'node:fs';
import { createClient } from '../../src/kube/client.ts';
import { connect } from '../../src/kube/connection.ts';
import { createElection, LeadershipLostError } from '../../src/kube/lease.ts';
import { createLog } from '../../src/log.ts';

const [kubeconfig = '', namespace = '', identity = ''] = process.argv.slice(2);
const client = createClient(await connect({ kubeconfig }));
const election = createElection({
  client,
  log: createLog({ write: () => {} }),
  namespace,
  name: 'election',
  identity,
  leaseDurationMs: 2_000,
  renewDeadlineMs: 1_000,
  retryPeriodMs: 200,
});
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
const telling = setInterval(() => {
  if (election.leading) writeSync(1, `${process.hrtime.bigint()}\n`);
}, 2);
try {
  await election.run(stop.signal, (signal) => new Promise((end) => signal.addEventListener('abort', () => end())));
  process.exitCode = 0;
} catch (error) {
  process.exitCode = error instanceof LeadershipLostError ? 3 : 1;
} finally {
  clearInterval(telling);
  client.close();
}
