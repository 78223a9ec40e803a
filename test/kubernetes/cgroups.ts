import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from './command.ts';

const ROOT = '/sys/fs/cgroup';

export const isVersion2 = (): boolean => existsSync(join(ROOT, 'cgroup.controllers'));

/** The cgroup above all of a cluster's pods, within each hierarchy. */
export const cgroupOf = (name: string): string => `raftsman-${name}`;

/** Version 1 has one hierarchy per controller (several names may be links to one); version 2 has one in all. */
function hierarchies(): string[] {
  if (isVersion2()) return [ROOT];
  return existsSync(ROOT)
    ? readdirSync(ROOT, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => join(ROOT, entry.name))
    : [];
}

/**
 * Ten times a process's share of the processor: all pods of a cluster together would otherwise get as much as one compiler
 * beside them, and the operator would lose its Lease.
 */
const SHARE = { 'cpu.shares': '10240', 'cpu.weight': '1000' } as const;

/** Makes the cluster's cgroup in every hierarchy; the kubelet wants its root to exist. */
export function makeCgroups(name: string): void {
  for (const hierarchy of hierarchies()) {
    const folder = join(hierarchy, cgroupOf(name));
    mkdirSync(folder, { recursive: true });
    if (isVersion2()) passControllersOn(hierarchy, folder);
    for (const [file, share] of Object.entries(SHARE)) {
      if (existsSync(join(folder, file))) writeFileSync(join(folder, file), share);
    }
    // A new cpuset is empty, and no process can enter it before it has processors and memory nodes.
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      const own = join(folder, file);
      const parent = join(hierarchy, file);
      if (!isVersion2() && existsSync(own) && existsSync(parent) && readFileSync(own, 'utf8').trim() === '') {
        writeFileSync(own, readFileSync(parent, 'utf8'));
      }
    }
  }
}

function passControllersOn(parent: string, folder: string): void {
  const available = readFileSync(join(parent, 'cgroup.controllers'), 'utf8').trim().split(/\s+/).filter(Boolean);
  for (const each of [parent, folder]) {
    for (const controller of available) {
      try {
        writeFileSync(join(each, 'cgroup.subtree_control'), `+${controller}`);
      } catch {
        // Not every controller can be passed on everywhere; the kubelet says which one it misses.
      }
    }
  }
}

/** Removes the cluster's cgroups, which must have no process left but may still be losing their last. */
export async function removeCgroups(name: string): Promise<void> {
  const left = () => hierarchies().filter((hierarchy) => !removeTree(join(hierarchy, cgroupOf(name))));
  await until(`the cgroups of ${name} to be empty`, () => left().length === 0, { timeoutMs: 15_000, everyMs: 20 });
}

function removeTree(folder: string): boolean {
  if (!existsSync(folder)) return true;
  try {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (entry.isDirectory()) removeTree(join(folder, entry.name));
    }
    rmdirSync(folder);
    return true;
  } catch {
    return !existsSync(folder);
  }
}
