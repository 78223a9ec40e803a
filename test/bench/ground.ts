/** A local Kubernetes with the operator on it, for benchmarks: what they look at, and how they look without asking. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createClient } from '../../src/kube/client.ts';
import { connect } from '../../src/kube/connection.ts';
import type { KubeClient } from '../../src/kube/contract.ts';
import { namespaces } from '../../src/kube/kinds.ts';
import { type KubeObject, keyOf, type Live, type Manifest, type ResourceType } from '../../src/kube/objects.ts';
import { createReflector } from '../../src/kube/reflector.ts';
import { createLog } from '../../src/log.ts';
import { install } from '../e2e/install.ts';
import { Kubectl } from '../e2e/kubectl.ts';
import { abandonStart, startCluster } from '../kubernetes/cluster.ts';
import { etcdImage } from '../kubernetes/etcd-image.ts';
import { tool } from '../kubernetes/go-build.ts';
import { buildImage } from '../kubernetes/image-build.ts';
import { toStderr } from '../kubernetes/progress.ts';
import { withFarewell } from './owned.ts';

const root = join(import.meta.dirname, '../..');

export interface Ground {
  readonly kubectl: Kubectl;
  readonly client: KubeClient;
  readonly kubeconfig: string;
  readonly images: { readonly raftsman: string; readonly etcd: string };
}

/** Runs `work` on a node of its own, which goes whatever comes of it. */
export async function withGround(work: (ground: Ground) => Promise<void>): Promise<void> {
  const progress = toStderr();
  const name = `bench-${process.pid}`;
  const raftsman = 'raftsman:bench';
  const cluster = await withFarewell(
    () => abandonStart(name),
    () => startCluster(name, { depth: 'node', ephemeral: true, progress }),
  );
  await withFarewell(
    () => cluster.stop(),
    async () => {
      try {
        await promisify(execFile)(process.execPath, ['esbuild.config.js'], { cwd: root });
        await buildImage({ name, file: join(root, 'Dockerfile'), tag: raftsman }, progress);
        const etcd = await etcdImage(name, '3.6.8', progress);
        const { kubeconfig } = cluster;
        const kubectl = new Kubectl({ kubectl: await tool('kubectl'), kubeconfig, namespace: 'default' });
        const helm = await tool('helm');
        await install({ helm, kubeconfig, kubectl, image: raftsman, values: ['etcd.repository=etcd'] });
        const client = createClient(await connect({ kubeconfig }));
        try {
          await work({ kubectl, client, kubeconfig, images: { raftsman, etcd } });
        } finally {
          client.close();
        }
      } finally {
        await cluster.stop();
      }
    },
  );
}

/** A namespace of the benchmark's own. */
export async function makeNamespace(client: KubeClient, name: string): Promise<void> {
  await client.apply(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } } as Manifest);
}

/** Objects of some kinds as one watch each shows them: no time is lost between two questions. */
export class Watching {
  readonly #objects = new Map<string, Live<KubeObject>>();
  readonly #waiting = new Set<() => void>();
  #changedAt = performance.now();
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>;

  /** Resolves when everything that there is has been seen. */
  static async start(
    client: KubeClient,
    namespace: string,
    types: readonly ResourceType<KubeObject>[],
  ): Promise<Watching> {
    const synced: Promise<void>[] = [];
    const watching = new Watching(client, namespace, types, synced);
    await Promise.all(synced);
    return watching;
  }

  private constructor(
    client: KubeClient,
    namespace: string,
    types: readonly ResourceType<KubeObject>[],
    synced: Promise<void>[],
  ) {
    const log = createLog({ level: 'error' });
    this.#running = Promise.all(
      types.map((type) => {
        const keyed = (object: KubeObject) => `${type.plural} ${keyOf(object)}`;
        const changed = (change: () => void) => {
          change();
          this.#changedAt = performance.now();
          for (const look of [...this.#waiting]) look();
        };
        const reflector = createReflector<KubeObject>({
          client,
          type,
          log,
          selection: { namespace },
          sink: {
            replace: (objects) =>
              changed(() => {
                for (const key of this.#objects.keys())
                  if (key.startsWith(`${type.plural} `)) this.#objects.delete(key);
                for (const object of objects) this.#objects.set(keyed(object), object);
              }),
            upsert: (object) => changed(() => this.#objects.set(keyed(object), object)),
            remove: (object) => changed(() => this.#objects.delete(keyed(object))),
          },
        });
        synced.push(reflector.synced);
        return reflector.run(this.#stop.signal);
      }),
    );
    this.#namespace = namespace;
  }

  readonly #namespace: string;

  get<T extends KubeObject>(type: ResourceType<T>, name: string): Live<T> | undefined {
    return this.#objects.get(`${type.plural} ${keyOf({ namespace: this.#namespace, name })}`) as Live<T> | undefined;
  }

  list<T extends KubeObject>(type: ResourceType<T>): Live<T>[] {
    const head = `${type.plural} `;
    return [...this.#objects].filter(([key]) => key.startsWith(head)).map(([, object]) => object as Live<T>);
  }

  /** Resolves at the change that makes `holds` true. `told`: what to say of the state when that takes longer than `withinMs`. */
  until(what: string, withinMs: number, holds: () => boolean, told: () => unknown = () => ''): Promise<void> {
    if (holds()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const look = (): void => {
        if (!holds()) return;
        clearTimeout(late);
        this.#waiting.delete(look);
        resolve();
      };
      const late = setTimeout(() => {
        this.#waiting.delete(look);
        reject(new Error(`waited ${withinMs / 1000} s until ${what}: ${JSON.stringify(told())}`));
      }, withinMs);
      this.#waiting.add(look);
    });
  }

  /** Resolves when nothing has changed for so long. */
  async untilCalm(what: string, calmMs: number, withinMs: number): Promise<void> {
    const deadline = performance.now() + withinMs;
    for (;;) {
      const leftMs = this.#changedAt + calmMs - performance.now();
      if (leftMs <= 0) return;
      if (performance.now() + leftMs > deadline) throw new Error(`waited ${withinMs / 1000} s until ${what} was calm`);
      await delay(leftMs);
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}
