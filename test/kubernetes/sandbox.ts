import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Addresses } from './addresses.ts';
import { run, startTimeOf, tail, until, which } from './command.ts';
import { Failure } from './failure.ts';
import { inside } from './places.ts';

/**
 * A cluster lives in mount, network, IPC and process namespaces of its own. Its first process does nothing but be there:
 * when it ends, the kernel ends every process of the cluster, and with the last of them go all mounts, the network and the
 * link to the host. So a cluster that died has left only its folder and (empty) cgroups.
 */
export interface Sandbox {
  /** The first process, as the host numbers it. */
  readonly pid: number;
  /** Names that process for good, see `startTimeOf`. */
  readonly startTime: string;
}

export interface Part {
  readonly name: string;
  readonly log: string;
  /** Throws, with the end of its log, if the part has ended. */
  check(): void;
}

export const isAlive = (sandbox: Sandbox): boolean => startTimeOf(sandbox.pid) === sandbox.startTime;

/** Files under /proc/sys that the kubelet insists on setting, with what it wants: it gets files to write, not the machine's. */
const KERNEL_SETTINGS = {
  'vm/overcommit_memory': 1,
  'vm/panic_on_oom': 0,
  'kernel/panic': 10,
  'kernel/panic_on_oops': 1,
  'kernel/keys/root_maxkeys': 1_000_000,
  'kernel/keys/root_maxbytes': 25_000_000,
};

/**
 * The first process. The host's folders that Kubernetes' programs write to are covered by ours. It ignores the death of
 * children (which makes the kernel reap the orphans it inherits) and ends by `exec` as a sleep, or as a reader of
 * stdin, whose end is then the end of the cluster.
 */
const initScript = (cache: string, state: string, ownerHolds: boolean): string => `
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p ${inside.cache} ${inside.state} /run/raftsman/sysctl
mount --bind '${cache}' ${inside.cache}
mount --bind '${state}' ${inside.state}
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir -p /var/lib/kubelet /var/lib/containerd /var/lib/cni
mount --bind ${inside.state}/kubelet /var/lib/kubelet
mount --bind ${inside.state}/containerd /var/lib/containerd
mount --bind ${inside.state}/log /var/log
mount --bind ${inside.state}/tmp /tmp
mount --make-rshared /
${Object.entries(KERNEL_SETTINGS)
  .map(([setting, value]) => {
    const file = `/run/raftsman/sysctl/${setting.replaceAll('/', '.')}`;
    return `if [ -e /proc/sys/${setting} ]; then echo ${value} > ${file}; mount --bind ${file} /proc/sys/${setting}; fi`;
  })
  .join('\n')}
echo 1 > /proc/sys/net/ipv4/ip_forward
ip link set lo up
trap '' CHLD
cd /
: > ${inside.state}/sandbox.ready
exec ${ownerHolds ? 'cat >/dev/null' : 'sleep 2147483647'}
`;

const NEEDED = ['unshare', 'nsenter', 'ip', 'mount', 'flock', 'sh', 'sleep'] as const;

/** What the machine lacks for any cluster, or undefined. */
export function machineComplaint(
  uid: number | undefined,
  platform: string,
  has: (command: string) => boolean,
): Failure | undefined {
  if (platform !== 'linux') return new Failure('NOT_LINUX', `a local Kubernetes needs Linux, and this is ${platform}`);
  if (uid !== 0) {
    return new Failure('NOT_ROOT', 'a local Kubernetes needs root (namespaces, mounts, cgroups): run it as root');
  }
  const missing = NEEDED.filter((command) => !has(command));
  return missing.length === 0
    ? undefined
    : new Failure(
        'MISSING_COMMAND',
        `missing on PATH: ${missing.join(', ')}: install the packages util-linux, mount and iproute2`,
      );
}

export function checkMachine(): void {
  const complaint = machineComplaint(process.getuid?.(), process.platform, (command) => which(command) !== undefined);
  if (complaint) throw complaint;
}

/** With `ownerHolds` the cluster ends when this process does, however it ends. */
export async function startSandbox(cache: string, state: string, ownerHolds: boolean): Promise<Sandbox> {
  for (const folder of ['kubelet', 'containerd', 'log', 'tmp', 'etcd', 'pki', 'config']) {
    mkdirSync(join(state, folder), { recursive: true, mode: folder === 'tmp' ? 0o777 : 0o755 });
  }
  const log = join(state, 'log', 'sandbox.log');
  const fd = openSync(log, 'a');
  const flags = [
    '--mount',
    '--propagation',
    'private',
    '--net',
    '--ipc',
    '--pid',
    '--fork',
    '--kill-child',
    '--mount-proc',
  ];
  const child = spawn('unshare', [...flags, 'sh', '-c', initScript(cache, state, ownerHolds)], {
    cwd: '/',
    detached: true,
    stdio: [ownerHolds ? 'pipe' : 'ignore', fd, fd],
  });
  closeSync(fd);
  child.on('error', () => {});
  await until('the namespaces of the cluster', () => existsSync(join(state, 'sandbox.ready')), {
    timeoutMs: 20_000,
    everyMs: 5,
    check: () => {
      if (child.exitCode !== null || child.signalCode !== null) {
        throw new Failure('NO_NAMESPACES', `the cluster's namespaces could not be made: ${tail(log)}`);
      }
    },
  });
  child.unref();
  (child.stdin as unknown as { unref?: () => void } | null)?.unref?.();
  const first = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim();
  const pid = Number(first);
  const startTime = startTimeOf(pid);
  if (startTime === undefined) throw new Failure('NO_NAMESPACES', `the cluster's first process ended: ${tail(log)}`);
  return { pid, startTime };
}

const entering = (sandbox: Sandbox): string[] => [
  `--target=${sandbox.pid}`,
  '--mount',
  '--net',
  '--ipc',
  '--pid',
  '--',
];

/** Runs a command in the cluster's namespaces to its end. */
export const runInside = (sandbox: Sandbox, argv: readonly string[], options: Parameters<typeof run>[2] = {}) =>
  run('nsenter', [...entering(sandbox), ...argv], { cwd: '/', ...options });

/** Starts a part that stays. Everything that it prints goes to its log file. */
export function startPart(
  sandbox: Sandbox,
  state: string,
  name: string,
  argv: readonly string[],
  env: Record<string, string> = {},
): Part {
  const log = join(state, 'log', `${name}.log`);
  const fd = openSync(log, 'a');
  const child: ChildProcess = spawn('nsenter', [...entering(sandbox), ...argv], {
    cwd: '/',
    detached: true,
    stdio: ['ignore', fd, fd],
    env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', ...env },
  });
  closeSync(fd);
  child.on('error', () => {});
  child.unref();
  return {
    name,
    log,
    check() {
      if (child.exitCode !== null || child.signalCode !== null) {
        const how = child.exitCode ?? child.signalCode;
        throw new Failure('PART_DIED', `${name} ended with ${how}; the end of its log:\n${tail(log)}`);
      }
    },
  };
}

/** Ends everything in the sandbox and waits until the kernel is done with it. */
export async function stopSandbox(sandbox: Sandbox, addresses: Addresses | undefined): Promise<void> {
  if (isAlive(sandbox)) process.kill(sandbox.pid, 'SIGKILL');
  await until(`the end of the cluster's processes (first is ${sandbox.pid})`, () => !isAlive(sandbox), {
    timeoutMs: 30_000,
    everyMs: 10,
  });
  // The link goes with the network namespace, but the kernel takes its time; the next cluster may want the name now.
  if (addresses) await run('ip', ['link', 'delete', addresses.link]).catch(() => {});
}

/** Throws if one of these has ended. */
export function checkAll(parts: readonly Part[]): void {
  for (const part of parts) part.check();
}
