import { describe, expect, test } from '@jest/globals';
import { Persists } from '../../src/raft/persists.ts';
import { asIndex, asTerm } from '../../src/raft/types.ts';

const [i, t] = [asIndex, asTerm];

describe('writes under way', () => {
  test('a completion speaks for all before it', () => {
    const persists = new Persists();
    persists.issue(t(1), i(3));
    persists.issue(t(1), i(5));
    expect(persists.complete(2, t(1))).toBe(5);
    expect(persists.idle).toBe(true);
  });

  test('RS-05 ABA: a completion does not speak for what was cut off after it was issued, though it came back', () => {
    const persists = new Persists();
    persists.issue(t(2), i(5));
    persists.truncated(i(4));
    persists.issue(t(2), i(5));
    expect(persists.complete(1, t(2))).toBe(3);
    expect(persists.complete(2, t(2))).toBe(5);
  });

  test('RS-05 ABA: a completion of an older term stabilises nothing', () => {
    const persists = new Persists();
    persists.issue(t(1), i(5));
    persists.issue(t(2), i(5));
    expect(persists.complete(1, t(2))).toBeNull();
    expect(persists.complete(2, t(2))).toBe(5);
  });

  test('a completion that was never issued, or twice, is a bug of the driver', () => {
    const persists = new Persists();
    expect(() => persists.complete(1, t(1))).toThrow(expect.objectContaining({ code: 'RAFT_DRIVER_ORDER' }));
    persists.issue(t(1), i(1));
    expect(() => persists.complete(2, t(1))).toThrow(/was not issued/);
    persists.issue(t(1), i(2));
    persists.complete(1, t(1));
    expect(() => persists.complete(1, t(1))).toThrow(/completed before/);
  });
});
