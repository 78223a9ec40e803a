/**
 * The pieces that every schema is built from. A schema is a TypeBox schema that holds, beside the type, what a
 * CustomResourceDefinition says of a field: its description, bounds, default and CEL rules.
 *
 * A field with a default is *required* in the TypeScript type (the API server has filled it in by the time anyone reads
 * it) and *optional* in the CRD (so that people can leave it out).
 */
import { type Static, type TProperties, type TSchema, Type } from 'typebox';

/** One CEL rule of a field. The message names the field and says what to do. */
export interface Rule {
  readonly rule: string;
  readonly message: string;
  /** Path of the field at fault, relative to the schema that holds the rule, such as `.name`. */
  readonly fieldPath?: string;
  readonly reason?: 'FieldValueInvalid' | 'FieldValueForbidden' | 'FieldValueRequired';
}

export const rules = (...list: readonly Rule[]) => ({ 'x-kubernetes-validations': list });

/** A transition rule: the field may be set once. Fires only where old and new value are both there. */
export const immutable = (path: string, advice: string): Rule => ({
  rule: 'self == oldSelf',
  message: `${path} is immutable: ${advice}`,
  reason: 'FieldValueForbidden',
});

export const text = (description: string, maxLength: number) => Type.String({ description, maxLength });

export const time = (description: string) => Type.String({ description, format: 'date-time' });

/** An int64 that JavaScript holds exactly. */
export const count = (description: string) =>
  Type.Integer({ description, format: 'int64', minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

export const integer = (
  description: string,
  options: { readonly minimum: number; readonly maximum: number; readonly default?: number } & Record<string, unknown>,
) => Type.Integer({ description, format: options.maximum > 2 ** 31 - 1 ? 'int64' : 'int32', ...options });

export const flag = (description: string, byDefault?: boolean) =>
  Type.Boolean({ description, ...(byDefault === undefined ? {} : { default: byDefault }) });

/** One of a few words. */
export const choice = <const Words extends readonly string[]>(
  words: Words,
  description: string,
  options: Record<string, unknown> & { readonly default?: Words[number] } = {},
) => Type.Unsafe<Words[number]>(Type.String({ description, enum: [...words], ...options }));

/** The name of another object of the same namespace. */
export const nameOf = (description: string, options: Record<string, unknown> = {}) =>
  Type.String({
    description,
    minLength: 1,
    maxLength: 253,
    pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
    ...options,
  });

interface ListOptions {
  readonly description: string;
  readonly maxItems: number;
  /** The fields that tell items apart: makes a list of type `map`, which server-side apply merges by item. */
  readonly keys?: readonly string[];
  /** Items are scalars and none comes twice. */
  readonly set?: boolean;
}

export const listOf = <Item extends TSchema>(item: Item, { description, maxItems, keys, set }: ListOptions) =>
  Type.Array(item, {
    description,
    maxItems,
    ...(keys !== undefined
      ? { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': [...keys] }
      : { 'x-kubernetes-list-type': set === true ? 'set' : 'atomic' }),
  });

interface MapOptions {
  readonly description: string;
  readonly maxProperties: number;
}

/** A string-keyed map. JSON Schema's patternProperties are not structural, hence additionalProperties. */
export const mapOf = <Value extends TSchema>(value: Value, { description, maxProperties }: MapOptions) =>
  Type.Unsafe<Record<string, Static<Value>>>({
    type: 'object',
    description,
    maxProperties,
    additionalProperties: value,
  });

const quantityPattern = '^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?[0-9]+))?$';

/** A Kubernetes quantity, such as `10Gi` or `500m`; whole numbers may come without quotes. */
export const quantity = (description: string, options: Record<string, unknown> = {}) =>
  Type.Unsafe<string | number>({
    description,
    anyOf: [{ type: 'integer' }, { type: 'string' }],
    pattern: quantityPattern,
    maxLength: 64,
    'x-kubernetes-int-or-string': true,
    ...options,
  });

type OneOf<Members extends Record<string, TSchema>> = {
  [Chosen in keyof Members]: { [Key in Chosen]: Static<Members[Key]> } & {
    [Other in Exclude<keyof Members, Chosen>]?: never;
  };
}[keyof Members];

/**
 * A union: exactly one of the members is set. `path` is how messages name the object that holds them. Only a rule says
 * so: with `maxProperties` the API server would leave out the rules, and say "must have at most 1 item" of no field.
 */
export const exactlyOne = <Members extends Record<string, TSchema>>(
  path: string,
  members: Members,
  { description, rules: more = [] }: { readonly description: string; readonly rules?: readonly Rule[] },
) => {
  const names = Object.keys(members);
  const optional: TProperties = {};
  for (const [name, member] of Object.entries(members)) optional[name] = Type.Optional(member);
  return Type.Unsafe<OneOf<Members>>(
    Type.Object(optional, {
      description,
      ...rules(
        {
          rule: `[${names.map((name) => `has(self.${name})`).join(', ')}].exists_one(set, set)`,
          message: `${path} must have exactly one of ${names.join(', ')}`,
        },
        ...more,
      ),
    }),
  );
};

/**
 * The schema without its transition rules: for a spec inside another object, which is not that spec's history. The
 * immutability of the outer object is stated once, there.
 */
export function withoutTransitions<Schema extends TSchema>(schema: Schema): Schema {
  const strip = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(strip);
    if (!isObject(value)) return value;
    const copy: Record<string, unknown> = {};
    for (const [key, field] of Object.entries(value)) copy[key] = strip(field);
    const list = copy['x-kubernetes-validations'];
    if (!Array.isArray(list)) return copy;
    const kept = list.filter((rule: Rule) => !/\boldSelf\b/.test(rule.rule));
    if (kept.length > 0) copy['x-kubernetes-validations'] = kept;
    else delete copy['x-kubernetes-validations'];
    return copy;
  };
  return strip(schema) as Schema;
}

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * `value` with every missing field that has a default filled in, as the API server does it: a default applies where the
 * field is missing, or null (none of ours is nullable), inside objects that are there, and inside defaults themselves.
 * What has no schema stays. Pure: what needs no change is shared, nothing is modified.
 */
export function fillDefaults(schema: unknown, value: unknown): unknown {
  if (!isObject(schema)) return value;
  if (Array.isArray(value)) return value.map((item) => fillDefaults(schema['items'], item));
  if (!isObject(value)) return value;
  const filled: Record<string, unknown> = { ...value };
  const properties = isObject(schema['properties']) ? schema['properties'] : {};
  for (const [name, field] of Object.entries(properties)) {
    const missing = filled[name] === undefined || filled[name] === null;
    if (!missing) filled[name] = fillDefaults(field, filled[name]);
    else if (isObject(field) && 'default' in field)
      filled[name] = fillDefaults(field, structuredClone(field['default']));
  }
  const others = schema['additionalProperties'];
  if (isObject(others)) {
    for (const name of Object.keys(value)) if (!(name in properties)) filled[name] = fillDefaults(others, value[name]);
  }
  return filled;
}
