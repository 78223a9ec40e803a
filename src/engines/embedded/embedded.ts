import type { CallOptions, Endpoint, Fingerprint, OpenSnapshot, OpenSnapshotOptions } from '../engine.ts';
import { EtcdProtocol, everything, refused, translate } from '../etcd-protocol.ts';
import { embeddedProfile } from './profile.ts';

/** Our own members, over the etcd v3 protocol that they serve. */
export class EmbeddedEngine extends EtcdProtocol {
  readonly type = 'Embedded';
  readonly profile = embeddedProfile;

  async fingerprint(endpoint: Endpoint, revision?: number, options: CallOptions = {}): Promise<Fingerprint> {
    return this.call([endpoint], options, async (client, limits) => {
      // Serializable: what this member has applied, not what the cluster has agreed on.
      const range = await client.range(
        { ...everything, revision: revision ?? 0, countOnly: true, serializable: true },
        limits,
      );
      const at = revision ?? range.header?.revision;
      if (at === undefined) throw refused(`${endpoint.url} answers without a header`);
      const { hash } = await client.hashKv(at, limits);
      return { revision: at, keys: range.count, hash: (hash >>> 0).toString(16).padStart(8, '0') };
    });
  }

  async openSnapshot(endpoints: readonly Endpoint[], { signal }: OpenSnapshotOptions = {}): Promise<OpenSnapshot> {
    const held = this.hold(endpoints);
    try {
      const stream = await held.client.snapshot(signal === undefined ? {} : { signal });
      if (stream.metadata === undefined) {
        stream.close();
        throw refused(
          `${stream.endpoint} is no member of an embedded cluster: it sends a snapshot without its index and term`,
        );
      }
      let open = true;
      const close = () => {
        if (!open) return;
        open = false;
        stream.close();
        held.release();
      };
      const chunks = async function* (): AsyncGenerator<Uint8Array> {
        try {
          yield* stream.chunks;
        } catch (error) {
          throw translate(error);
        } finally {
          close();
        }
      };
      const { metadata } = stream;
      const endpoint = endpoints.find(({ url }) => url === stream.endpoint) ?? { url: stream.endpoint };
      return {
        endpoint,
        facts: metadata,
        sizeBytes: stream.sizeBytes,
        chunks: chunks(),
        fingerprint: (options) => this.fingerprint(endpoint, metadata.revision, options),
        close,
      };
    } catch (error) {
      held.release();
      throw translate(error);
    }
  }
}
