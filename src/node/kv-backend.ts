/** The etcd services of one member: reads from its state, changes through its log. */
import { status } from '@grpc/grpc-js';
import { EtcdError, etcdError } from '../etcd/errors.ts';
import { type AlarmMember, AlarmRequest_AlarmAction, AlarmType, type ResponseHeader } from '../etcd/gen/rpc.ts';
import { decimalId, hexId } from '../etcd/ids.ts';
import type { EtcdBackend } from '../etcd/server.ts';
import type { Snapshot } from '../mvcc/types.ts';
import { asMemberId, type MemberId } from '../raft/types.ts';
import { version as raftsmanVersion } from '../version.ts';
import type { KeyValues } from './kv.ts';
import { refusal } from './kv-errors.ts';
import {
  deleteResponse,
  isReadOnly,
  isSerializable,
  putResponse,
  rangeOperation,
  rangeResponse,
  txnOperation,
  txnResponse,
} from './kv-messages.ts';
import type { MemberDriver, Membership } from './membership.ts';
import { putCost, type Quota, txnCost } from './quota.ts';

/**
 * `Maintenance.Status.version`, which etcdctl prints and clients compare: the version of the etcd API that is spoken, not
 * Raftsman's own. The same for `storageVersion`, whose format is ours alone.
 */
export const etcdApiVersion = '3.6.0';

/** Performs a local read, with the state's refusals in the protocol's words. */
function reading<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw refusal(error);
  }
}

const memberId = (decimal: string): MemberId => asMemberId(hexId(decimal));

const noSpace = (member: MemberId): AlarmMember => ({ memberID: decimalId(member), alarm: AlarmType.NOSPACE });

export function createBackend(
  keyValues: KeyValues,
  driver: MemberDriver,
  membership: Membership,
  quota: Quota,
): EtcdBackend {
  const clusterId = decimalId(driver.clusterId);
  const self = decimalId(driver.memberId);
  const header = (revision: number): ResponseHeader => ({
    clusterId,
    memberId: self,
    revision,
    raftTerm: driver.term(),
  });
  /** etcd's learners answer nothing but serializable reads, status and snapshots. */
  const expectVoter = (): void => {
    if (membership.isLearner) throw etcdError('ETCD_NOT_SUPPORTED_FOR_LEARNER');
  };
  // The header of what concerns members names no revision: it does not touch the keys.
  const members = () => ({ header: header(0), members: membership.list() });
  const alarms = (): AlarmMember[] => {
    const raised = new Set(keyValues.alarms.members);
    if (quota.isStuck) raised.add(driver.memberId);
    return [...raised].sort().map(noSpace);
  };

  return {
    async range(request) {
      if (!request.serializable) {
        expectVoter();
        await driver.linearize();
      }
      const result = reading(() => keyValues.store.range(rangeOperation(request)));
      return rangeResponse(header(result.revision), result);
    },

    put({ message, bytes }) {
      expectVoter();
      const propose = () =>
        keyValues.propose(driver, 'put', message, bytes).then((result) => putResponse(header(result.revision), result));
      return quota.admit(putCost(message))?.then(propose) ?? propose();
    },

    async deleteRange({ message, bytes }) {
      expectVoter();
      const result = await keyValues.propose(driver, 'deleteRange', message, bytes);
      return deleteResponse(header(result.revision), result);
    },

    async txn({ message, bytes }) {
      expectVoter();
      if (!isReadOnly(message)) {
        await quota.admit(txnCost(message));
        const result = await keyValues.propose(driver, 'txn', message, bytes);
        return txnResponse(header(result.revision), result);
      }
      if (!isSerializable(message)) await driver.linearize();
      const result = reading(() => keyValues.store.txn(txnOperation(message)));
      return txnResponse(header(result.revision), result);
    },

    async compact({ message, bytes }) {
      expectVoter();
      const { revision, swept } = await keyValues.propose(driver, 'compact', message, bytes);
      if (message.physical) await swept;
      return { header: header(revision) };
    },

    async memberList({ linearizable }) {
      expectVoter();
      if (linearizable) await driver.linearize();
      return members();
    },

    async memberAdd({ peerURLs, isLearner }) {
      expectVoter();
      const id = decimalId(await membership.add(peerURLs, isLearner));
      const answer = members();
      return { ...answer, member: answer.members.find(({ ID }) => ID === id) };
    },

    async memberRemove({ ID }) {
      expectVoter();
      await membership.remove(memberId(ID));
      return members();
    },

    async memberUpdate({ ID, peerURLs }) {
      expectVoter();
      await membership.update(memberId(ID), peerURLs);
      return members();
    },

    async memberPromote({ ID }) {
      expectVoter();
      await membership.promote(memberId(ID));
      return members();
    },

    async moveLeader({ targetID }) {
      expectVoter();
      await membership.moveLeader(memberId(targetID));
      return { header: header(keyValues.revision) };
    },

    async alarm({ action, memberID, alarm }) {
      expectVoter();
      const answer = (found: AlarmMember[]) => ({ header: header(keyValues.revision), alarms: found });
      switch (action) {
        case AlarmRequest_AlarmAction.GET:
          await driver.linearize();
          return answer(alarm === AlarmType.CORRUPT ? [] : alarms());
        case AlarmRequest_AlarmAction.ACTIVATE:
          if (alarm === AlarmType.NONE) return answer([]);
          if (alarm === AlarmType.CORRUPT) {
            const why = 'raftsman: the only alarm that can be raised is NOSPACE';
            throw new EtcdError('ETCD_UNIMPLEMENTED', status.UNIMPLEMENTED, why);
          }
          await keyValues.alarm(driver, { type: 'raise', memberId: memberId(memberID), cause: 'quota' });
          return answer([noSpace(memberId(memberID))]);
        case AlarmRequest_AlarmAction.DEACTIVATE: {
          if (alarm !== AlarmType.NOSPACE) return answer([]);
          const wasRaised = await keyValues.alarm(driver, { type: 'disarm', memberId: memberId(memberID) });
          return answer(wasRaised ? [noSpace(memberId(memberID))] : []);
        }
      }
    },

    async defragment() {
      expectVoter();
      await keyValues.repack();
      await driver.takeSnapshot();
      return { header: undefined };
    },

    async status() {
      const leader = driver.leaderId();
      return {
        header: header(keyValues.revision),
        version: etcdApiVersion,
        storageVersion: etcdApiVersion,
        // etcd's file is never empty, and etcdctl divides by its size.
        dbSize: Math.max(1, keyValues.heldBytes),
        dbSizeInUse: Math.max(1, keyValues.sizeBytes),
        dbSizeQuota: quota.bytes,
        leader: leader === undefined ? '0' : decimalId(leader),
        raftIndex: driver.commitIndex(),
        raftTerm: driver.term(),
        raftAppliedIndex: keyValues.appliedIndex,
        errors: [
          ...(leader === undefined ? [etcdError('ETCD_NO_LEADER').message] : []),
          // As protobuf prints the message, which is what etcd does.
          ...alarms().map(({ memberID }) => `memberID:${memberID} alarm:NOSPACE `),
        ],
        isLearner: membership.isLearner,
      };
    },

    async hashKv({ revision }) {
      expectVoter();
      const result = await keyValues.hash(revision);
      return { header: header(keyValues.revision), ...result };
    },

    async snapshot() {
      const snapshot = keyValues.snapshot();
      const { index, term, revision, sizeBytes } = snapshot.header;
      const { configuration } = membership;
      return {
        metadata: {
          index,
          term,
          revision,
          configuration: configuration.members,
          configurationIndex: configuration.index,
          clusterId: driver.clusterId,
          engineVersion: raftsmanVersion,
        },
        sizeBytes,
        slices: slicesOf(snapshot),
      };
    },
  };
}

/** Gives the view back when the stream has ended, however it ended (HR-24). */
function* slicesOf(snapshot: Snapshot): Generator<Uint8Array> {
  try {
    yield* snapshot.slices();
  } finally {
    snapshot.release();
  }
}
