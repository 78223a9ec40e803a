/** From a kind's schema to its CustomResourceDefinition, and to the YAML that is checked in. Pure and deterministic. */
import { stringify } from 'yaml';
import type { AnyKind } from './kinds.ts';
import { group } from './meta.ts';
import { fillDefaults } from './schema.ts';

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A copy as structural schema: a field with a default is not required, and the words stand first for readers. */
function structural(schema: unknown): unknown {
  if (!isObject(schema)) return schema;
  const { description, type, properties, required, items, additionalProperties, ...rest } = schema;
  const copy: Record<string, unknown> = {};
  if (description !== undefined) copy['description'] = description;
  if (type !== undefined) copy['type'] = type;
  Object.assign(copy, rest);
  // The API server checks a default against the rules of its own object before it fills in the defaults inside.
  if (isObject(rest['default'])) copy['default'] = fillDefaults(schema, rest['default']);
  if (items !== undefined) copy['items'] = structural(items);
  if (additionalProperties !== undefined) copy['additionalProperties'] = structural(additionalProperties);
  if (!isObject(properties)) return copy;
  if (Array.isArray(required)) {
    const missing = required.filter((name: string) => {
      const field = properties[name];
      return !(isObject(field) && 'default' in field);
    });
    if (missing.length > 0) copy['required'] = missing;
  }
  const fields: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(properties)) fields[name] = structural(field);
  copy['properties'] = fields;
  return copy;
}

export interface CustomResourceDefinition {
  readonly apiVersion: 'apiextensions.k8s.io/v1';
  readonly kind: 'CustomResourceDefinition';
  readonly metadata: { readonly name: string; readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: Json;
}

export function customResourceDefinition(
  definition: AnyKind,
  annotations?: Readonly<Record<string, string>>,
): CustomResourceDefinition {
  const { kind, plural, singular, shortNames, columns, selectableFields, scale } = definition;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}`, ...(annotations === undefined ? {} : { annotations }) },
    spec: {
      group,
      names: { kind, listKind: `${kind}List`, plural, singular, shortNames, categories: ['raftsman'] },
      scope: 'Namespaced',
      versions: [
        {
          name: definition.version,
          served: true,
          storage: true,
          subresources: { status: {}, ...(scale === undefined ? {} : { scale }) },
          additionalPrinterColumns: columns.map(({ priority, ...column }) => ({
            ...column,
            ...(priority === undefined || priority === 0 ? {} : { priority }),
          })),
          ...(selectableFields.length === 0
            ? {}
            : { selectableFields: selectableFields.map((jsonPath) => ({ jsonPath })) }),
          schema: {
            openAPIV3Schema: {
              description: definition.description,
              type: 'object',
              required: ['spec'],
              'x-kubernetes-validations': definition.rules,
              properties: {
                apiVersion: {
                  description: `The version of the schema of this object: ${group}/${definition.version}.`,
                  type: 'string',
                },
                kind: { description: `The kind of this object: ${kind}.`, type: 'string' },
                metadata: { type: 'object' },
                spec: structural(definition.spec),
                status: structural(definition.status),
              },
            },
          },
        },
      ],
    },
  };
}

const notice = '# Generated from src/api by `make generate`. Do not edit: change the schema and generate again.\n';

/** YAML that says the same to readers of YAML 1.1 (kubectl, Helm) and 1.2: words like `on` and `no` come quoted. */
export function yamlOf(definition: CustomResourceDefinition): string {
  const body = stringify(definition, { version: '1.1', lineWidth: 120, aliasDuplicateObjects: false });
  return `${notice}${body}`;
}

/** File name to content, for `crds/`. */
export function crdFiles(
  definitions: readonly AnyKind[],
  annotations?: Readonly<Record<string, string>>,
): ReadonlyMap<string, string> {
  return new Map(
    definitions.map((definition) => {
      const crd = customResourceDefinition(definition, annotations);
      return [`${crd.metadata.name}.yaml`, yamlOf(crd)] as const;
    }),
  );
}
