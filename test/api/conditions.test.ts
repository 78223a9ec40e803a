import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Condition, findCondition, isTrue, type Observation, setCondition } from '../../src/api/index.ts';

const at = (second: number) => new Date(Date.UTC(2026, 6, 1, 12, 0, second, 789));

const ready: Observation = {
  type: 'Ready',
  status: 'True',
  reason: 'AllMembersReady',
  message: 'all 3 members serve',
  observedGeneration: 1,
};

describe('a condition', () => {
  test('is added with the time at which it was first observed, in whole seconds', () => {
    expect(setCondition(undefined, ready, at(1))).toEqual([{ ...ready, lastTransitionTime: '2026-07-01T12:00:01Z' }]);
  });

  test('that says nothing new leaves the very same list', () => {
    const before = setCondition([], ready, at(1));
    expect(setCondition(before, { ...ready }, at(9))).toBe(before);
  });

  test('with another reason, message or generation keeps its transition time', () => {
    const before = setCondition([], ready, at(1));
    for (const change of [{ reason: 'Other' }, { message: 'other' }, { observedGeneration: 2 }]) {
      const after = setCondition(before, { ...ready, ...change }, at(9));
      expect(after).toEqual([{ ...ready, ...change, lastTransitionTime: '2026-07-01T12:00:01Z' }]);
    }
  });

  test('with another status takes the time of the transition', () => {
    const before = setCondition([], ready, at(1));
    const after = setCondition(before, { ...ready, status: 'False', reason: 'NoQuorum' }, at(9));
    expect(findCondition(after, 'Ready')).toMatchObject({
      status: 'False',
      lastTransitionTime: '2026-07-01T12:00:09Z',
    });
    expect(isTrue(before, 'Ready')).toBe(true);
    expect(isTrue(after, 'Ready')).toBe(false);
  });

  test('of another generation is not true of this one', () => {
    const conditions = setCondition([], ready, at(1));
    expect(isTrue(conditions, 'Ready', 1)).toBe(true);
    expect(isTrue(conditions, 'Ready', 2)).toBe(false);
    expect(isTrue(conditions, 'Complete')).toBe(false);
    expect(isTrue(undefined, 'Ready')).toBe(false);
  });

  test('leaves a generation out rather than undefined, since JSON would drop it and compare unequal', () => {
    const { observedGeneration: _, ...unseen } = ready;
    expect(setCondition([], { ...unseen, observedGeneration: undefined }, at(1))[0]).not.toHaveProperty(
      'observedGeneration',
    );
  });

  test('over any observations is one of each type, in the order of first mention, never modified in place', () => {
    const observation = fc.record({
      type: fc.constantFrom('Ready', 'Progressing', 'Degraded'),
      status: fc.constantFrom<Condition['status']>('True', 'False', 'Unknown'),
      reason: fc.constantFrom('A', 'B'),
      message: fc.constantFrom('', 'x'),
    });
    fc.assert(
      fc.property(fc.array(observation, { maxLength: 30 }), (observations) => {
        let list: readonly Condition[] = [];
        observations.forEach((observed, second) => {
          const copy = structuredClone(list);
          const next = setCondition(list, observed, at(second));
          expect(list).toEqual(copy);
          expect(findCondition(next, observed.type)).toMatchObject(observed);
          const flipped = findCondition(list, observed.type)?.status !== observed.status;
          const time = findCondition(next, observed.type)?.lastTransitionTime;
          expect(time === `${at(second).toISOString().slice(0, 19)}Z`).toBe(flipped);
          list = next;
        });
        const types = [...new Set(observations.map(({ type }) => type))];
        expect(list.map(({ type }) => type)).toEqual(types);
      }),
      { seed: 1 },
    );
  });
});
