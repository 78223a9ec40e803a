import { describe, expect, test } from '@jest/globals';
import { asIndex, asTerm, type RaftCommand } from '../../src/raft/types.ts';
import { a, append, b, c, entry, member, persist, receive } from './single.ts';

describe('following', () => {
  test('GR-16 an old leader is told the current term', () => {
    const raft = member();
    receive(raft, append(4, 0, 0));
    expect(receive(raft, append(3, 0, 0, [entry(1, 3)], 0, c))).toEqual([
      { type: 'send', message: expect.objectContaining({ type: 'appendResponse', accepted: false, term: 4, to: c }) },
    ]);
  });

  test('GR-16 what fits is appended, then committed as far as the leader did and the entries go, then acknowledged', () => {
    const raft = member();
    const commands = receive(raft, append(1, 0, 0, [entry(1, 1), entry(2, 1)], 9));
    expect(raft.status()).toMatchObject({ role: 'follower', leader: b, term: 1, lastIndex: 2, commit: 2 });
    expect(persist(raft, commands).messages).toEqual([
      expect.objectContaining({ type: 'appendResponse', to: b, accepted: true, index: 2, term: 1 }),
    ]);
  });

  test.each([
    [5, 1],
    [2, 9],
    [3, 9],
  ])(
    'GR-17 what does not fit the log is refused, before its end or behind it: previous entry %i of term %i',
    (index, term) => {
      const raft = member();
      persist(raft, receive(raft, append(1, 0, 0, [entry(1, 1), entry(2, 1)], 1)));
      expect(receive(raft, append(9, index, term, [entry(index + 1, 9)], 9))).toContainEqual({
        type: 'send',
        message: expect.objectContaining({ type: 'appendResponse', accepted: false, index }),
      });
      expect(raft.status()).toMatchObject({ lastIndex: 2, commit: 1 });
    },
  );

  test('GR-17 what is committed is never cut off, whatever is sent', () => {
    const raft = member();
    persist(raft, receive(raft, append(1, 0, 0, [entry(1, 1), entry(2, 1)], 2)));
    receive(raft, append(2, 0, 0, [entry(1, 2)], 1));
    expect(raft.status()).toMatchObject({ term: 2, commit: 2, lastIndex: 2 });
    receive(raft, append(2, 1, 1, [entry(2, 2), entry(3, 2)], 3));
    expect(raft.status()).toMatchObject({ commit: 2, lastIndex: 2 });
  });

  test('RS-03 an entry is acknowledged only by the write that makes it durable, and the same again waits for it', () => {
    const raft = member();
    const first = receive(raft, append(1, 0, 0, [entry(1, 1)]));
    const again = receive(raft, append(1, 0, 0, [entry(1, 1)]));
    expect(again).toEqual([
      expect.objectContaining({
        type: 'persist',
        entries: [],
        hardState: null,
        sync: false,
        messages: [expect.objectContaining({ index: 1 })],
      }),
    ]);
    expect(persist(raft, [...first, ...again]).messages).toHaveLength(2);
    expect(receive(raft, append(1, 0, 0, [entry(1, 1)]))).toEqual([
      { type: 'send', message: expect.objectContaining({ accepted: true, index: 1 }) },
    ]);
  });

  test('GR-16 the commit index covers only what is known to match the leader', () => {
    const raft = member();
    receive(raft, append(1, 0, 0, [entry(1, 1), entry(2, 1), entry(3, 1)]));
    // The new leader committed other entries at 2 and 3, which have not arrived yet.
    receive(raft, append(2, 1, 1, [], 3, c));
    expect(raft.commit).toBe(1);
  });

  test('many appends of one batch share a write and an acknowledgement', () => {
    const raft = member();
    const commands = receive(
      raft,
      append(1, 0, 0, [entry(1, 1)]),
      append(1, 1, 1, [entry(2, 1)]),
      append(1, 2, 1, [entry(3, 1)]),
    );
    const writes = commands.filter((command) => command.type === 'persist');
    expect(writes).toHaveLength(1);
    expect(writes[0]).toMatchObject({ entries: [{ index: 1 }, { index: 2 }, { index: 3 }], messages: [{ index: 3 }] });
  });

  test('RA-24 what is handed out for apply is contiguous, committed and durable', () => {
    const raft = member();
    const commands = receive(raft, append(1, 0, 0, [entry(1, 1), entry(2, 1), entry(3, 1)], 2));
    expect(commands.some(({ type }) => type === 'apply')).toBe(false);
    const after = persist(raft, commands).commands;
    expect(after).toEqual([{ type: 'apply', entries: [entry(1, 1), entry(2, 1)] }]);
  });

  test('what waits for the state machine is bounded', () => {
    const raft = member({ maxApplyingBytes: 300 });
    const entries = [1, 2, 3, 4].map((index) => entry(index, 1, 100));
    const { commands } = persist(raft, receive(raft, append(1, 0, 0, entries, 4)));
    const sizes = (list: RaftCommand[]) => list.flatMap((one) => (one.type === 'apply' ? [one.entries.length] : []));
    expect(sizes(commands)).toEqual([2]);
    // One more fits into the rest of the bound, since a portion is never empty.
    expect(sizes(raft.take())).toEqual([1]);
    expect(sizes(raft.take())).toEqual([]);
    raft.step({ type: 'applied', index: asIndex(2) });
    expect(sizes(raft.take())).toEqual([1]);
  });

  test('RS-27 heartbeats are answered without waiting for the disk', () => {
    const raft = member();
    const commands = receive(raft, append(1, 0, 0, [entry(1, 1)]), {
      type: 'heartbeat',
      from: b,
      to: a,
      term: asTerm(1),
      commit: asIndex(99),
      round: 4,
    });
    expect(commands).toContainEqual({
      type: 'send',
      message: expect.objectContaining({ type: 'heartbeatResponse', round: 4 }),
    });
    expect(raft.commit).toBe(1);
  });
});
