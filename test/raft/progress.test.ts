import { describe, expect, test } from '@jest/globals';
import { Progress } from '../../src/raft/progress.ts';
import { asIndex } from '../../src/raft/types.ts';

const at = asIndex;
const probing = (next: number, match = 0): Progress => {
  const progress = new Progress(at(next), { maxInflightMessages: 2, maxInflightBytes: 100 });
  progress.match = at(match);
  return progress;
};

describe('progress', () => {
  test('GR-13 starts probing where the leader ends', () => {
    expect(probing(8)).toMatchObject({ state: 'probe', next: 8, match: 0 });
  });

  test('an acknowledgement ends the probing', () => {
    const progress = probing(8);
    progress.accepted(at(7));
    expect(progress).toMatchObject({ state: 'replicate', match: 7, next: 8 });
  });

  test('an old acknowledgement never takes anything back', () => {
    const progress = probing(8);
    progress.accepted(at(7));
    progress.accepted(at(3));
    expect(progress).toMatchObject({ match: 7, next: 8 });
  });

  test.each([
    [8, 3, 4],
    [8, 7, 7],
    [8, 99, 7],
    [8, 0, 1],
  ])('a rejection while probing from %i with meeting point %i goes to %i', (next, meeting, expected) => {
    const progress = probing(next);
    progress.probeSent = true;
    expect(progress.rejected(at(next - 1), at(meeting))).toBe(true);
    expect(progress).toMatchObject({ next: expected, probeSent: false });
  });

  test('a rejection never goes below what is known to match, and an old one says nothing', () => {
    const progress = probing(8, 5);
    expect(progress.rejected(at(7), at(1))).toBe(true);
    expect(progress.next).toBe(6);
    expect(progress.rejected(at(7), at(1))).toBe(false);
    expect(progress.next).toBe(6);
  });

  test('a rejection while streaming starts over after the match, unless it is old', () => {
    const progress = probing(1);
    progress.accepted(at(5));
    progress.next = at(9);
    expect(progress.rejected(at(5), at(5))).toBe(false);
    expect(progress.rejected(at(8), at(5))).toBe(true);
    expect(progress).toMatchObject({ state: 'probe', next: 6 });
  });

  test('RA-25 RS-26 the window frees everything up to an acknowledged message', () => {
    const progress = probing(1);
    progress.accepted(at(1));
    for (const end of [2, 3]) progress.window.add(at(end), 10);
    expect(progress.window.full).toBe(true);
    progress.accepted(at(2));
    expect(progress.window.size).toBe(1);
    progress.window.add(at(4), 10);
    progress.accepted(at(9));
    expect(progress.window.size).toBe(0);
  });

  test('a delivered snapshot is probed right behind, a failed one from the match', () => {
    const progress = probing(1, 2);
    progress.becomeSnapshot(at(20));
    expect(progress.rejected(at(2), at(2))).toBe(false);
    progress.snapshotDone(true);
    expect(progress).toMatchObject({ state: 'probe', next: 21, probeSent: true, snapshotIndex: 20 });
    progress.becomeSnapshot(at(20));
    progress.snapshotDone(false);
    expect(progress).toMatchObject({ state: 'probe', next: 3, probeSent: true, snapshotIndex: 0 });
  });
});
