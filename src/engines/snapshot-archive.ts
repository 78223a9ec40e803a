import type { ArchiveProgress, ArchiveWriting } from '../archive/types.ts';
import { writeArchive } from '../archive/write.ts';
import {
  type Endpoint,
  type Engine,
  EngineError,
  type Fingerprint,
  type OpenSnapshot,
  type OpenSnapshotOptions,
} from './engine.ts';

/** How often a snapshot is begun anew because its revision was compacted before it had been fingerprinted. */
const attempts = 3;
const fingerprintMs = 600_000;

export interface SnapshotArchiveOptions {
  /** Name of the cluster, for people; empty when nobody knows one. */
  readonly cluster: string;
  readonly now: Date;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ArchiveProgress) => void;
  readonly onSpooled?: (bytes: number, totalBytes: number) => void;
}

export interface SnapshotArchive extends ArchiveWriting {
  /** Bytes of the state: an upper estimate of the archive's size, near enough. */
  readonly stateBytes: number;
  /** Ends the member's stream. Idempotent, and needed when `chunks` has not been read to its end. */
  close(): void;
}

/**
 * One member's state as an archive, straight from its stream: nothing is kept on the way. The fingerprint in the
 * archive is that member's, at the snapshot's own revision, so that a restore can be held against it.
 */
export async function snapshotArchive(
  engine: Engine,
  endpoints: readonly Endpoint[],
  options: SnapshotArchiveOptions,
): Promise<SnapshotArchive> {
  const { cluster, now, signal, onProgress, onSpooled } = options;
  const { snapshot, fingerprint } = await open(engine, endpoints, {
    ...(signal === undefined ? {} : { signal }),
    ...(onSpooled === undefined ? {} : { onSpooled }),
  });
  const { facts, sizeBytes } = snapshot;
  const meta = {
    version: 1,
    id: `${facts.term}-${facts.index}-${now.getTime()}`,
    index: BigInt(facts.index),
    term: BigInt(facts.term),
    configuration: { servers: facts.configuration },
    configurationIndex: BigInt(facts.configurationIndex),
    size: sizeBytes,
    raftsman: {
      engine: engine.type,
      engineVersion: facts.engineVersion,
      clusterId: facts.clusterId,
      cluster,
      ...fingerprint,
      createdAt: now.toISOString(),
    },
  };
  const writing = writeArchive(meta, snapshot.chunks, {
    modifiedAt: now,
    ...(signal === undefined ? {} : { signal }),
    ...(onProgress === undefined ? {} : { onProgress }),
  });
  return { ...writing, stateBytes: sizeBytes, close: () => snapshot.close() };
}

async function open(
  engine: Engine,
  endpoints: readonly Endpoint[],
  options: OpenSnapshotOptions,
): Promise<{ snapshot: OpenSnapshot; fingerprint: Fingerprint }> {
  const limits = { timeoutMs: fingerprintMs, ...(options.signal === undefined ? {} : { signal: options.signal }) };
  for (let attempt = 1; ; attempt++) {
    const snapshot = await engine.openSnapshot(endpoints, options);
    try {
      // Hashing a large state takes its time.
      return { snapshot, fingerprint: await snapshot.fingerprint(limits) };
    } catch (error) {
      snapshot.close();
      const compacted = error instanceof EngineError && error.code === 'ENGINE_REVISION_UNAVAILABLE';
      if (!compacted || attempt === attempts) throw error;
    }
  }
}
