/** What /metrics tells: etcd's names where etcd has one for it, `raftsman_…` for the rest. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { version } from '../version.ts';
import type { MemberCertificates } from './certificates.ts';
import type { ClientCounters } from './clients.ts';
import type { DiskSpace } from './disk-space.ts';
import type { Driver } from './driver.ts';
import type { KeyValues } from './kv.ts';
import type { Membership } from './membership.ts';
import type { Quota } from './quota.ts';
import type { Transport } from './transport.ts';

export interface Observed {
  readonly driver: Driver;
  readonly keyValues: KeyValues;
  readonly transport: Transport;
  readonly membership: Membership;
  readonly quota: Quota;
  readonly diskSpace: DiskSpace;
  readonly certificates: MemberCertificates;
  readonly clients: ClientCounters;
}

export class NodeMetrics {
  readonly registry = new Registry();
  readonly #walSync: Histogram;
  readonly #walBytes: Counter;

  constructor() {
    collectDefaultMetrics({ register: this.registry });
    const registers = [this.registry];
    this.#walSync = new Histogram({
      name: 'etcd_disk_wal_fsync_duration_seconds',
      help: 'Time to write one batch to the log and make it durable.',
      buckets: Array.from({ length: 14 }, (_, i) => 0.001 * 2 ** i),
      registers,
    });
    this.#walBytes = new Counter({
      name: 'etcd_disk_wal_write_bytes_total',
      help: 'Bytes written to the log.',
      registers,
    });
    new Gauge({
      name: 'raftsman_info',
      help: 'Always 1; the version is in the label.',
      labelNames: ['version'],
      registers,
    }).set({ version }, 1);
  }

  onDiskWrite(seconds: number, bytes: number): void {
    this.#walSync.observe(seconds);
    this.#walBytes.inc(bytes);
  }

  /** Values are read when somebody asks. */
  observe(observed: Observed): void {
    const { driver, keyValues, transport, membership, quota, diskSpace, certificates, clients } = observed;
    const registers = [this.registry];
    const gauge = (name: string, help: string, read: () => number): void => {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    };
    const counter = (name: string, help: string, read: () => number): void => {
      new Counter({
        name,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(read());
        },
      });
    };
    const { counters, snapshots } = driver;
    const isLeader = (): boolean => driver.leader !== null && driver.leader === driver.status().id;
    gauge('etcd_server_has_leader', '1 when a leader is known.', () => (driver.leader === null ? 0 : 1));
    gauge('etcd_server_is_leader', '1 when this member leads.', () => (isLeader() ? 1 : 0));
    gauge('etcd_server_is_learner', '1 when this member does not vote.', () => (membership.isLearner ? 1 : 0));
    gauge('raftsman_members', 'Members of the cluster, learners included.', () => keyValues.book.members.size);
    gauge('raftsman_learners', 'Members that do not vote.', () => driver.configuration.learners.length);
    counter('raftsman_leader_transfers_total', 'Leaderships handed over.', () => driver.transfers.counters.done);
    counter(
      'raftsman_leader_transfers_failed_total',
      'Leaderships that were not taken over.',
      () => driver.transfers.counters.failed,
    );
    counter('etcd_server_leader_changes_seen_total', 'Leaders seen.', () => counters.leaderChanges);
    gauge('etcd_server_proposals_committed_total', 'Commit index.', () => driver.commit);
    gauge('etcd_server_proposals_applied_total', 'Applied index.', () => keyValues.appliedIndex);
    gauge('etcd_server_proposals_pending', 'Proposals under way here.', () => driver.proposals.count);
    counter('etcd_server_proposals_failed_total', 'Proposals given up here.', () => driver.proposals.failed);
    const held = 'Bytes held for the state, history included, with what lies unused since others were compacted.';
    gauge('etcd_mvcc_db_total_size_in_bytes', held, () => keyValues.heldBytes);
    gauge('etcd_mvcc_db_total_size_in_use_in_bytes', 'As above, without what lies unused.', () => keyValues.sizeBytes);
    gauge('etcd_server_quota_backend_bytes', 'Quota of the state; negative: none.', () => quota.bytes);
    new Gauge({
      name: 'etcd_debugging_server_alarms',
      help: '1 for each alarm that stands.',
      labelNames: ['server_id', 'alarm_type'],
      registers,
      collect() {
        this.reset();
        for (const member of keyValues.alarms.members) this.set({ server_id: member, alarm_type: 'NOSPACE' }, 1);
      },
    });
    gauge('raftsman_disk_free_bytes', 'Room on the data directory’s disk.', () => diskSpace.freeBytes ?? Number.NaN);
    gauge('raftsman_disk_full', '1 while the log waits for room on the disk.', () => (diskSpace.isStuck ? 1 : 0));
    gauge('raftsman_disk_floor_bytes', 'Less room than this raises the alarm.', () => diskSpace.floorBytes);
    gauge('etcd_debugging_mvcc_keys_total', 'Keys that exist.', () => keyValues.keys);
    gauge('etcd_debugging_mvcc_current_revision', 'Revision of the state.', () => keyValues.revision);
    gauge('raftsman_raft_term', 'Current term.', () => driver.term);
    gauge('raftsman_raft_last_index', 'Last entry in the log.', () => driver.status().lastIndex);
    gauge('raftsman_raft_first_index', 'First entry in the log in memory.', () => driver.status().firstIndex);
    gauge('raftsman_raft_log_bytes', 'Entry data held in memory.', () => driver.status().logBytes);
    gauge('raftsman_snapshot_index', 'Last entry in the newest snapshot.', () => driver.status().snapshotIndex);
    counter('raftsman_snapshots_taken_total', 'Own snapshots.', () => snapshots.snapshotter.counters.taken);
    counter(
      'raftsman_snapshots_failed_total',
      'Own snapshots that failed.',
      () => snapshots.snapshotter.counters.failed,
    );
    const steps = new Histogram({
      name: 'raftsman_snapshot_duration_seconds',
      help: 'Own snapshots: the whole (take), and of it making the files, writing the state, and letting the log go (compact).',
      labelNames: ['step'],
      buckets: Array.from({ length: 14 }, (_, i) => 0.005 * 2 ** i),
      registers,
    });
    snapshots.snapshotter.onStep = (step, seconds) => steps.observe({ step }, seconds);
    gauge(
      'raftsman_snapshot_last_seconds',
      'Duration of the last own snapshot.',
      () => snapshots.snapshotter.counters.lastSeconds,
    );
    counter('raftsman_snapshots_sent_total', 'Snapshots sent to members.', () => snapshots.counters.sentSnapshots);
    counter('raftsman_snapshots_received_total', 'Snapshots received.', () => snapshots.counters.receivedSnapshots);
    counter(
      'raftsman_snapshot_streams_resumed_total',
      'Streams of snapshots, sent or received, that went on where one before broke off.',
      () => snapshots.counters.resumedSnapshots,
    );
    counter(
      'raftsman_snapshots_unavailable_total',
      'Times that a follower had to wait for a snapshot: being prepared, or another follower was being sent to.',
      () => snapshots.counters.unavailableSnapshots,
    );
    counter('raftsman_snapshot_sent_bytes_total', 'Bytes of snapshots sent.', () => snapshots.counters.sentBytes);
    counter(
      'raftsman_snapshot_received_bytes_total',
      'Bytes of snapshots received.',
      () => snapshots.counters.receivedBytes,
    );
    counter(
      'raftsman_snapshot_sends_failed_total',
      'Snapshots that did not arrive.',
      () => snapshots.counters.failedSnapshotSends,
    );
    gauge('raftsman_peers_connected', 'Members connected both ways.', () => transport.connected().length);
    counter(
      'raftsman_peer_bad_frames_total',
      'Connections closed over bytes no member sends.',
      () => transport.counters.badFrames,
    );
    counter(
      'raftsman_peer_bad_snapshots_total',
      'Snapshot streams that held what no member sends.',
      () => snapshots.counters.badStreams,
    );
    counter(
      'raftsman_peer_dropped_messages_total',
      'Messages to members out of reach.',
      () => transport.counters.droppedMessages,
    );
    counter('raftsman_peer_refused_total', 'Connections of strangers.', () => transport.counters.refusedConnections);
    counter('raftsman_client_refused_total', 'Clients without what TLS asks.', () => clients.refusedConnections);
    new Gauge({
      name: 'raftsman_certificate_expiration_timestamp_seconds',
      help: 'When the certificates in force end, in seconds since 1970: the first of the chain shown (leaf), the last of the trusted ones (authority).',
      labelNames: ['use', 'certificate'],
      registers,
      collect() {
        this.reset();
        for (const { use, certificate, at } of [certificates.client, certificates.peer].flatMap(
          (one) => one?.expiries ?? [],
        ))
          this.set({ use, certificate }, at);
      },
    });
    counter('raftsman_peer_ignored_messages_total', 'Messages that made no sense.', () => counters.ignoredMessages);
  }
}
