import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Depth } from './parts.ts';
import { clusterFolder, stateRoot } from './places.ts';
import { isAlive, type Sandbox } from './sandbox.ts';

/** What is remembered of a cluster, in `cluster.json` of its folder. */
export interface ClusterRecord {
  readonly name: string;
  readonly depth: Depth;
  readonly sandbox: Sandbox;
  /** The cache whose programs it runs. A cluster whose cache is gone cannot start another pod. */
  readonly cache: string;
  /** Which addresses it has; absent until it has been given some. */
  readonly slot?: number;
  /** Every part has been seen at work. */
  readonly complete: boolean;
}

const fileOf = (name: string): string => join(clusterFolder(name), 'cluster.json');

export function writeRecord(record: ClusterRecord): void {
  const file = fileOf(record.name);
  mkdirSync(clusterFolder(record.name), { recursive: true });
  writeFileSync(`${file}.new`, `${JSON.stringify(record, null, 2)}\n`);
  renameSync(`${file}.new`, file);
}

export function readRecord(name: string): ClusterRecord | undefined {
  try {
    return JSON.parse(readFileSync(fileOf(name), 'utf8')) as ClusterRecord;
  } catch {
    return undefined;
  }
}

/** The names of all clusters that have a folder, whether they live or not. */
export const clusterNames = (): string[] =>
  existsSync(stateRoot())
    ? readdirSync(stateRoot(), { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => entry.name)
        .sort()
    : [];

export const livingRecords = (): ClusterRecord[] =>
  clusterNames()
    .map(readRecord)
    .filter((record) => record !== undefined)
    .filter((record) => isAlive(record.sandbox));
