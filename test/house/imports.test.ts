import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { describe, expect, test } from '@jest/globals';

const root = resolve(import.meta.dirname, '../..');
const src = join(root, 'src');

/** Which rooms a room may import from, beside itself. The order of the house: an import only goes down. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  api: [],
  raft: [],
  mvcc: [],
  archive: [],
  schedule: [],
  storage: ['raft'],
  etcd: [],
  stores: ['api'],
  engines: ['etcd', 'archive', 'stores', 'schedule', 'api'],
  kube: ['api'],
  runtime: ['kube', 'api'],
  node: ['raft', 'storage', 'mvcc', 'etcd', 'archive'],
  jobs: ['engines', 'etcd', 'archive', 'stores', 'api'],
  cli: ['engines', 'etcd', 'archive', 'stores', 'api'],
  controllers: ['runtime', 'kube', 'engines', 'stores', 'schedule', 'api'],
};

/** Files that any room may import (the pure ones excepted): leaves that import nothing of ours. */
const leaves = ['crc64.ts', 'log.ts', 'version.ts'];
const pure = ['raft', 'mvcc', 'schedule', 'api'];

/** What Job pods tell the operator is a wire format, which both ends read from one file. */
const exceptions = ['controllers -> jobs/result.ts'];

interface Import {
  readonly file: string;
  readonly room: string;
  readonly target: string;
}

function files(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}

const sources = files(src).map((path) => ({
  path,
  file: relative(src, path).split(sep).join('/'),
  text: readFileSync(path, 'utf8'),
}));

const imports: Import[] = sources.flatMap(({ path, file, text }) =>
  [
    ...text.matchAll(
      /(?:^|[\s;])(?:import|export)\s[^'"`;]*?from\s*['"]([^'"]+)['"]|import\s*\(\s*['"]([^'"]+)['"]|(?:^|\n)import\s+['"]([^'"]+)['"]/g,
    ),
  ].map((match) => {
    const specifier = (match[1] ?? match[2] ?? match[3])!;
    const target = specifier.startsWith('.')
      ? relative(src, resolve(path, '..', specifier))
          .split(sep)
          .join('/')
      : specifier;
    return { file, room: file.includes('/') ? file.slice(0, file.indexOf('/')) : '', target };
  }),
);

const ours = (target: string) => sources.some(({ file }) => file === target);
const roomOf = (target: string) => (target.includes('/') ? target.slice(0, target.indexOf('/')) : target);

describe('the house', () => {
  test('every room of src is in the table, so that a new one gets its place before it gets imports', () => {
    const rooms = new Set(
      sources
        .map(({ file }) => file)
        .filter((file) => file.includes('/'))
        .map(roomOf),
    );
    expect([...rooms].filter((room) => !(room in mayImport))).toEqual([]);
  });

  test('an import only goes down: no room imports a room above or beside it', () => {
    const wrong = imports
      .filter(({ room, target }) => room !== '' && ours(target))
      .filter(({ room, target }) => {
        const to = roomOf(target);
        if (to === room) return false;
        if (leaves.includes(target)) return pure.includes(room);
        return !mayImport[room]!.includes(to) && !exceptions.includes(`${room} -> ${target}`);
      })
      .map(({ file, target }) => `${file} -> ${target}`);
    expect(wrong).toEqual([]);
  });

  test('relative imports name a file that exists, with its .ts', () => {
    const dangling = sources.flatMap(({ path, file, text }) =>
      [...text.matchAll(/from\s*['"](\.[^'"]+)['"]/g)]
        .map((match) =>
          relative(src, resolve(path, '..', match[1]!))
            .split(sep)
            .join('/'),
        )
        .filter((target) => !ours(target))
        .map((target) => `${file} -> ${target}`),
    );
    expect(dangling).toEqual([]);
  });

  test('raft and mvcc are pure: no node:*, no clock, no timer, no randomness', () => {
    const impure = sources
      .filter(({ file }) => ['raft', 'mvcc'].includes(roomOf(file)))
      .flatMap(({ file, text }) => {
        const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
        return [
          ...code.matchAll(
            /['"]node:[^'"]+['"]|\bDate\b|\bperformance\b|\bsetTimeout\b|\bsetInterval\b|\bsetImmediate\b|\bMath\.random\b|\bprocess\.|\bBuffer\b/g,
          ),
        ].map((match) => `${file}: ${match[0]}`);
      });
    expect(impure).toEqual([]);
  });

  test('only kube imports @kubernetes/client-node, and only stores the AWS SDK', () => {
    const wrong = imports
      .filter(
        ({ room, target }) =>
          (target.startsWith('@kubernetes/') && room !== 'kube') ||
          (target.startsWith('@aws-sdk/') && room !== 'stores'),
      )
      .map(({ file, target }) => `${file} -> ${target}`);
    expect(wrong).toEqual([]);
  });

  test('nothing is called utils, helpers or common', () => {
    const everything = [...files(src), ...files(join(root, 'test'))].map((path) => relative(root, path));
    expect(everything.filter((path) => /(^|[/\\.-])(utils?|helpers?|common|misc)([/\\.-]|$)/i.test(path))).toEqual([]);
  });
});

describe('the packages', () => {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { optionalDependencies?: Record<string, string>; version?: string }>;
  };
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };

  test('the lock file holds every platform package, so that npm ci accepts it anywhere', () => {
    const missing = Object.entries(lock.packages).flatMap(([path, { optionalDependencies = {} }]) =>
      Object.keys(optionalDependencies).filter(
        (name) =>
          !lock.packages[`node_modules/${name}`]?.version && !lock.packages[`${path}/node_modules/${name}`]?.version,
      ),
    );
    expect(missing).toEqual([]);
  });

  test('every runtime dependency is imported by src', () => {
    const used = new Set(imports.map(({ target }) => target));
    const unused = Object.keys(manifest.dependencies).filter(
      (name) => ![...used].some((target) => target === name || target.startsWith(`${name}/`)),
    );
    expect(unused).toEqual([]);
  });
});
