/** A cluster of one without a disk: proposals are applied in the next turn, in order. Serves over real gRPC. */
import type { EtcdError } from '../../src/etcd/errors.ts';
import { type EtcdServer, serveEtcd } from '../../src/etcd/server.ts';
import { createBackend, KeyValues, type KeyValuesOptions, type MemberDriver } from '../../src/node/kv.ts';

export interface Single {
  readonly keyValues: KeyValues;
  readonly driver: MemberDriver;
  readonly server: EtcdServer;
  readonly url: string;
  /** While set, proposals and reads are refused with it. */
  refuse: EtcdError | undefined;
  close(): Promise<void>;
}

export async function startSingle(options?: KeyValuesOptions): Promise<Single> {
  const keyValues = new KeyValues(options);
  let queued: Uint8Array[] = [];
  const drain = (): void => {
    const batch = queued;
    queued = [];
    for (const data of batch) keyValues.apply(keyValues.appliedIndex + 1, 3, data);
  };
  const driver: MemberDriver = {
    clusterId: 'cdf818194e3a8c32',
    memberId: '8e9e05c52164694d',
    term: () => 3,
    commitIndex: () => keyValues.appliedIndex,
    leaderId: () => (single.refuse ? undefined : '8e9e05c52164694d'),
    isLearner: () => false,
    propose: (data, lost) => {
      if (single.refuse) {
        lost(single.refuse);
        return;
      }
      if (queued.push(data) === 1) setImmediate(drain);
    },
    linearize: () => (single.refuse ? Promise.reject(single.refuse) : Promise.resolve()),
    members: () => [
      {
        ID: '10276657743932975437',
        name: keyValues.attributes.get('8e9e05c52164694d')?.name ?? '',
        peerURLs: ['http://127.0.0.1:2380'],
        clientURLs: [...(keyValues.attributes.get('8e9e05c52164694d')?.clientUrls ?? [])],
        isLearner: false,
      },
    ],
    configuration: () => ({
      members: [{ id: '8e9e05c52164694d', address: 'http://127.0.0.1:2380', suffrage: 'voter' }],
      index: 0,
    }),
  };
  const server = await serveEtcd({ backend: createBackend(keyValues, driver), listen: ['http://127.0.0.1:0'] });
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
