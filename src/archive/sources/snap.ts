import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { ArchiveError, type ArchiveMeta } from '../types.ts';
import { readArchive } from '../verify.ts';
import { applicationBytes, applicationOf } from './application.ts';
import { withConfiguration } from './file-store.ts';
import { inSource, type Source, type SourceOptions } from './source.ts';

/** What Consul's and Nomad's `snapshot save` write: an archive already (NS-01), whose state nobody has named yet. */
export async function openSnap(path: string, options: SourceOptions = {}): Promise<Source> {
  return inSource(path, async () => {
    const hash = createHash('sha256');
    let head: Uint8Array = new Uint8Array(0);
    let meta: ArchiveMeta | undefined;
    const reading = readArchive(createReadStream(path), options);
    while (meta === undefined) {
      const next = await reading.next();
      if (next.done === true) {
        meta = next.value.meta;
      } else {
        if (head.length < applicationBytes) head = Buffer.concat([head, next.value]).subarray(0, applicationBytes);
        hash.update(next.value);
      }
    }
    const { raftsman, ...rest } = meta;
    if (raftsman !== undefined) {
      throw new ArchiveError(
        'ARCHIVE_SOURCE_INVALID',
        `it is an archive of Raftsman already (${raftsman.engine}): copy it as it is`,
      );
    }
    return {
      path,
      meta: withConfiguration(rest),
      engine: applicationOf(head),
      convertedFrom: `snapshot archive, version ${meta.version}`,
      stateHash: hash.digest('hex'),
      notes: [],
      state: () => readArchive(createReadStream(path), options),
    };
  });
}
