import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { crdFiles, customResourceDefinition, yamlOf } from '../../src/api/crd.ts';
import { generate, generatedFiles } from '../../src/api/generate.ts';
import { kinds, raftCluster } from '../../src/api/index.ts';

type Schema = Record<string, unknown> & {
  properties?: Record<string, Schema>;
  items?: Schema;
  additionalProperties?: Schema;
};

const root = resolve(import.meta.dirname, '../..');
const schemaOf = (kind: (typeof kinds)[number]): Schema =>
  (customResourceDefinition(kind).spec as unknown as { versions: { schema: { openAPIV3Schema: Schema } }[] })
    .versions[0]!.schema.openAPIV3Schema;

function* walk(schema: Schema, path: string): Generator<[string, Schema]> {
  yield [path, schema];
  for (const [name, field] of Object.entries(schema.properties ?? {})) yield* walk(field, `${path}.${name}`);
  if (schema.items) yield* walk(schema.items, `${path}[]`);
  if (schema.additionalProperties) yield* walk(schema.additionalProperties, `${path}{}`);
}

const fields = kinds.flatMap((kind) =>
  ['spec', 'status'].flatMap((part) => [...walk(schemaOf(kind).properties![part]!, `${kind.kind}.${part}`)]),
);

function unbounded(schema: Schema): string | undefined {
  if (schema['x-kubernetes-int-or-string'])
    return schema['pattern'] && schema['maxLength'] ? undefined : 'pattern, maxLength';
  switch (schema['type']) {
    case 'string':
      return schema['enum'] || schema['maxLength'] || schema['format'] === 'date-time' ? undefined : 'maxLength';
    case 'integer':
      return schema['minimum'] !== undefined && schema['maximum'] !== undefined ? undefined : 'minimum, maximum';
    case 'array':
      return schema['maxItems'] && schema['x-kubernetes-list-type'] ? undefined : 'maxItems, list type';
    case 'object':
      if (schema.additionalProperties) return schema['maxProperties'] ? undefined : 'maxProperties';
      return schema.properties ? undefined : 'properties';
    case 'boolean':
      return undefined;
    default:
      return 'type';
  }
}

describe('the schema of every kind', () => {
  test('describes every field in a sentence', () => {
    expect(fields.length).toBeGreaterThan(200);
    const bad = fields.filter(([, schema]) => !/^[A-Z].*[.]$/s.test(String(schema['description'] ?? '')));
    expect(bad.map(([path]) => path)).toEqual([]);
  });

  test('bounds every string, number, list and map, so that rules have a cost', () => {
    expect(fields.flatMap(([path, schema]) => (unbounded(schema) ? [`${path}: ${unbounded(schema)}`] : []))).toEqual(
      [],
    );
  });

  test('has no keyword that structural schemas refuse', () => {
    const known = new Set([
      ...[
        'description',
        'type',
        'format',
        'properties',
        'required',
        'items',
        'additionalProperties',
        'enum',
        'default',
      ],
      ...[
        'minimum',
        'maximum',
        'minLength',
        'maxLength',
        'pattern',
        'minItems',
        'maxItems',
        'minProperties',
        'maxProperties',
      ],
      ...['anyOf', 'x-kubernetes-validations', 'x-kubernetes-int-or-string', 'x-kubernetes-list-type'],
      'x-kubernetes-list-map-keys',
    ]);
    expect([...new Set(fields.flatMap(([, schema]) => Object.keys(schema)))].filter((key) => !known.has(key))).toEqual(
      [],
    );
  });

  test('requires no field that has a default, and only fields that are there', () => {
    for (const [path, schema] of fields) {
      for (const name of (schema['required'] ?? []) as string[]) {
        expect({ path, name, field: schema.properties?.[name] }).toMatchObject({ field: {} });
        expect({ path, name, byDefault: schema.properties?.[name]?.['default'] }).toEqual({
          path,
          name,
          byDefault: undefined,
        });
      }
    }
  });

  test('has rules whose messages name a field', () => {
    const rules = kinds
      .flatMap((kind) => [...walk(schemaOf(kind), kind.kind)])
      .flatMap(([, schema]) => (schema['x-kubernetes-validations'] ?? []) as { rule: string; message: string }[]);
    expect(rules.length).toBeGreaterThan(20);
    expect(rules.filter(({ message }) => !/^(spec|metadata\.name)\b/.test(message))).toEqual([]);
  });

  test('of a cluster inside a restore holds no transition rule: the restore itself is immutable', () => {
    const inside = fields.filter(([path]) => path.startsWith('RaftRestore.spec.target.newCluster'));
    expect(inside.length).toBeGreaterThan(50);
    expect(JSON.stringify(inside.map(([, schema]) => schema['x-kubernetes-validations'] ?? []))).not.toContain(
      'oldSelf',
    );
  });

  test('is served in one category, under short names that collide with none of each other nor of Kubernetes', () => {
    const names = kinds.flatMap(({ plural, singular, shortNames }) => [plural, singular, ...shortNames]);
    expect(new Set(names).size).toBe(names.length);
    const taken = [
      'rs',
      'rc',
      'po',
      'svc',
      'cm',
      'ns',
      'no',
      'ev',
      'ep',
      'pv',
      'pvc',
      'sts',
      'deploy',
      'ds',
      'cj',
      'sa',
      'pdb',
    ];
    expect(names.filter((name) => taken.includes(name))).toEqual([]);
  });
});

describe('the generated YAML', () => {
  test('says the same to a reader of YAML 1.1 as to one of 1.2', () => {
    for (const kind of kinds) {
      const definition = customResourceDefinition(kind);
      const plain: unknown = JSON.parse(JSON.stringify(definition));
      for (const version of ['1.1', '1.2'] as const) expect(parse(yamlOf(definition), { version })).toEqual(plain);
    }
    const spelled = yamlOf({ ...customResourceDefinition(raftCluster), spec: { yes: 'no', on: 'off' } });
    expect(parse(spelled, { version: '1.1' })).toMatchObject({ spec: { yes: 'no', on: 'off' } });
  });

  test('is the same every time', () => {
    expect(crdFiles(kinds)).toEqual(crdFiles(kinds));
  });

  test('is what is checked in, in crds/ and in the chart: else run `make generate`', async () => {
    const folders = generatedFiles(join(root, 'crds'), join(root, 'charts', 'raftsman'));
    expect(await generate(folders, { write: false })).toEqual([]);
  });
});

describe('generation', () => {
  const folder = mkdtempSync(join(tmpdir(), 'raftsman-crds-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('finds and mends what is missing, changed or left over, and then has nothing to do', async () => {
    const crds = join(folder, 'crds');
    const chart = join(folder, 'chart');
    const folders = generatedFiles(crds, chart);
    expect(await generate(folders, { write: false })).toHaveLength(2 * kinds.length);
    expect(readdirSync(folder)).toEqual([]);
    await generate(folders, { write: true });
    expect(await generate(folders, { write: false })).toEqual([]);

    const cluster = join(crds, 'raftclusters.raftsman.dev.yaml');
    writeFileSync(cluster, 'edited by hand\n');
    writeFileSync(join(crds, 'raftthings.raftsman.dev.yaml'), 'a kind that is gone\n');
    expect(await generate(folders, { write: false })).toEqual([cluster, join(crds, 'raftthings.raftsman.dev.yaml')]);
    await generate(folders, { write: true });
    expect(await generate(folders, { write: false })).toEqual([]);
    expect(readdirSync(crds)).toHaveLength(kinds.length);
  });

  test("tells Helm to keep the chart's copy when it is uninstalled", () => {
    const copy = readFileSync(join(root, 'charts/raftsman/files/crds/raftclusters.raftsman.dev.yaml'), 'utf8');
    expect(parse(copy).metadata.annotations).toEqual({ 'helm.sh/resource-policy': 'keep' });
  });
});
