/** Images of etcd with the layout of the public ones: the three programs in /usr/local/bin, and no shell. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { etcdTools } from './go-build.ts';
import { importImage } from './image-build.ts';
import { type ImageFile, writeImage } from './images.ts';
import { withLock } from './lock.ts';
import { type EtcdVersion, etcdPrograms } from './parts.ts';
import { cacheRoot } from './places.ts';
import type { Progress } from './progress.ts';

/** What members of this version run on a local node, when the operator's repository for etcd is `etcd`. */
export const etcdImageName = (version: EtcdVersion): string => `etcd:v${version}`;

/** The image as a Docker archive in the cache, made once for each build of its programs. */
export async function etcdArchive(version: EtcdVersion, progress: Progress): Promise<string> {
  const tools = await etcdTools(version, progress);
  const key = createHash('sha256').update(Object.values(tools).join('\n')).digest('hex').slice(0, 12);
  const archive = join(cacheRoot(), 'images', `etcd-${version}-${key}.tar`);
  return withLock('images', async () => {
    if (!existsSync(archive)) {
      const files: ImageFile[] = [
        ...['/var', '/var/lib', '/var/lib/etcd'].map((path): ImageFile => ({ path, folder: true })),
        ...etcdPrograms.map((name): ImageFile => ({ path: `/usr/local/bin/${name}`, from: tools[name] })),
      ];
      await writeImage(archive, etcdImageName(version), files, {
        Cmd: ['/usr/local/bin/etcd'],
        Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
        WorkingDir: '/var/lib/etcd',
      });
    }
    return archive;
  });
}

/** Builds the image of this etcd and loads it into the node of the cluster called `cluster`; gives its name. */
export async function etcdImage(cluster: string, version: EtcdVersion, progress: Progress): Promise<string> {
  await importImage(cluster, await etcdArchive(version, progress), progress);
  return etcdImageName(version);
}
