/** The checker is checked: histories made by hand, of which we know what they are. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { buildChecker, check, checkOrder } from './checker.ts';
import { type Answer, all, type Operation, type Result, type Seen, type Transaction } from './operations.ts';

let program: string;
let folder: string;

beforeAll(async () => {
  program = await buildChecker();
  folder = await mkdtemp(join(tmpdir(), 'raftsman-checker-'));
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

const at = (call: number, end: number, transaction: Transaction, answer: Answer): Operation => ({
  ...transaction,
  client: call,
  call,
  return: end,
  answer,
});
/** Nobody knows what came of it. */
const open = (call: number, transaction: Transaction): Operation => ({ ...transaction, client: call, call });

const told = (revision: number, ...results: Result[]): Answer => ({ revision, succeeded: true, results });
const puts = (value: string, key = 0): Transaction => ({ kind: 'put', success: [{ do: 'put', key, value }] });
const deletes: Transaction = { kind: 'delete', success: [{ do: 'delete', key: 0 }] };
const looks: Transaction = { kind: 'read', success: [{ do: 'get', key: all }] };
const seen = (value: string, mod: number, version = 1, create = mod - version + 1, key = 0): Seen => ({
  key,
  value,
  create,
  mod,
  version,
});

const put = (call: number, end: number, value: string, revision: number) =>
  at(call, end, puts(value), told(revision, {}));
const read = (call: number, end: number, revision: number, ...records: Seen[]) =>
  at(call, end, looks, told(revision, { records }));

/** Puts if the key has this version. */
const swaps = (version: number, value: string): Transaction => ({
  kind: 'compare and put',
  compare: [{ key: 0, by: 'version', number: version }],
  success: [{ do: 'put', key: 0, value }],
  failure: [{ do: 'get', key: 0 }],
});
const both: Transaction = {
  kind: 'several keys',
  success: [
    { do: 'put', key: 0, value: 'x' },
    { do: 'put', key: 1, value: 'y' },
  ],
};

async function verdict(...operations: Operation[]): Promise<string> {
  const file = join(folder, 'history.jsonl');
  await writeFile(file, `${JSON.stringify({ name: 'made', operations })}\n`);
  const { histories, doubts } = await check(program, file, folder);
  expect(histories).toBe(1);
  return doubts[0]?.verdict ?? 'Ok';
}

test('a dozen writes of which nobody knows what came are decided: their orders do not all have states of their own', async () => {
  const lost = Array.from({ length: 12 }, (_, n) => open(n, puts(`${n}`, n % 3)));
  expect(await verdict(...lost, read(20, 21, 7))).toBe('Ok');
  expect(await verdict(...lost, read(20, 21, 7, seen('9', 6)), read(22, 23, 7))).toBe('Illegal');
}, 180_000);

describe('histories that are linearizable', () => {
  test.each<[string, Operation[]]>([
    [
      'one after another',
      [put(0, 1, 'a', 2), read(2, 3, 2, seen('a', 2)), put(4, 5, 'b', 3), read(6, 7, 3, seen('b', 3, 2, 2))],
    ],
    ['a read beside a write may see it or not', [put(0, 9, 'a', 2), read(1, 2, 1), read(3, 4, 2, seen('a', 2))]],
    [
      'two writes at once take effect in the order of their revisions',
      [put(0, 9, 'a', 3), put(1, 8, 'b', 2), read(10, 11, 3, seen('a', 3, 2, 2))],
    ],
    ['a write without an answer that is never done', [open(0, puts('a')), read(1, 2, 1), read(3, 4, 1)]],
    [
      'a write without an answer that is done late',
      [
        open(0, puts('a')),
        read(1, 2, 1),
        put(3, 4, 'b', 2),
        read(5, 6, 2, seen('b', 2)),
        read(7, 8, 3, seen('a', 3, 2, 2)),
      ],
    ],
    [
      'a delete, and a key that begins anew',
      [
        put(0, 1, 'a', 2),
        at(2, 3, deletes, told(3, { deleted: 1 })),
        read(4, 5, 3),
        put(6, 7, 'b', 4),
        read(8, 9, 4, seen('b', 4)),
      ],
    ],
    [
      'a condition on a revision that nobody was told',
      [
        open(0, puts('a')),
        at(1, 2, { ...swaps(0, 'b'), compare: [{ key: 0, by: 'mod', number: 2 }] }, told(3, {})),
        read(3, 4, 3, seen('b', 3, 2, 2)),
      ],
    ],
    ['all of a transaction', [at(0, 1, both, told(2, {}, {})), read(2, 3, 2, seen('x', 2), seen('y', 2, 1, 2, 1))]],
    ['a transaction without an answer, all of it', [open(0, both), read(2, 3, 2, seen('x', 2), seen('y', 2, 1, 2, 1))]],
  ])('%s', async (_, operations) => {
    expect(await verdict(...operations)).toBe('Ok');
  });
});

describe('histories that are not', () => {
  test.each<[string, Operation[]]>([
    ['a stale read', [put(0, 1, 'a', 2), put(2, 3, 'b', 3), read(4, 5, 3, seen('a', 2))]],
    ['a stale read that says how old it is', [put(0, 1, 'a', 2), put(2, 3, 'b', 3), read(4, 5, 2, seen('a', 2))]],
    ['a read before the last', [put(0, 9, 'a', 2), read(1, 2, 2, seen('a', 2)), read(3, 4, 1)]],
    ['a lost write', [put(0, 1, 'a', 2), read(2, 3, 2)]],
    [
      'a lost write that only the version of the next one shows',
      [put(0, 1, 'a', 2), put(2, 3, 'b', 3), read(4, 5, 3, seen('b', 3))],
    ],
    ['a write that was done twice', [put(0, 1, 'a', 2), put(2, 3, 'b', 3), read(4, 5, 4, seen('a', 4, 3, 2))]],
    ['a write that was done twice in a row', [put(0, 1, 'a', 2), read(4, 5, 3, seen('a', 3, 2, 2))]],
    ['a write that was refused and done', [read(0, 1, 2, seen('a', 2))]],
    ['a write without an answer that was done before its call', [read(0, 1, 2, seen('a', 2)), open(2, puts('a'))]],
    [
      'a write without an answer that was done and undone',
      [open(0, puts('a')), read(1, 2, 2, seen('a', 2)), read(3, 4, 2)],
    ],
    ['half of a transaction', [at(0, 1, both, told(2, {}, {})), read(2, 3, 2, seen('x', 2))]],
    ['half of a transaction without an answer', [open(0, both), read(2, 3, 2, seen('x', 2))]],
    ['two that won the same race', [at(0, 9, swaps(0, 'a'), told(2, {})), at(1, 8, swaps(0, 'b'), told(3, {}))]],
    [
      'a condition that held and was said not to',
      [at(0, 1, swaps(0, 'a'), { revision: 1, succeeded: false, results: [{ records: [] }] })],
    ],
    ['a delete that took what was not there', [at(0, 1, deletes, told(2, { deleted: 1 }))]],
    ['a later write with an earlier revision', [put(0, 1, 'a', 5), put(2, 3, 'b', 4)]],
    ['two writes with one revision', [put(0, 9, 'a', 2), put(1, 8, 'b', 2)]],
    ['a key with the revision of another write', [put(0, 1, 'a', 2), read(2, 3, 3, seen('a', 3))]],
  ])('%s', async (_, operations) => {
    expect(await verdict(...operations)).toBe('Illegal');
  });

  test('the bad one of several is named, with the operations that do not fit and a picture', async () => {
    const file = join(folder, 'several.jsonl');
    const histories = [
      { name: 'good', operations: [put(0, 1, 'a', 2)] },
      { name: 'bad', operations: [put(0, 1, 'a', 2), read(2, 3, 2)] },
    ];
    await writeFile(file, histories.map((one) => JSON.stringify(one)).join('\n'));
    const { operations, doubts } = await check(program, file, folder);
    expect(operations).toBe(3);
    expect(doubts).toEqual([
      {
        name: 'bad',
        verdict: 'Illegal',
        picture: join(folder, 'bad.html'),
        tail: [expect.stringMatching(/^fits: .*put/), expect.stringMatching(/^does not: .*read/)],
      },
    ]);
  });
});

describe('revisions and the clock, over all histories', () => {
  const answer = (call: number, end: number, revision: number, changed: boolean) => ({
    call,
    return: end,
    revision,
    changed,
  });

  async function wrong(...answers: ReturnType<typeof answer>[]): Promise<readonly string[]> {
    const file = join(folder, 'answers.jsonl');
    await writeFile(file, answers.map((one) => JSON.stringify(one)).join('\n'));
    return (await checkOrder(program, file)).wrong.map((line) => (JSON.parse(line) as { wrong: string }).wrong);
  }

  test('they agree when what comes later has seen as much, and every change is one more', async () => {
    expect(
      await wrong(answer(0, 5, 3, true), answer(1, 4, 2, true), answer(6, 7, 3, false), answer(8, 9, 4, true)),
    ).toEqual([]);
  });

  test('a later read that is older, a later change that is not newer, two changes of one revision', async () => {
    expect(await wrong(answer(0, 1, 3, true), answer(2, 3, 2, false))).toEqual(['a later read is older']);
    expect(await wrong(answer(0, 1, 3, false), answer(2, 3, 3, true))).toEqual([
      'a later change has no later revision',
    ]);
    expect(await wrong(answer(0, 5, 3, true), answer(1, 4, 3, true))).toEqual(['two changes have one revision']);
  });
});
