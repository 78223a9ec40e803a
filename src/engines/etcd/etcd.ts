import { randomBytes } from 'node:crypto';
import { type FileHandle, open as openFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeAll } from '../../archive/file.ts';
import type { SnapshotStream } from '../../etcd/client.ts';
import type { CallOptions, Endpoint, Fingerprint, OpenSnapshot, OpenSnapshotOptions } from '../engine.ts';
import { EtcdProtocol, refused, translate } from '../etcd-protocol.ts';
import { backendFacts } from './backend.ts';
import { digestKeys } from './digest.ts';
import { etcdProfile } from './profile.ts';

const defaultTimeoutMs = 5_000;
const chunkBytes = 1024 * 1024;

/** Upstream etcd. */
export class EtcdEngine extends EtcdProtocol {
  readonly type = 'Etcd';
  readonly profile = etcdProfile;

  fingerprint(endpoint: Endpoint, revision?: number, options: CallOptions = {}): Promise<Fingerprint> {
    const end = performance.now() + (options.timeoutMs ?? defaultTimeoutMs);
    return this.call([endpoint], options, (client, { signal }) =>
      digestKeys(client, revision ?? 0, () => {
        const deadlineMs = Math.max(1, end - performance.now());
        return signal === undefined ? { deadlineMs } : { deadlineMs, signal };
      }),
    );
  }

  /**
   * The stream says nothing of the state in it, not even its revision, and a later look at the member would be too late:
   * it is spooled to a file, and the file is asked.
   */
  async openSnapshot(endpoints: readonly Endpoint[], options: OpenSnapshotOptions = {}): Promise<OpenSnapshot> {
    const { signal, spoolFolder = tmpdir(), onSpooled } = options;
    const calls = signal === undefined ? {} : { signal };
    const endpoint = await this.#sender(endpoints, calls);
    const held = this.hold([endpoint]);
    let file: FileHandle | undefined;
    let open = true;
    const close = () => {
      if (!open) return;
      open = false;
      held.release();
      file?.close().catch(() => {});
    };
    try {
      const spooled = await spoolFile(spoolFolder);
      file = spooled;
      const stream = await held.client.snapshot(calls);
      const sizeBytes = await spool(stream, spooled, onSpooled);
      const readAt = async (position: number, length: number) => {
        const { buffer, bytesRead } = await spooled.read(new Uint8Array(length), 0, length, position);
        return buffer.subarray(0, bytesRead);
      };
      const facts = await backendFacts(readAt);
      const status = await this.status(endpoint, calls);
      const chunks = async function* (): AsyncGenerator<Uint8Array> {
        try {
          for (let at = 0; at < sizeBytes; ) {
            signal?.throwIfAborted();
            const chunk = await readAt(at, chunkBytes);
            if (chunk.length === 0) throw refused(`the spooled snapshot ends after ${at} of ${sizeBytes} bytes`);
            at += chunk.length;
            yield chunk;
          }
        } finally {
          close();
        }
      };
      const { index, term, revision, readableRevision, servers } = facts;
      return {
        endpoint,
        facts: {
          index,
          term,
          revision,
          configuration: servers,
          // The backend does not say which entry made it.
          configurationIndex: 0,
          clusterId: status.clusterId,
          engineVersion: status.version,
        },
        sizeBytes,
        chunks: chunks(),
        fingerprint: async (limits) => ({
          ...(await this.fingerprint(endpoint, readableRevision, limits)),
          revision,
        }),
        close,
      };
    } catch (error) {
      close();
      throw translate(error);
    }
  }

  /** A member that has all data: etcd's learners send no snapshot. */
  async #sender(endpoints: readonly Endpoint[], options: CallOptions): Promise<Endpoint> {
    let last: unknown = refused('no endpoint given');
    for (const endpoint of endpoints) {
      try {
        const { isLearner } = await this.status(endpoint, options);
        if (!isLearner) return endpoint;
        last = refused(`${endpoint.url} is a learner: it sends no snapshot`);
      } catch (error) {
        last = error;
        options.signal?.throwIfAborted();
      }
    }
    throw last;
  }
}

/** Without a name: it is gone when this process is, however that ends. */
async function spoolFile(folder: string): Promise<FileHandle> {
  const path = join(folder, `etcd-${randomBytes(6).toString('hex')}.db`);
  const file = await openFile(path, 'wx+', 0o600);
  await rm(path);
  return file;
}

async function spool(
  stream: SnapshotStream,
  file: FileHandle,
  onSpooled: OpenSnapshotOptions['onSpooled'],
): Promise<number> {
  let bytes = 0;
  try {
    for await (const chunk of stream.chunks) {
      await writeAll(file, chunk);
      bytes += chunk.length;
      onSpooled?.(bytes, stream.sizeBytes);
    }
    return bytes;
  } finally {
    stream.close();
  }
}
