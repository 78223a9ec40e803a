import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { run } from './command.ts';
import { debianEnvironment, unpackDebian } from './debian.ts';
import { Failure } from './failure.ts';
import { type ImageFile, importArchive, writeImage } from './images.ts';
import { withLock } from './lock.ts';
import { cachedInside, cacheRoot } from './places.ts';
import type { Progress } from './progress.ts';
import { readRecord } from './record.ts';
import { isAlive } from './sandbox.ts';

/** The Node binary that the project's npm package `node` brought. */
function nodeBinary(): string {
  const require = createRequire(import.meta.url);
  const main = require.resolve('node/package.json');
  const binary = [join(dirname(main), 'bin', 'node'), process.execPath].find((file) => existsSync(file));
  if (binary === undefined) throw new Failure('MISSING_COMMAND', 'the npm package `node` is missing: run `npm ci`');
  return realpathSync(binary);
}

/** The shared libraries that a binary loads, by the path under which it looks for them. */
export function parseLdd(text: string): string[] {
  const paths = text.split('\n').map((line) => /=> (\/\S+)/.exec(line)?.[1] ?? /^\s*(\/\S+) \(/.exec(line)?.[1]);
  return paths.filter((path) => path !== undefined);
}

const APPLETS = [
  'sh',
  'ls',
  'cat',
  'mkdir',
  'ln',
  'chmod',
  'chown',
  'rm',
  'cp',
  'mv',
  'env',
  'id',
  'sleep',
  'wget',
] as const;

/** Stands in for the public Node image where no registry is in reach: node, its libraries, and a shell. */
async function baseFiles(busybox: string): Promise<ImageFile[]> {
  const node = nodeBinary();
  const libraries = parseLdd(await run('ldd', [node]));
  const folders = [
    '/tmp',
    '/home',
    '/home/node',
    '/etc',
    '/bin',
    '/usr',
    '/usr/bin',
    '/usr/local',
    '/usr/local/bin',
    '/lib',
    '/lib64',
  ];
  return [
    ...folders.map((path): ImageFile => ({ path, folder: true, mode: path === '/tmp' ? 0o1777 : 0o755 })),
    {
      path: '/etc/passwd',
      text: 'root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n',
    },
    { path: '/etc/group', text: 'root:x:0:\nnode:x:1000:\nnogroup:x:65534:\n' },
    { path: '/etc/nsswitch.conf', text: 'passwd: files\ngroup: files\nhosts: files dns\n' },
    { path: '/usr/local/bin/node', from: node },
    ...libraries.map((path): ImageFile => ({ path, from: realpathSync(path) })),
    { path: '/bin/busybox', from: busybox },
    ...APPLETS.map((name): ImageFile => ({ path: `/bin/${name}`, link: 'busybox' })),
  ];
}

/** The base image's archive, made once per Node binary. */
async function baseArchive(progress: Progress): Promise<string> {
  const busybox = join(await unpackDebian('node', progress), 'bin', 'busybox');
  const version = execFileSync(nodeBinary(), ['--version'], { encoding: 'utf8' }).trim();
  const archive = join(cacheRoot(), 'images', `base-node-${version}-2.tar`);
  return withLock('images', async () => {
    if (!existsSync(archive)) {
      await progress.step(`base image from Node ${version}`, async () =>
        writeImage(archive, 'local.raftsman.dev/node:base', await baseFiles(busybox), {
          Entrypoint: ['/usr/local/bin/node'],
          Env: [
            'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
            `NODE_VERSION=${version.slice(1)}`,
          ],
        }),
      );
    }
    return archive;
  });
}

export interface ImageRequest {
  /** The cluster whose node gets the image; without one the archive is only built. */
  readonly name?: string;
  readonly file: string;
  readonly tag: string;
  /** The build context; the Dockerfile's folder unless given. */
  readonly context?: string;
  /** Where to leave the image as a Docker archive, besides. */
  readonly output?: string;
}

/** Builds the Dockerfile as it is, with `BASE` set to an image made from the project's own Node, and imports it. */
export async function buildImage(request: ImageRequest, progress: Progress): Promise<void> {
  const file = resolve(request.file);
  if (!existsSync(file)) throw new Failure('BAD_ARGUMENT', `--file ${request.file}: there is no such file`);
  const record = request.name === undefined ? undefined : nodeRecord(request.name);
  const [buildah, base] = [await unpackDebian('image', progress), await baseArchive(progress)];
  mkdirSync(join(cacheRoot(), 'images'), { recursive: true });
  const work = mkdtempSync(join(cacheRoot(), 'images', '.build-'));
  try {
    const archive = join(work, 'image.tar');
    await progress.step(`build image ${request.tag}`, () =>
      withLock('buildah', () =>
        runBuildah(buildah, base, file, resolve(request.context ?? dirname(file)), request.tag, archive),
      ),
    );
    if (record) await importImage(record.name, archive, progress);
    if (request.output !== undefined) renameSync(archive, resolve(request.output));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Loads a Docker archive into a whole node that is up. The archive must lie in the cache. */
export async function importImage(name: string, archive: string, progress: Progress): Promise<void> {
  const record = nodeRecord(name);
  const debian = cachedInside(await unpackDebian('node', progress));
  await progress.step(`import it into ${name}`, () => importArchive(record.sandbox, debian, archive, () => {}));
}

function nodeRecord(name: string) {
  const record = readRecord(name);
  if (!record || !isAlive(record.sandbox) || record.depth !== 'node') {
    throw new Failure('NO_CLUSTER', `no whole node called ${name} is up: start one with \`up --name ${name}\``);
  }
  return record;
}

async function runBuildah(
  root: string,
  base: string,
  file: string,
  context: string,
  tag: string,
  archive: string,
): Promise<void> {
  const storage = join(cacheRoot(), 'buildah');
  const config = join(storage, 'config');
  mkdirSync(join(config, 'home'), { recursive: true });
  writeFileSync(join(config, 'policy.json'), JSON.stringify({ default: [{ type: 'insecureAcceptAnything' }] }));
  writeFileSync(join(config, 'registries.conf'), '');
  writeFileSync(join(config, 'containers.conf'), '');
  const { PATH, LD_LIBRARY_PATH } = debianEnvironment(root);
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    PATH: `${PATH}:${process.env['PATH'] ?? ''}`,
    LD_LIBRARY_PATH,
    BUILDAH_ISOLATION: 'chroot',
    STORAGE_DRIVER: 'vfs',
    HOME: join(config, 'home'),
    CONTAINERS_CONF: join(config, 'containers.conf'),
    CONTAINERS_REGISTRIES_CONF: join(config, 'registries.conf'),
    TMPDIR: dirname(archive),
  };
  const storageFlags = ['--root', join(storage, 'storage'), '--runroot', join(storage, 'run')];
  // For a RUN step buildah starts itself again without its environment, so its libraries are found by a cache of the linker's
  // that stands in for the machine's, in a mount namespace of its own.
  const libraries = join(config, 'ld.so');
  writeFileSync(`${libraries}.conf`, `${LD_LIBRARY_PATH.replaceAll(':', '\n')}\ninclude /etc/ld.so.conf\n`);
  await run('/sbin/ldconfig', ['-X', '-C', `${libraries}.cache`, '-f', `${libraries}.conf`]);
  const script = `mount --bind '${libraries}.cache' /etc/ld.so.cache && exec buildah "$@"`;
  const call = (args: readonly string[]) =>
    run('unshare', ['--mount', 'sh', '-c', script, 'buildah', ...storageFlags, ...args], {
      env,
      cwd: context,
      failure: 'BUILD_FAILED',
    });
  const policy = ['--signature-policy', join(config, 'policy.json')];
  const key = createHash('sha256')
    .update(readFileSync(base).subarray(0, 1 << 20))
    .digest('hex')
    .slice(0, 12);
  const baseName = `localhost/raftsman-base:${key}`;
  const known = await call(['images', '--quiet', baseName]).catch(() => '');
  if (known.trim() === '') {
    const id = (await call(['pull', '--quiet', ...policy, `docker-archive:${base}`])).trim();
    await call(['tag', id, baseName]);
  }
  await call([
    'build',
    '--quiet',
    '--pull=never',
    ...policy,
    '--build-arg',
    `BASE=${baseName}`,
    '--file',
    file,
    '--tag',
    tag,
    context,
  ]);
  await call(['push', '--quiet', ...policy, tag, `docker-archive:${archive}:${tag}`]);
  // What this build replaced would otherwise pile up, at a full copy of the root file system for each.
  await call(['prune', '--force']).catch(() => '');
}
