/** A cluster of one without a disk: proposals are applied in the next turn, in order. Serves over real gRPC. */
import { type EtcdError, etcdError } from '../../src/etcd/errors.ts';
import { type EtcdServer, serveEtcd } from '../../src/etcd/server.ts';
import { createLog } from '../../src/log.ts';
import { createBackend, KeyValues, type KeyValuesOptions } from '../../src/node/kv.ts';
import { type MemberDriver, Membership } from '../../src/node/membership.ts';
import { defaultQuotaBytes, Quota } from '../../src/node/quota.ts';
import { configurationOf } from '../../src/raft/configuration.ts';
import { asIndex, asMemberId } from '../../src/raft/types.ts';

export interface Single {
  readonly keyValues: KeyValues;
  readonly driver: MemberDriver;
  readonly server: EtcdServer;
  readonly url: string;
  /** While set, proposals and reads are refused with it. */
  refuse: EtcdError | undefined;
  close(): Promise<void>;
}

export async function startSingle(options?: KeyValuesOptions & { readonly quotaBytes?: number }): Promise<Single> {
  const id = asMemberId('8e9e05c52164694d');
  const keyValues = new KeyValues({
    ...options,
    genesis: [{ id, name: 'm0', peerUrls: ['http://127.0.0.1:2380'] }],
  });
  let queued: Uint8Array[] = [];
  const drain = (): void => {
    const batch = queued;
    queued = [];
    for (const data of batch) keyValues.apply(keyValues.appliedIndex + 1, 3, data);
  };
  const driver: MemberDriver = {
    clusterId: 'cdf818194e3a8c32',
    memberId: id,
    term: () => 3,
    commitIndex: () => keyValues.appliedIndex,
    leaderId: () => (single.refuse ? undefined : id),
    propose: (data, lost) => {
      if (single.refuse) {
        lost(single.refuse);
        return;
      }
      if (queued.push(data) === 1) setImmediate(drain);
    },
    linearize: () => (single.refuse ? Promise.reject(single.refuse) : Promise.resolve()),
    change: (_, lost) => lost(etcdError('ETCD_CHANGE_PENDING')),
    transferLeadership: () => Promise.resolve('notVoter'),
    takeSnapshot: () => Promise.resolve(),
    connected: () => [],
    configuration: () => configurationOf([id]),
    status: () => ({
      configurationIndex: asIndex(0),
      committedConfiguration: configurationOf([id]),
      committedConfigurationIndex: asIndex(0),
      progress: [],
    }),
  };
  const log = createLog({ write: () => {} });
  const membership = new Membership({
    driver,
    keyValues,
    log,
    token: 'etcd-cluster',
    maxLearners: 1,
    timeoutMs: 1,
    retryMs: 1,
  });
  const quota = new Quota({
    bytes: options?.quotaBytes ?? defaultQuotaBytes,
    keyValues,
    driver,
    isStuck: () => false,
    log,
  });
  const backend = createBackend(keyValues, driver, membership, quota);
  const server = await serveEtcd({ backend, listen: ['http://127.0.0.1:0'] });
  const single: Single = {
    keyValues,
    driver,
    server,
    url: server.urls[0]!,
    refuse: undefined,
    async close() {
      keyValues.stop();
      await server.close();
    },
  };
  return single;
}
