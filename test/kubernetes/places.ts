import { mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Built and unpacked tools, shared by all clusters and checkouts; safe to delete while no cluster runs. */
export function cacheRoot(env: NodeJS.ProcessEnv = process.env): string {
  return join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'raftsman');
}

/**
 * One folder per cluster: its disks, logs, certificates. `down` removes the cluster's whole folder. One place for the whole
 * machine, whoever's home and checkout a cluster came from: its addresses, links and cgroups are the machine's, too.
 */
export function stateRoot(env: NodeJS.ProcessEnv = process.env): string {
  return env['RAFTSMAN_KUBERNETES_STATE'] || '/var/lib/raftsman-kubernetes';
}

export const clusterFolder = (name: string): string => join(stateRoot(), name);

/**
 * Locks stay when what they guard goes, so that no two processes ever hold "the" lock. Those of clusters and their addresses are
 * the machine's, the others belong to a cache.
 */
export function lockFile(name: string): string {
  const ofMachine = name === 'addresses' || name.startsWith('cluster-');
  const folder = ofMachine ? '/run/lock/raftsman-kubernetes' : join(cacheRoot(), 'locks');
  mkdirSync(folder, { recursive: true });
  return join(folder, name);
}

/**
 * Where a cluster's processes see the cache and their own folder. Inside their mount namespace these places are fixed and
 * short: sockets fit their 107 bytes, and /tmp, /run and /var/lib can be covered wherever the user's home may be.
 */
export const inside = {
  cache: '/run/raftsman/cache',
  state: '/run/raftsman/state',
} as const;

/** The path of a file of the cache as a cluster's processes see it. */
export function cachedInside(path: string): string {
  const root = cacheRoot();
  if (!path.startsWith(`${root}/`)) throw new Error(`${path} is not in the cache ${root}`);
  return `${inside.cache}${path.slice(root.length)}`;
}

const NAME = /^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/;

/** A cluster's name becomes a folder, a cgroup and a kubeconfig context. */
export const isClusterName = (name: string): boolean => NAME.test(name);
