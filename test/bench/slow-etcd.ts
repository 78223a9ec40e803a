/**
 * etcd for a slower disk: the same modules at the same versions, built with the same flags, with one call more wherever etcd
 * or its store syncs a file. What is changed is read from the modules themselves and written to a scratch folder: `go build`
 * replaces no file of the module cache by `-overlay`, so the two modules are copied and named by a go.mod of our own.
 */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { run } from '../kubernetes/command.ts';
import { Failure } from '../kubernetes/failure.ts';
import { compileSettings, partFolder } from '../kubernetes/go-build.ts';
import { withLock } from '../kubernetes/lock.ts';
import { goParts } from '../kubernetes/parts.ts';
import { cacheRoot } from '../kubernetes/places.ts';
import type { Progress } from '../kubernetes/progress.ts';

/** Read by the built binary: a duration as Go writes it, such as `10ms`. */
export const delayVariable = 'RAFTSMAN_BENCH_FSYNC_DELAY';

/** Where each module syncs: in `file`, before each line that contains `sync`, which occurs `times` times. */
const patches = [
  {
    module: 'go.etcd.io/etcd/client/pkg/v3',
    packageFolder: 'fileutil',
    places: [
      { file: 'sync_linux.go', sync: 'f.Sync()', times: 1 },
      { file: 'sync_linux.go', sync: 'syscall.Fdatasync(', times: 1 },
    ],
  },
  {
    module: 'go.etcd.io/bbolt',
    packageFolder: '.',
    places: [
      { file: 'bolt_linux.go', sync: 'syscall.Fdatasync(', times: 1 },
      { file: 'db.go', sync: 'db.file.Sync()', times: 1 },
    ],
  },
] as const;

/** A sleep that blocks its thread as a sync does, and that the runtime's signals do not cut short. */
const delaySource = (packageName: string): string => `package ${packageName}

import (
	"os"
	"syscall"
	"time"
)

var benchDelayOf = func() time.Duration {
	text := os.Getenv("${delayVariable}")
	if text == "" {
		return 0
	}
	delay, err := time.ParseDuration(text)
	if err != nil {
		panic("${delayVariable}: " + err.Error())
	}
	return delay
}()

func benchDelay() {
	left := syscall.NsecToTimespec(benchDelayOf.Nanoseconds())
	for benchDelayOf > 0 && syscall.Nanosleep(&left, &left) == syscall.EINTR {
	}
}
`;

/** The path of an `etcd` that sleeps as `delayVariable` says before each sync; built when it is not cached. */
export async function slowEtcd(progress: Progress): Promise<string> {
  const key = createHash('sha256')
    .update(readFileSync(import.meta.filename))
    .digest('hex')
    .slice(0, 8);
  const folder = `${partFolder('etcd')}-slow-${key}`;
  const binary = join(folder, 'etcd');
  if (existsSync(binary)) return binary;
  await withLock('go-build', async () => {
    if (!existsSync(binary)) await progress.step('build etcd with slower syncs', () => build(folder), { begin: true });
  });
  return binary;
}

async function build(folder: string): Promise<void> {
  const { sources, environment, flags } = compileSettings();
  const aside = join(cacheRoot(), 'parts', `.slow-etcd-${process.pid}`);
  rmSync(aside, { recursive: true, force: true });
  mkdirSync(aside, { recursive: true });
  try {
    const modFile = join(aside, 'go.mod');
    for (const name of ['go.mod', 'go.sum']) cpSync(join(sources, name), join(aside, name));
    for (const [n, { module, packageFolder, places }] of patches.entries()) {
      const told = await run('go', ['mod', 'download', '-json', module], { cwd: sources, env: environment });
      const copy = join(aside, `module${n}`);
      cpSync((JSON.parse(told) as { Dir: string }).Dir, copy, { recursive: true });
      makeWritable(copy);
      for (const { file, sync, times } of places) delayBefore(join(copy, packageFolder, file), sync, times);
      const packageName = /^package (\w+)/m.exec(readFileSync(join(copy, packageFolder, places[0].file), 'utf8'))![1]!;
      writeFileSync(join(copy, packageFolder, 'bench_delay.go'), delaySource(packageName));
      await run('go', ['mod', 'edit', `-replace=${module}=${copy}`, modFile], { env: environment });
    }
    const made = join(aside, 'made');
    mkdirSync(made);
    const args = ['build', `-modfile=${modFile}`, ...flags, '-o', join(made, 'etcd'), goParts.etcd.package];
    await run('go', args, { cwd: sources, env: environment, failure: 'BUILD_FAILED' });
    renameSync(made, folder);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

/** The module cache is read-only, and so are copies of it. */
function makeWritable(folder: string): void {
  chmodSync(folder, 0o755);
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    chmodSync(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o755 : 0o644);
  }
}

function delayBefore(path: string, sync: string, times: number): void {
  const lines = readFileSync(path, 'utf8').split('\n');
  const found = lines.filter((line) => line.includes(sync) && !line.trimStart().startsWith('//')).length;
  if (found !== times) {
    throw new Failure('BUILD_FAILED', `${path} has \`${sync}\` ${found} times instead of ${times}: look at it anew`);
  }
  const slow = lines.flatMap((line) =>
    line.includes(sync) && !line.trimStart().startsWith('//') ? ['\tbenchDelay()', line] : [line],
  );
  writeFileSync(path, slow.join('\n'));
}
