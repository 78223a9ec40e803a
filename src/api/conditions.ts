/** `metav1.Condition`: one observation of a resource's state, and the rules by which a list of them changes. */
import { type Static, Type } from 'typebox';
import { listOf, text, time } from './schema.ts';

const schema = Type.Object(
  {
    type: Type.String({
      description: 'What is observed, in CamelCase, such as Ready or Complete.',
      maxLength: 316,
      pattern:
        '^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$',
    }),
    status: Type.Unsafe<ConditionStatus>(
      Type.String({ description: 'Whether it holds: True, False or Unknown.', enum: ['True', 'False', 'Unknown'] }),
    ),
    observedGeneration: Type.Optional(
      Type.Integer({
        description:
          'The metadata.generation of the resource when this was observed. Older than the resource: out of date.',
        format: 'int64',
        minimum: 0,
        maximum: Number.MAX_SAFE_INTEGER,
      }),
    ),
    lastTransitionTime: time('When status last changed from one value to another.'),
    reason: Type.String({
      description: 'The cause of the last transition, in CamelCase, for programs.',
      minLength: 1,
      maxLength: 1024,
      pattern: '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$',
    }),
    message: text('The cause in a sentence, for people: what is wrong, and what to do about it.', 32768),
  },
  { description: 'One observation of the state of this resource.' },
);

export type ConditionStatus = 'True' | 'False' | 'Unknown';
export type Condition = Readonly<Static<typeof schema>>;

/** The `status.conditions` field of every kind: at most one condition of each type. */
export const conditions = Type.Optional(
  listOf(schema, {
    description: 'What the operator observes of this resource, by type.',
    maxItems: 16,
    keys: ['type'],
  }),
);

/** What a controller says; the transition time follows from what was said before. */
export interface Observation {
  readonly type: string;
  readonly status: ConditionStatus;
  readonly reason: string;
  readonly message: string;
  /** The `metadata.generation` that was looked at. */
  readonly observedGeneration?: number | undefined;
}

/** RFC 3339 in UTC with whole seconds, as `metav1.Time` is written. */
export function timestamp(now: Date): string {
  return `${now.toISOString().slice(0, 19)}Z`;
}

/**
 * The conditions with `observed` among them. `lastTransitionTime` moves to `now` only when `status` changes; an
 * observation that says nothing new returns the very same list, so that a reconcile can see by `===` that there is
 * nothing to write. Other conditions keep their place.
 */
export function setCondition(
  conditions: readonly Condition[] | undefined,
  observed: Observation,
  now: Date,
): readonly Condition[] {
  const before = conditions ?? [];
  const at = before.findIndex((condition) => condition.type === observed.type);
  const old = before[at];
  const { observedGeneration, ...rest } = observed;
  const next: Condition = {
    ...rest,
    ...(observedGeneration === undefined ? {} : { observedGeneration }),
    lastTransitionTime: old?.status === observed.status ? old.lastTransitionTime : timestamp(now),
  };
  if (old === undefined) return [...before, next];
  const same =
    old.status === next.status &&
    old.reason === next.reason &&
    old.message === next.message &&
    old.observedGeneration === next.observedGeneration;
  return same ? before : before.with(at, next);
}

export function findCondition(conditions: readonly Condition[] | undefined, type: string): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/** Whether a condition is there with status True. With `generation`, also whether it speaks of that generation. */
export function isTrue(conditions: readonly Condition[] | undefined, type: string, generation?: number): boolean {
  const condition = findCondition(conditions, type);
  if (condition?.status !== 'True') return false;
  return generation === undefined || condition.observedGeneration === generation;
}
