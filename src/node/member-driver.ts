/** What the services ask of a member: answered by its driver, and by whatever knows whom it is connected with. */
import { type MemberId, RaftError } from '../raft/types.ts';
import type { Driver } from './driver.ts';
import type { MemberIdentity } from './identity.ts';
import type { MemberDriver } from './membership.ts';

export function memberDriverOf(
  driver: Driver,
  { clusterId, memberId }: MemberIdentity,
  connected: () => readonly MemberId[],
): MemberDriver {
  return {
    clusterId,
    memberId,
    term: () => driver.term,
    commitIndex: () => driver.commit,
    leaderId: () => driver.leader ?? undefined,
    configuration: () => driver.configuration,
    status: () => driver.status(),
    propose: (data, lost, awaited) => driver.proposals.propose(data, lost, awaited),
    change: (change, lost, awaited) => driver.proposals.propose(change, lost, awaited),
    linearize: () => driver.reads.linearize(),
    transferLeadership: (to) => driver.transfers.handOver(to),
    takeSnapshot: () =>
      driver.snapshots.snapshotter.take().then(
        () => {},
        (error: unknown) => {
          // There is nothing to keep, or it is about to change: no failure of whoever asked for room.
          if (!(error instanceof RaftError && error.code === 'RAFT_SNAPSHOT_REFUSED')) throw error;
        },
      ),
    connected,
  };
}
