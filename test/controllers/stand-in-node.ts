/**
 * Stands in for kubelet, DNS and storage where there is only a control plane: runs what the pods of a namespace say as
 * real processes on loopback addresses of their own, and reports them as kubelet would. The members and Jobs are the
 * real ones; what is missing is the container around them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { KubeClient } from '../../src/kube/contract.ts';
import { isNotFound } from '../../src/kube/errors.ts';
import { configMaps, type Pod, pods } from '../../src/kube/kinds.ts';
import type { Live } from '../../src/kube/objects.ts';
import { createReflector } from '../../src/kube/reflector.ts';
import { createLog } from '../../src/log.ts';
import { freePort } from '../ports.ts';
import { secretVolumes } from './stand-in-secrets.ts';
import { standInVolumes } from './stand-in-volumes.ts';

const root = resolve(import.meta.dirname, '../..');
const main = join(root, 'src/main.ts');
const names = join(import.meta.dirname, 'stand-in-names.ts');

interface Container {
  readonly name: string;
  readonly args: readonly string[];
  readonly image: string;
  readonly env?: readonly {
    readonly name: string;
    readonly value?: string;
    readonly valueFrom?: { readonly configMapKeyRef?: { readonly name: string; readonly key: string } };
  }[];
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
}

interface Running {
  readonly uid: string;
  readonly ip: string;
  child?: ChildProcess;
  stopped: boolean;
  output: string;
}

export interface StandInNode {
  /** Where the processes of pods keep the volume of a claim: the "disk". */
  disk(claim: string): string;
  /** What a storage class does when a claim is deleted: the next claim of the name starts empty. */
  eraseDisk(claim: string): void;
  /** Reads a Job's progress although several share this machine's port 8082. */
  fetchProgress(url: string, signal: AbortSignal): Promise<string>;
  /** The address of a member, for clients. */
  endpoint(member: string, scheme?: 'http' | 'https'): string;
  /** Ends a member's process as a crash would; its container is started again, as kubelet does. */
  kill(member: string, signal?: NodeJS.Signals): void;
  /** Images that cannot be pulled. */
  readonly badImages: Set<string>;
  /** What the processes of a pod last printed. */
  output(pod: string): string;
  stop(): Promise<void>;
}

let networks = 1;

export function standInNode(client: KubeClient, namespace: string): StandInNode {
  // 127.x.y.z: a network per stand-in, far from what other tests use.
  const network = `127.${100 + (process.pid % 100)}.${networks++}`;
  const addresses = new Map<string, string>();
  const progressPorts = new Map<string, number>();
  const running = new Map<string, Running>();
  const outputs = new Map<string, string>();
  const disks = new Map<string, string>();
  const badImages = new Set<string>();
  const folder = mkdtempSync(join(tmpdir(), 'raftsman-stand-in-'));
  const certificates = secretVolumes(client, namespace, folder);
  const stop = new AbortController();
  const pending = new Set<Promise<void>>();

  const hosts = join(folder, 'hosts.json');
  const addressOf = (name: string): string => {
    const known = addresses.get(name);
    if (known !== undefined) return known;
    const address = `${network}.${addresses.size + 1}`;
    addresses.set(name, address);
    // Whole or not at all: members read it.
    writeFileSync(`${hosts}.new`, JSON.stringify(Object.fromEntries(addresses)));
    renameSync(`${hosts}.new`, hosts);
    return address;
  };
  const disk = (claim: string): string => {
    const known = disks.get(claim) ?? mkdtempSync(join(folder, 'disk-'));
    disks.set(claim, known);
    return known;
  };

  /** A claim that was made anew has a disk of its own: what its namesake left is gone with that one. */
  const claims = new Map<string, string>();
  const volumes = standInVolumes(client, namespace, stop.signal);
  const provision = async (pod: Live<Pod>): Promise<void> => {
    const spec = pod.spec as { volumes?: { persistentVolumeClaim?: { claimName: string } }[] };
    for (const { persistentVolumeClaim } of spec.volumes ?? []) {
      const name = persistentVolumeClaim?.claimName;
      if (name === undefined) continue;
      const uid = await volumes.bound(name);
      if (claims.has(name) && claims.get(name) !== uid) disks.delete(name);
      claims.set(name, uid);
    }
  };

  const report = async (pod: Live<Pod>, status: Pod['status']): Promise<void> => {
    try {
      await client.patch(pods, { namespace, name: pod.metadata.name }, { status }, { subresource: 'status' });
    } catch (error) {
      if (!isNotFound(error) && !stop.signal.aborted) throw error;
    }
  };

  /** Where each path inside the container is on this machine. */
  const mountsOf = (pod: Live<Pod>, container: Container): [string, string][] => {
    const spec = pod.spec as {
      volumes?: { name: string; persistentVolumeClaim?: { claimName: string } }[];
    };
    return (container.volumeMounts ?? []).flatMap(({ name, mountPath }): [string, string][] => {
      const claim = spec.volumes?.find((volume) => volume.name === name)?.persistentVolumeClaim?.claimName;
      if (claim !== undefined) return [[mountPath, disk(claim)]];
      const secret = certificates.folderOf(pod, name);
      return secret === undefined ? [] : [[mountPath, secret]];
    });
  };

  const argumentsOf = (pod: Live<Pod>, container: Container, ip: string): string[] => {
    const name = pod.metadata.name;
    const mounts = mountsOf(pod, container);
    return container.args.map((argument) => {
      let text = argument.replaceAll('$(POD_NAME)', name).replaceAll('0.0.0.0', ip);
      // Members keep their names, by which the operator knows them in the list, and certificates are for names; other
      // Jobs only have to get there.
      if (container.args[0] === 'job' && !argument.includes('https://'))
        text = text.replace(/([a-z0-9-]+)\.[a-z0-9-]+-peers\.[a-z0-9-]+\.svc/g, (_, member: string) =>
          addressOf(member),
        );
      for (const [inside, outside] of mounts) text = text.replaceAll(inside, outside);
      return text;
    });
  };

  const environmentOf = async (pod: Live<Pod>, container: Container): Promise<Record<string, string>> => {
    const environment: Record<string, string> = {};
    for (const { name, value, valueFrom } of container.env ?? []) {
      if (value !== undefined) environment[name] = value;
      const from = valueFrom?.configMapKeyRef;
      if (!from) continue;
      const map = await client.get(configMaps, { namespace, name: from.name });
      environment[name] = map.data?.[from.key] ?? '';
    }
    for (const [inside, outside] of mountsOf(pod, container))
      if (inside === '/store') environment['RAFTSMAN_STORE_MOUNT'] = outside;
    return environment;
  };

  const launch = async (pod: Live<Pod>, container: Container, state: Running, more: Record<string, string>) => {
    const environment = await environmentOf(pod, container);
    const args = argumentsOf(pod, container, state.ip);
    const program = ['--disable-warning=ExperimentalWarning', `--import=${pathToFileURL(names)}`, main, ...args];
    const child = spawn(process.execPath, program, {
      env: { PATH: process.env['PATH'] ?? '', RAFTSMAN_STAND_IN_HOSTS: hosts, ...environment, ...more },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        state.output = (state.output + chunk.toString('utf8')).slice(-20_000);
        outputs.set(pod.metadata.name, state.output);
      });
    }
    state.child = child;
    if (state.stopped) child.kill('SIGKILL');
    return new Promise<number>((done) => {
      child.once('exit', (code) => done(code ?? 137));
      child.once('error', (error) => {
        outputs.set(pod.metadata.name, `stand-in: ${error.message}`);
        done(127);
      });
    });
  };

  const asJob = async (pod: Live<Pod>, container: Container, state: Running, statuses: 'init' | 'main') => {
    const port = await freePort();
    progressPorts.set(state.ip, port);
    const log = join(folder, `termination-${pod.metadata.uid}-${container.name}`);
    const exitCode = await launch(pod, container, state, {
      RAFTSMAN_PROGRESS_PORT: String(port),
      RAFTSMAN_TERMINATION_LOG: log,
    });
    const terminated = { exitCode, message: readMessage(log), reason: exitCode === 0 ? 'Completed' : 'Error' };
    return { exitCode, statuses: { [statuses]: [containerStatus(container, { terminated })] } };
  };

  const run = async (pod: Live<Pod>): Promise<void> => {
    const { name, uid } = pod.metadata;
    const state: Running = { uid, ip: addressOf(name), stopped: false, output: '' };
    running.set(name, state);
    const spec = pod.spec as { containers: Container[]; initContainers?: Container[] };
    const [container] = spec.containers;
    if (!container) return;
    await provision(pod);
    await certificates.provide(pod);
    if (badImages.has(container.image)) {
      const waiting = { reason: 'ErrImagePull', message: `${container.image}: not found` };
      await report(pod, { phase: 'Pending', containerStatuses: [containerStatus(container, { waiting })] });
      return;
    }
    const startTime = new Date().toISOString().replace(/\.\d+Z/, 'Z');
    const alive = { podIP: state.ip, podIPs: [{ ip: state.ip }], startTime } as Pod['status'];
    for (const init of spec.initContainers ?? []) {
      for (;;) {
        await report(pod, {
          ...alive,
          phase: 'Pending',
          initContainerStatuses: [containerStatus(init, { running: { startedAt: startTime } })],
        } as Pod['status']);
        const { exitCode, statuses } = await asJob(pod, init, state, 'init');
        if (state.stopped) return;
        if (exitCode === 0) break;
        const terminated = statuses['init']![0]!.state.terminated!;
        const waiting = { reason: 'CrashLoopBackOff', message: 'back-off' };
        await report(pod, {
          ...alive,
          phase: 'Pending',
          initContainerStatuses: [{ ...containerStatus(init, { waiting }), lastState: { terminated } }],
        } as Pod['status']);
        await new Promise((done) => setTimeout(done, 300));
      }
    }
    await report(pod, {
      ...alive,
      phase: 'Running',
      conditions: [{ type: 'Ready', status: 'False' }],
    } as Pod['status']);
    if (container.args[0] === 'job') {
      const { exitCode, statuses } = await asJob(pod, container, state, 'main');
      if (state.stopped) return;
      await report(pod, {
        phase: exitCode === 0 ? 'Succeeded' : 'Failed',
        containerStatuses: statuses['main']!,
      } as Pod['status']);
      return;
    }
    await asMember(pod, container, state);
  };

  const asMember = async (pod: Live<Pod>, container: Container, state: Running): Promise<void> => {
    let restartCount = 0;
    while (!state.stopped) {
      let ended = false;
      const exit = launch(pod, container, state, {}).finally(() => {
        ended = true;
      });
      const ready = await becomesReady(state, () => ended);
      if (ready && !state.stopped)
        await report(pod, {
          phase: 'Running',
          conditions: [{ type: 'Ready', status: 'True' }],
          containerStatuses: [{ ...containerStatus(container, { running: {} }), ready: true, restartCount }],
        } as Pod['status']);
      const exitCode = await exit;
      if (state.stopped) return;
      restartCount += 1;
      const message = state.output.slice(-500);
      await report(pod, {
        phase: 'Running',
        conditions: [{ type: 'Ready', status: 'False' }],
        containerStatuses: [
          {
            ...containerStatus(container, { waiting: { reason: 'CrashLoopBackOff', message: 'back-off' } }),
            lastState: { terminated: { exitCode, message } },
            restartCount,
          },
        ],
      } as Pod['status']);
      await new Promise((done) => setTimeout(done, 300));
    }
  };

  const becomesReady = async (state: Running, ended: () => boolean): Promise<boolean> => {
    while (!state.stopped && !ended()) {
      const answer = await fetch(`http://${state.ip}:2381/readyz`).catch(() => undefined);
      await answer?.text();
      if (answer?.ok) return true;
      await new Promise((done) => setTimeout(done, 50));
    }
    return false;
  };

  const halt = (name: string): void => {
    const state = running.get(name);
    if (!state) return;
    state.stopped = true;
    running.delete(name);
    certificates.forget(state.uid);
    state.child?.kill('SIGKILL');
  };

  const see = (pod: Live<Pod>): void => {
    const { name, uid } = pod.metadata;
    if (running.get(name)?.uid === uid || pod.metadata.deletionTimestamp !== undefined) return;
    if (['Succeeded', 'Failed'].includes(pod.status?.phase ?? '')) return;
    halt(name);
    const work: Promise<void> = run(pod)
      .catch((error) => {
        if (!stop.signal.aborted) outputs.set(name, `stand-in: ${(error as Error).stack}`);
      })
      .finally(() => pending.delete(work));
    pending.add(work);
  };

  const reflector = createReflector<Pod>({
    client,
    type: pods,
    selection: { namespace },
    log: createLog({ level: 'error' }),
    sink: {
      replace: (objects) => {
        for (const name of [...running.keys()]) if (!objects.some(({ metadata }) => metadata.name === name)) halt(name);
        for (const pod of objects) see(pod);
      },
      upsert: see,
      remove: ({ metadata }) => {
        if (running.get(metadata.name)?.uid === metadata.uid) halt(metadata.name);
      },
    },
  });
  const watching = Promise.all([reflector.run(stop.signal), certificates.run(stop.signal)]);

  return {
    disk,
    eraseDisk: (claim) => void disks.delete(claim),
    badImages,
    endpoint: (member, scheme = 'http') => `${scheme}://${addressOf(member)}:2379`,
    kill: (member, signal = 'SIGKILL') => void running.get(member)?.child?.kill(signal),
    output: (pod) => outputs.get(pod) ?? '',
    async fetchProgress(url, signal) {
      const ip = new URL(url).hostname;
      const answer = await fetch(`http://127.0.0.1:${progressPorts.get(ip)}/progress`, { signal });
      return answer.text();
    },
    async stop() {
      stop.abort();
      for (const name of [...running.keys()]) halt(name);
      await watching;
      await Promise.all(pending);
      await volumes.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function containerStatus(container: Container, state: object) {
  return {
    name: container.name,
    image: container.image,
    imageID: '',
    ready: false,
    restartCount: 0,
    state: state as { terminated?: { exitCode: number; message: string } },
  };
}

function readMessage(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
