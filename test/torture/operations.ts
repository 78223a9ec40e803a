/**
 * What clients do, as the checker reads it: every operation is a transaction over a few keys of its own, most of them of one
 * step. Which one comes next is a matter of chance.
 */
import type { Chance } from '../soak/random.ts';

export const keysPerGroup = 3;
/** In place of a key: all of the group. */
export const all = -1;

/** Compares for equality. `create` and `mod` are revisions; 0: the key is not there. */
export type Condition =
  | { readonly key: number; readonly by: 'value'; readonly value: string }
  | { readonly key: number; readonly by: 'version' | 'create' | 'mod'; readonly number: number };

export type Action =
  | { readonly do: 'get'; readonly key: number }
  | { readonly do: 'put'; readonly key: number; readonly value: string; readonly previous?: boolean }
  | { readonly do: 'delete'; readonly key: number; readonly previous?: boolean };

export interface Transaction {
  /** For people and for counting. */
  readonly kind: string;
  readonly compare?: readonly Condition[];
  readonly success: readonly Action[];
  readonly failure?: readonly Action[];
}

export interface Seen {
  readonly key: number;
  readonly value: string;
  readonly create: number;
  readonly mod: number;
  readonly version: number;
}

export interface Result {
  /** What a get found, or what was there before, in the order of keys. */
  readonly records?: readonly Seen[];
  readonly deleted?: number;
}

export interface Answer {
  readonly revision: number;
  readonly succeeded: boolean;
  readonly results: readonly Result[];
}

/** Without an answer it may have been done at any time since the call, or not at all. Times are whole microseconds. */
export interface Operation extends Transaction {
  readonly client: number;
  readonly call: number;
  readonly return?: number;
  readonly answer?: Answer;
}

/** What a client believes to be there: what conditions are drawn from. */
export type Belief = ReadonlyMap<number, Seen>;

type Draw = (chance: Chance, belief: Belief, value: () => string) => Transaction;

const someKey = (chance: Chance): number => chance.below(keysPerGroup);
const read = (key: number): Action => ({ do: 'get', key });

/** Holds if the belief is right, and then nobody else was faster. */
function believed(key: number, belief: Belief, chance: Chance): Condition {
  const seen = belief.get(key);
  if (seen === undefined) return { key, by: chance.pick(['version', 'create', 'mod'] as const), number: 0 };
  const by = chance.pick(['value', 'version', 'mod', 'create'] as const);
  return by === 'value' ? { key, by, value: seen.value } : { key, by, number: seen[by] };
}

function swap(chance: Chance, belief: Belief, value: () => string): Transaction {
  const key = someKey(chance);
  return {
    kind: 'compare and put',
    compare: [believed(key, belief, chance)],
    success: [{ do: 'put', key, value: value() }],
    failure: [read(chance.below(2) === 0 ? all : key)],
  };
}

/** Two keys change together or not at all, and a third is looked at. */
function several(chance: Chance, belief: Belief, value: () => string): Transaction {
  const first = someKey(chance);
  const [second, third] = [(first + 1) % keysPerGroup, (first + 2) % keysPerGroup];
  const success: Action[] = [
    { do: 'put', key: first, value: value() },
    chance.below(4) === 0 ? { do: 'delete', key: second, previous: true } : { do: 'put', key: second, value: value() },
    read(chance.below(2) === 0 ? third : all),
  ];
  if (chance.below(2) === 0) return { kind: 'several keys', success };
  const compare = [believed(chance.pick([first, second]), belief, chance), believed(third, belief, chance)];
  return { kind: 'compare and several keys', compare, success, failure: [read(all)] };
}

const draws: readonly { readonly weight: number; readonly draw: Draw }[] = [
  { weight: 30, draw: () => ({ kind: 'read', success: [read(all)] }) },
  { weight: 10, draw: (chance) => ({ kind: 'read', success: [read(someKey(chance))] }) },
  {
    weight: 25,
    draw: (chance, _, value) => ({
      kind: 'put',
      success: [{ do: 'put', key: someKey(chance), value: value(), previous: chance.below(2) === 0 }],
    }),
  },
  {
    weight: 7,
    draw: (chance) => ({
      kind: 'delete',
      success: [{ do: 'delete', key: chance.below(4) === 0 ? all : someKey(chance), previous: chance.below(2) === 0 }],
    }),
  },
  { weight: 16, draw: swap },
  { weight: 12, draw: several },
];

export const drawTransaction: Draw = (chance, belief, value) => chance.weighted(draws).draw(chance, belief, value);

const onlyReads = (actions: readonly Action[] = []): boolean => actions.every((action) => action.do === 'get');

export const isRead = (transaction: Transaction): boolean =>
  onlyReads(transaction.success) && onlyReads(transaction.failure);

/** Whether an answered operation has made a revision. */
export function hasChanged(transaction: Transaction, { succeeded, results }: Answer): boolean {
  const done = (succeeded ? transaction.success : transaction.failure) ?? [];
  return done.some((action, n) => action.do === 'put' || (action.do === 'delete' && (results[n]?.deleted ?? 0) > 0));
}

/** The keys after an answered operation, as far as it tells. */
export function afterAnswer(transaction: Transaction, answer: Answer, before: Belief): Belief {
  const after = new Map(before);
  const done = (answer.succeeded ? transaction.success : transaction.failure) ?? [];
  done.forEach((action, n) => {
    const keys = action.key === all ? Array.from({ length: keysPerGroup }, (_, key) => key) : [action.key];
    const { records } = answer.results[n] ?? {};
    if (action.do === 'get' || ('previous' in action && action.previous)) {
      for (const key of keys) after.delete(key);
      for (const seen of records ?? []) after.set(seen.key, seen);
    }
    if (action.do === 'delete') for (const key of keys) after.delete(key);
    if (action.do !== 'put') return;
    const { key, value } = action;
    const old = after.get(key);
    const [mod, version] = [answer.revision, (old?.version ?? 0) + 1];
    after.set(key, { key, value, mod, version, create: old?.create ?? mod });
  });
  return after;
}
