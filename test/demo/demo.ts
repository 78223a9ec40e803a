/**
 * `make demo`: a Kubernetes from nothing, the operator from its chart, and the story on it. With --context the Kubernetes is
 * the user's own, and nothing of it is touched but the release, its CRDs and one namespace.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { uninstall, upgrade } from '../e2e/install.ts';
import { Kubectl, KubectlError } from '../e2e/kubectl.ts';
import { startCluster } from '../kubernetes/cluster.ts';
import { Failure } from '../kubernetes/failure.ts';
import { buildParts, tool, toolPath } from '../kubernetes/go-build.ts';
import { buildImage, importImage } from '../kubernetes/image-build.ts';
import { prepareNode } from '../kubernetes/node.ts';
import { partsFor } from '../kubernetes/parts.ts';
import { cacheRoot } from '../kubernetes/places.ts';
import { silent, toStderr } from '../kubernetes/progress.ts';
import { StepError, Steps } from './steps.ts';
import { tell } from './story.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');
const namespace = 'raftsman-demo';

const usage = `usage: demo.ts [--cluster NAME] | --context NAME [--image IMAGE] [--store FILE] [--down]

  --cluster NAME   the local Kubernetes to bring up (raftsman)
  --context NAME   a context of $KUBECONFIG instead: a Kubernetes of yours
  --image IMAGE    an image that it can pull, with --context
  --store FILE     a manifest that makes a RaftSnapshotStore called "archive", with --context (a volume of its default class)
  --down           remove what the demo made, with --context
`;

/** A store that any Kubernetes with a default StorageClass can give. */
const volumeStore = () =>
  readFileSync(join(root, 'examples/store-volume.yaml'), 'utf8').replace('name: archive-volume', 'name: archive');

async function onPath(program: string): Promise<string> {
  try {
    return (await run('sh', ['-c', `command -v ${program}`])).stdout.trim();
  } catch {
    throw new Error(`${program} is not on the PATH: with CONTEXT, install it first`);
  }
}

/** Named after what is in it, so that a cluster that is up already gets the program of today. */
async function bundle(): Promise<string> {
  const dist = join(root, 'dist');
  rmSync(dist, { recursive: true, force: true });
  await run(process.execPath, ['esbuild.config.js'], { cwd: root });
  const hash = createHash('sha256').update(readFileSync(join(root, 'Dockerfile')));
  for (const file of readdirSync(dist).sort()) hash.update(file).update(readFileSync(join(dist, file)));
  return `raftsman:${hash.digest('hex').slice(0, 12)}`;
}

async function buildArchive(): Promise<{ tag: string; archive: string }> {
  const tag = await bundle();
  const archive = join(cacheRoot(), 'images', `demo-${process.pid}.tar`);
  await buildImage({ file: join(root, 'Dockerfile'), tag, output: archive }, silent);
  return { tag, archive };
}

async function onLocal(name: string, steps: Steps): Promise<void> {
  let helm: Promise<string>;
  let image: Promise<{ tag: string; archive: string }>;
  const cluster = await steps.run('a Kubernetes on this machine', async () => {
    process.stdout.write('\n');
    const progress = toStderr();
    await Promise.all([buildParts(partsFor.node, progress), prepareNode(progress)]);
    // Where it is not cached it compiles while the cluster starts and the image is built.
    helm = tool('helm', progress);
    image = buildArchive();
    for (const later of [helm, image]) later.catch(() => {}); // reported where it is awaited
    return startCluster(name, { depth: 'node', progress });
  });
  const tag = await steps.run('the image, built from the Dockerfile, loaded into the node', async () => {
    const { tag, archive } = await image;
    await importImage(name, archive, silent);
    rmSync(archive);
    return tag;
  });
  const kubectl = new Kubectl({ kubectl: toolPath('kubectl'), kubeconfig: cluster.kubeconfig, namespace });
  await steps.run('helm install raftsman charts/raftsman', async () =>
    upgrade({ helm: await helm, kubeconfig: cluster.kubeconfig, kubectl, image: tag }),
  );
  await fresh(kubectl, steps);
  await tell({
    kubectl,
    steps,
    store: readFileSync(join(root, 'examples/store-s3.yaml'), 'utf8'),
    storeName: 'the bucket raftsman',
  });
  process.stdout.write(`
All of it is up for you to look at:

  export KUBECONFIG=${cluster.kubeconfig}
  export PATH=${join(toolPath('kubectl'), '..')}:$PATH
  kubectl -n ${namespace} get raftsman

make down removes all of it.
`);
}

async function onContext(context: string, image: string, store: string | undefined, steps: Steps): Promise<void> {
  const [kubectlPath, helm] = [await onPath('kubectl'), await onPath('helm')];
  const kubectl = new Kubectl({ kubectl: kubectlPath, context, namespace });
  await steps.run(`helm install raftsman charts/raftsman into ${context}`, () =>
    upgrade({ helm, context, kubectl, image }),
  );
  await fresh(kubectl, steps);
  await tell({
    kubectl,
    steps,
    store: store === undefined ? volumeStore() : readFileSync(store, 'utf8'),
    storeName: store === undefined ? 'a volume' : store,
  });
  process.stdout.write(
    `\nkubectl --context ${context} -n ${namespace} get raftsman\n\nCONTEXT=${context} make down removes it.\n`,
  );
}

/** A namespace that enforces the strictest of Kubernetes' own pod rules; what an earlier run left in it goes first. */
async function fresh(kubectl: Kubectl, steps: Steps): Promise<void> {
  const left = await kubectl.get('namespace', namespace);
  if (left) {
    await steps.run('remove what an earlier demo left', () => removeNamespace(kubectl));
  }
  await kubectl.apply(`apiVersion: v1
kind: Namespace
metadata:
  name: ${namespace}
  labels:
    pod-security.kubernetes.io/enforce: restricted
`);
}

async function removeNamespace(kubectl: Kubectl): Promise<void> {
  await kubectl.run(['delete', 'namespace', namespace, '--ignore-not-found', '--wait=true', '--timeout=120s']);
}

async function main(): Promise<number> {
  let values: { cluster: string; context?: string; image: string; store?: string; down: boolean; help: boolean };
  try {
    ({ values } = parseArgs({
      options: {
        cluster: { type: 'string', default: 'raftsman' },
        context: { type: 'string' },
        image: { type: 'string', default: 'raftsman:dev' },
        store: { type: 'string' },
        down: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }));
  } catch (error) {
    process.stderr.write(`demo: ${(error as Error).message}\n${usage}`);
    return 2;
  }
  if (values.help) {
    process.stdout.write(usage);
    return 0;
  }
  const steps = new Steps();
  try {
    if (values.context === undefined) await onLocal(values.cluster, steps);
    else if (values.down) {
      const kubectl = new Kubectl({ kubectl: await onPath('kubectl'), context: values.context, namespace });
      await removeNamespace(kubectl);
      await uninstall({ helm: await onPath('helm'), context: values.context, kubectl });
    } else await onContext(values.context, values.image, values.store, steps);
    return 0;
  } catch (error) {
    const known = error instanceof StepError || error instanceof Failure || error instanceof KubectlError;
    process.stderr.write(`\ndemo: ${known ? error.message : ((error as Error).stack ?? String(error))}\n`);
    return 1;
  }
}

process.exitCode = await main();
