import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run, which } from './command.ts';
import { Failure } from './failure.ts';
import { withLock } from './lock.ts';
import { type DebianSet, debianPackages } from './parts.ts';
import { cacheRoot } from './places.ts';
import type { Progress } from './progress.ts';

/** Debian's release goes into the key: packages of one release are not mixed with another's libraries. */
async function debianKey(set: DebianSet): Promise<string> {
  const architecture = (await run('dpkg', ['--print-architecture'])).trim();
  const release = (await run('sh', ['-c', '. /etc/os-release && echo $VERSION_CODENAME'])).trim();
  return createHash('sha256')
    .update([architecture, release, ...debianPackages[set]].join(' '))
    .digest('hex')
    .slice(0, 12);
}

export async function debianFolder(set: DebianSet): Promise<string> {
  for (const command of ['apt-get', 'dpkg', 'dpkg-deb']) {
    if (!which(command)) {
      throw new Failure(
        'MISSING_COMMAND',
        `the command \`${command}\` is missing: a whole node needs Debian or a relative of it (the control plane alone does not)`,
      );
    }
  }
  return join(cacheRoot(), 'debian', `${set}-${await debianKey(set)}`);
}

/** Downloads and unpacks a set of Debian packages into the cache; nothing is installed. Gives the root of the unpacked tree. */
export async function unpackDebian(set: DebianSet, progress: Progress): Promise<string> {
  const folder = await debianFolder(set);
  if (existsSync(folder)) return folder;
  return withLock(`debian-${set}`, async () => {
    if (!existsSync(folder)) {
      await progress.step(`unpack ${debianPackages[set].length} Debian packages for ${set}`, () => unpack(set, folder));
    }
    return folder;
  });
}

async function unpack(set: DebianSet, folder: string): Promise<void> {
  const aside = join(cacheRoot(), 'debian', `.unpacking-${process.pid}-${set}`);
  const archives = join(aside, 'archives');
  rmSync(aside, { recursive: true, force: true });
  mkdirSync(archives, { recursive: true });
  try {
    await download(set, aside, archives);
    for (const file of readdirSync(archives).filter((name) => name.endsWith('.deb'))) {
      await run('dpkg-deb', ['-x', join(archives, file), join(aside, 'root')]);
    }
    renameSync(join(aside, 'root'), folder);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

/** With the machine's own package lists if they serve, else with lists of our own, so that the machine's stay as they are. */
async function download(set: DebianSet, aside: string, archives: string): Promise<void> {
  const packages = debianPackages[set];
  const get = (options: readonly string[]) =>
    run('apt-get', [...options, '-o', 'APT::Sandbox::User=root', '-q', 'download', ...packages], {
      cwd: archives,
      failure: 'DOWNLOAD_FAILED',
    });
  try {
    await get([]);
    return;
  } catch {
    // A machine without lists, or with lists so old that their packages are gone.
  }
  const lists = join(aside, 'lists');
  const cache = join(aside, 'cache');
  mkdirSync(join(lists, 'partial'), { recursive: true });
  mkdirSync(join(cache, 'archives', 'partial'), { recursive: true });
  const own = ['-o', `Dir::State::Lists=${lists}`, '-o', `Dir::Cache=${cache}`];
  await run('apt-get', [...own, '-o', 'APT::Sandbox::User=root', '-q', 'update'], { failure: 'DOWNLOAD_FAILED' }).catch(
    // A third party's list that cannot be had does not matter if Debian's own came.
    () => {},
  );
  await get(own).catch((error: Error) => {
    throw new Failure('DOWNLOAD_FAILED', `Debian packages could not be downloaded: ${error.message}`);
  });
}

/** PATH and library path for the unpacked tools at `root`. */
export function debianEnvironment(root: string): { PATH: string; LD_LIBRARY_PATH: string } {
  const triplet = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  return {
    PATH: ['usr/sbin', 'usr/bin', 'sbin', 'bin'].map((folder) => join(root, folder)).join(':'),
    LD_LIBRARY_PATH: [`usr/lib/${triplet}`, `lib/${triplet}`, 'usr/lib', 'lib']
      .map((folder) => join(root, folder))
      .join(':'),
  };
}
