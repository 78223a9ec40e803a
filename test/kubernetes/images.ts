import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Pack, pack } from 'tar-stream';
import { until } from './command.ts';
import { debianEnvironment } from './debian.ts';
import { partFolder, toolPath } from './go-build.ts';
import { withLock } from './lock.ts';
import { versions } from './parts.ts';
import { cachedInside, cacheRoot, inside } from './places.ts';
import { runInside, type Sandbox } from './sandbox.ts';

export const PAUSE_IMAGE = 'local.raftsman.dev/pause:1';
export const S3_IMAGE = `local.raftsman.dev/versitygw:${versions.versitygw}`;

/** A file of an image: from the host, or a folder, or a symbolic link, or a text. */
export type ImageFile =
  | { readonly path: string; readonly from: string; readonly mode?: number }
  | { readonly path: string; readonly folder: true; readonly mode?: number }
  | { readonly path: string; readonly link: string }
  | { readonly path: string; readonly text: string };

export interface ImageConfig {
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env?: readonly string[];
  readonly User?: string;
  readonly WorkingDir?: string;
}

const EPOCH = new Date(0);

async function add(tar: Pack, file: ImageFile): Promise<void> {
  const name = file.path.replace(/^\//, '');
  if ('folder' in file) {
    tar.entry({ name: `${name}/`, type: 'directory', mode: file.mode ?? 0o755, mtime: EPOCH });
  } else if ('link' in file) {
    tar.entry({ name, type: 'symlink', linkname: file.link, mtime: EPOCH });
  } else if ('text' in file) {
    tar.entry({ name, mode: 0o644, mtime: EPOCH }, file.text);
  } else {
    const entry = tar.entry({ name, mode: file.mode ?? 0o755, size: statSync(file.from).size, mtime: EPOCH });
    await pipeline(createReadStream(file.from), entry);
  }
}

/** Writes a one-layer image as a Docker archive, reproducibly; beside and renamed, so that the file is whole or not there. */
export async function writeImage(
  archive: string,
  name: string,
  files: readonly ImageFile[],
  config: ImageConfig,
): Promise<void> {
  const layer = `${archive}.${process.pid}.layer`;
  const aside = `${archive}.${process.pid}.new`;
  mkdirSync(dirname(archive), { recursive: true });
  try {
    const digest = createHash('sha256');
    const layerTar = pack();
    const written = pipeline(
      layerTar,
      async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          digest.update(chunk);
          yield chunk;
        }
      },
      createWriteStream(layer),
    );
    for (const file of files) await add(layerTar, file);
    layerTar.finalize();
    await written;
    const id = digest.digest('hex');
    const image = JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      created: EPOCH.toISOString(),
      config,
      rootfs: { type: 'layers', diff_ids: [`sha256:${id}`] },
      history: [{ created: EPOCH.toISOString(), created_by: 'local-kubernetes' }],
    });
    const imageId = createHash('sha256').update(image).digest('hex');
    const tar = pack();
    const done = pipeline(tar, createWriteStream(aside));
    await add(tar, { path: `${id}/layer.tar`, from: layer, mode: 0o644 });
    await add(tar, { path: `${imageId}.json`, text: image });
    const manifest = [{ Config: `${imageId}.json`, RepoTags: [name], Layers: [`${id}/layer.tar`] }];
    await add(tar, { path: 'manifest.json', text: JSON.stringify(manifest) });
    tar.finalize();
    await done;
    renameSync(aside, archive);
  } finally {
    rmSync(layer, { force: true });
    rmSync(aside, { force: true });
  }
}

const cachedImage = (archive: string, write: () => Promise<void>): Promise<string> =>
  withLock('images', async () => {
    if (!existsSync(archive)) await write();
    return archive;
  });

/** What holds a pod's namespaces: a static binary that sleeps. `debian` is the unpacked tree that has busybox. */
export function pauseArchive(debian: string): Promise<string> {
  const archive = join(cacheRoot(), 'images', 'pause-1.tar');
  const busybox = join(debian, 'bin', 'busybox');
  return cachedImage(archive, () =>
    writeImage(archive, PAUSE_IMAGE, [{ path: '/busybox', from: busybox }], {
      Entrypoint: ['/busybox', 'sleep', '2147483647'],
      User: '65535:65535',
    }),
  );
}

export function s3Archive(): Promise<string> {
  const key = partFolder('versitygw').split('-').at(-1);
  const archive = join(cacheRoot(), 'images', `versitygw-${versions.versitygw}-${key}.tar`);
  const files: ImageFile[] = [
    { path: '/versitygw', from: toolPath('versitygw') },
    { path: '/tmp', folder: true, mode: 0o1777 },
  ];
  return cachedImage(archive, () => writeImage(archive, S3_IMAGE, files, { Entrypoint: ['/versitygw'] }));
}

/** Imports a Docker archive into the node's containerd; `archive` is in the cache, `debian` as the cluster sees it. */
export async function importArchive(
  sandbox: Sandbox,
  debian: string,
  archive: string,
  check: () => void,
): Promise<void> {
  const visible = archive.startsWith(inside.state) ? archive : cachedInside(archive);
  const env = { ...process.env, LD_LIBRARY_PATH: debianEnvironment(debian).LD_LIBRARY_PATH };
  const ctr = [`${debian}/usr/bin/ctr`, '--namespace=k8s.io'];
  await until(
    'containerd to answer',
    () =>
      runInside(sandbox, [...ctr, 'version'], { env }).then(
        () => true,
        () => false,
      ),
    { timeoutMs: 30_000, everyMs: 30, check },
  );
  await runInside(sandbox, [...ctr, 'images', 'import', visible], { env });
}
