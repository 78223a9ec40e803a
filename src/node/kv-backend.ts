/** The etcd services of one member: reads from its state, changes through its log. */
import { status } from '@grpc/grpc-js';
import { EtcdError, etcdError } from '../etcd/errors.ts';
import type { ResponseHeader } from '../etcd/gen/rpc.ts';
import { decimalId } from '../etcd/ids.ts';
import type { EtcdBackend } from '../etcd/server.ts';
import type { Snapshot } from '../mvcc/types.ts';
import { version as raftsmanVersion } from '../version.ts';
import type { KeyValues, MemberDriver } from './kv.ts';
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

export function createBackend(keyValues: KeyValues, driver: MemberDriver): EtcdBackend {
  const clusterId = decimalId(driver.clusterId);
  const memberId = decimalId(driver.memberId);
  const header = (revision: number): ResponseHeader => ({ clusterId, memberId, revision, raftTerm: driver.term() });

  return {
    async range(request) {
      if (!request.serializable) await driver.linearize();
      const result = reading(() => keyValues.store.range(rangeOperation(request)));
      return rangeResponse(header(result.revision), result);
    },

    put({ message, bytes }) {
      return keyValues
        .propose(driver, 'put', message, bytes)
        .then((result) => putResponse(header(result.revision), result));
    },

    async deleteRange({ message, bytes }) {
      const result = await keyValues.propose(driver, 'deleteRange', message, bytes);
      return deleteResponse(header(result.revision), result);
    },

    async txn({ message, bytes }) {
      if (!isReadOnly(message)) {
        const result = await keyValues.propose(driver, 'txn', message, bytes);
        return txnResponse(header(result.revision), result);
      }
      if (!isSerializable(message)) await driver.linearize();
      const result = reading(() => keyValues.store.txn(txnOperation(message)));
      return txnResponse(header(result.revision), result);
    },

    async compact({ message, bytes }) {
      const { revision, swept } = await keyValues.propose(driver, 'compact', message, bytes);
      if (message.physical) await swept;
      return { header: header(revision) };
    },

    async memberList({ linearizable }) {
      if (linearizable) await driver.linearize();
      // This header alone names no revision: the call does not touch the keys.
      return { header: header(0), members: [...driver.members()] };
    },

    async alarm({ action }) {
      // Raising one would promise what nothing here keeps; listing and disarming find none.
      if (action === 1) {
        throw new EtcdError('ETCD_UNIMPLEMENTED', status.UNIMPLEMENTED, 'raftsman: alarms cannot be raised');
      }
      return { header: header(keyValues.revision), alarms: [] };
    },

    async status() {
      const leader = driver.leaderId();
      return {
        header: header(keyValues.revision),
        version: etcdApiVersion,
        storageVersion: etcdApiVersion,
        dbSize: keyValues.sizeBytes,
        dbSizeInUse: keyValues.sizeBytes,
        dbSizeQuota: 0,
        leader: leader === undefined ? '0' : decimalId(leader),
        raftIndex: driver.commitIndex(),
        raftTerm: driver.term(),
        raftAppliedIndex: keyValues.appliedIndex,
        errors: leader === undefined ? [etcdError('ETCD_NO_LEADER').message] : [],
        isLearner: driver.isLearner(),
      };
    },

    async hashKv({ revision }) {
      const result = await keyValues.hash(revision);
      return { header: header(keyValues.revision), ...result };
    },

    async snapshot() {
      const snapshot = keyValues.snapshot();
      const { index, term, revision, sizeBytes } = snapshot.header;
      const configuration = driver.configuration();
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
