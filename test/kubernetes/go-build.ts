import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statfsSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { run, which } from './command.ts';
import { Failure } from './failure.ts';
import { withLock } from './lock.ts';
import {
  type EtcdProgram,
  type EtcdVersion,
  etcdPart,
  type GoPart,
  type GoPartName,
  goParts,
  partOf,
  type ToolName,
  versions,
} from './parts.ts';
import { cacheRoot } from './places.ts';
import { type Progress, toStderr } from './progress.ts';

/** The folder with the go.mod of a part. */
const sourcesOf = ({ module = 'build' }: GoPart): string => join(import.meta.dirname, module);

/** Below this the compiler's own caches (modules and objects) do not fit. */
const DISK_TO_COMPILE = 7 * 2 ** 30;
const GO_NEEDED = [1, 26] as const;

/**
 * Packages that only Kubernetes, Helm and the S3 server use. Without inlining they compile in nine tenths of the time, and nobody
 * measures them; etcd, beside which we measure ourselves, and all that it uses keep every optimisation.
 */
const NOT_MEASURED = [
  'k8s.io/...',
  'sigs.k8s.io/structured-merge-diff/...',
  'sigs.k8s.io/kustomize/...',
  'helm.sh/...',
  'github.com/google/cel-go/...',
  'github.com/google/cadvisor/...',
  'github.com/aws/aws-sdk-go-v2/...',
  'github.com/Azure/...',
] as const;
const FLAGS = [
  '-trimpath',
  '-gcflags=all=-dwarf=false',
  ...NOT_MEASURED.map((pattern) => `-gcflags=${pattern}=-dwarf=false -l`),
] as const;
const LDFLAGS = [
  '-s -w',
  `-X k8s.io/component-base/version.gitVersion=v${versions.kubernetes}`,
  '-X k8s.io/component-base/version.gitMajor=1',
  `-X k8s.io/component-base/version.gitMinor=${versions.kubernetes.split('.')[1]}`,
  '-X k8s.io/component-base/version.gitTreeState=clean',
  `-X helm.sh/helm/v4/internal/version.version=v${versions.helm}`,
].join(' ');

const files = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();

const keys = new Map<GoPartName, string>();

/** Everything that a part's binary depends on: go.mod, go.sum, its own main if it is ours, and the flags. */
function sourceKey(part: GoPartName): string {
  const known = keys.get(part);
  if (known !== undefined) return known;
  const own: string = goParts[part].package;
  const sources = sourcesOf(goParts[part]);
  const from = ['go.mod', 'go.sum'].map((name) => join(sources, name));
  if (own.startsWith('./')) from.push(...files(join(sources, own)));
  const hash = createHash('sha256').update(`${process.arch}\n${FLAGS.join(' ')}\n${LDFLAGS}\n${own}\n`);
  for (const file of from) hash.update(`${file.slice(sources.length)}\n`).update(readFileSync(file));
  const key = hash.digest('hex').slice(0, 12);
  keys.set(part, key);
  return key;
}

/** A part with its version, which the names of some already end with. */
const versioned = (part: GoPartName): string => {
  const ending = `-${goParts[part].version}`;
  return part.endsWith(ending) ? part : part + ending;
};

/** The folder of a built part: `<cache>/parts/<part>-<version>-<key>`. */
export const partFolder = (part: GoPartName): string =>
  join(cacheRoot(), 'parts', `${versioned(part)}-${sourceKey(part)}`);

export const isBuilt = (part: GoPartName): boolean => existsSync(partFolder(part));

/** The environment of every Go command: reproducible, and never a toolchain that nobody asked for. */
const goEnvironment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  CGO_ENABLED: '0',
  GOFLAGS: '-buildvcs=false -mod=readonly',
  GOTOOLCHAIN: 'local',
  GOWORK: 'off',
  // The collector's share of a compile is a tenth; a machine that builds Kubernetes has the memory to do without some of it.
  GOGC: process.env['GOGC'] ?? '400',
});

/** How every part is compiled, for who builds a variant of one: folder of go.mod, environment and flags of `go build`. */
export const compileSettings = (part: GoPart = goParts.etcd) => ({
  sources: sourcesOf(part),
  environment: goEnvironment(),
  flags: [...FLAGS, `-ldflags=${LDFLAGS}`],
});

/** Reads `go version` output; undefined when it is not one. */
export function parseGoVersion(text: string): readonly [number, number] | undefined {
  const match = /\bgo(\d+)\.(\d+)/.exec(text);
  return match ? [Number(match[1]), Number(match[2])] : undefined;
}

/** What is wrong with the Go that is there, or undefined. */
export function goComplaint(versionText: string | undefined): Failure | undefined {
  const needed = GO_NEEDED.join('.');
  if (versionText === undefined) {
    return new Failure(
      'NO_GO',
      `Go ${needed} or newer is needed to build Kubernetes, and no \`go\` is on PATH: install it`,
    );
  }
  const version = parseGoVersion(versionText);
  if (!version || version[0] < GO_NEEDED[0] || (version[0] === GO_NEEDED[0] && version[1] < GO_NEEDED[1])) {
    return new Failure(
      'GO_TOO_OLD',
      `Go ${needed} or newer is needed to build Kubernetes; here is: ${versionText.trim()}`,
    );
  }
  return undefined;
}

/** What is wrong with the free space, or undefined. `free` and `needed` are in bytes. */
export function diskComplaint(folder: string, free: number, needed: number): Failure | undefined {
  const gigabytes = (bytes: number) => (bytes / 2 ** 30).toFixed(1);
  return free >= needed
    ? undefined
    : new Failure(
        'NO_DISK',
        `${folder} has ${gigabytes(free)} GiB free, and ${gigabytes(needed)} GiB are needed: make room, or point XDG_CACHE_HOME (programs) or RAFTSMAN_KUBERNETES_STATE (clusters) elsewhere`,
      );
}

export function checkDisk(folder: string, needed: number): void {
  mkdirSync(folder, { recursive: true });
  const { bavail, bsize } = statfsSync(folder);
  const complaint = diskComplaint(folder, bavail * bsize, needed);
  if (complaint) throw complaint;
}

/** Builds the parts that are missing, those of one go.mod in one `go build`: each package compiles once, both cores stay busy. */
export async function buildParts(parts: readonly GoPartName[], progress: Progress): Promise<void> {
  if (parts.every(isBuilt)) return;
  await withLock('go-build', async () => {
    const missing = parts.filter((part) => !isBuilt(part));
    if (missing.length === 0) return;
    const go = which('go');
    const complaint = goComplaint(go && (await run(go, ['version'], { env: goEnvironment() })));
    if (complaint) throw complaint;
    checkDisk(cacheRoot(), DISK_TO_COMPILE);
    await progress.step(
      `build ${missing.map(versioned).join(', ')} from Go modules`,
      async () => {
        const modules = Map.groupBy(missing, (part) => sourcesOf(goParts[part]));
        for (const together of modules.values()) await compile(together, progress);
      },
      { begin: true },
    );
  });
}

async function compile(parts: readonly GoPartName[], progress: Progress): Promise<void> {
  const aside = join(cacheRoot(), 'parts', `.building-${process.pid}`);
  rmSync(aside, { recursive: true, force: true });
  mkdirSync(aside, { recursive: true });
  let compiled = 0;
  let downloaded = 0;
  const count = (text: string) => {
    for (const line of text.split('\n')) {
      if (line.startsWith('go: downloading')) downloaded += 1;
      else if (line !== '') compiled += 1;
    }
  };
  const ticker = setInterval(
    () =>
      progress.note(`  … ${compiled} packages compiled${downloaded > 0 ? `, ${downloaded} modules downloaded` : ''}`),
    20_000,
  );
  try {
    const packages = parts.map((part) => goParts[part].package);
    const { sources: cwd, environment: env, flags } = compileSettings(goParts[parts[0]!]);
    const settings = { cwd, env, onOutput: count, failure: 'BUILD_FAILED' } as const;
    await run('go', ['build', '-v', ...flags, '-o', `${aside}/`, ...packages], settings);
    for (const part of parts) install(part, aside);
  } finally {
    clearInterval(ticker);
    rmSync(aside, { recursive: true, force: true });
  }
}

/** Puts a part's binary and its links in place with one rename, so that nobody ever sees half of it. */
function install(part: GoPartName, aside: string): void {
  const { output, names }: GoPart = goParts[part];
  const folder = join(aside, `${part}.d`);
  mkdirSync(folder);
  renameSync(join(aside, output), join(folder, names[0]));
  for (const name of names.slice(1)) symlinkSync(names[0], join(folder, name));
  renameSync(folder, partFolder(part));
}

/** Where a tool's binary is (or will be) in the cache. */
export function toolPath(name: ToolName): string {
  const part = partOf(name);
  if (part === undefined) throw new Failure('BAD_ARGUMENT', `there is no tool called ${name}`);
  return join(partFolder(part), name);
}

/** The programs of an etcd, by name; built first if they are not cached. */
export async function etcdTools(
  version: EtcdVersion,
  progress: Progress = toStderr(),
): Promise<Record<EtcdProgram, string>> {
  const part = (program: EtcdProgram) => etcdPart(program, version);
  await buildParts([part('etcd'), part('etcdctl'), part('etcdutl')], progress);
  const path = (program: EtcdProgram) => join(partFolder(part(program)), program);
  return { etcd: path('etcd'), etcdctl: path('etcdctl'), etcdutl: path('etcdutl') };
}

/** The path of `kubectl`, `helm`, `etcdctl`, `etcdutl`, `etcd`, `benchmark` …, building it first if it is not cached. */
export async function tool(name: ToolName, progress: Progress = toStderr()): Promise<string> {
  const path = toolPath(name);
  const part = partOf(name);
  if (part !== undefined && !existsSync(path)) await buildParts([part], progress);
  return path;
}
