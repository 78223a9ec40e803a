import { describe, expect, test } from '@jest/globals';
import { configurationOf } from '../../src/raft/configuration.ts';
import { encodeConfiguration } from '../../src/raft/membership.ts';
import type { Raft } from '../../src/raft/raft.ts';
import { asIndex, asTerm, type Configuration, type Entry, type SnapshotMessage } from '../../src/raft/types.ts';
import { a, append, b, c, cluster, entry, member, persist, receive } from './single.ts';

describe('snapshots', () => {
  function applied(): Raft {
    const raft = member({ trailingLogs: 1 });
    persist(raft, receive(raft, append(1, 0, 0, [entry(1, 1), entry(2, 1), entry(3, 1)], 3)));
    raft.step({ type: 'applied', index: asIndex(3) });
    return raft;
  }

  test('HR-03 RA-06 the meta is that of the state as applied, not that of the end of the log', () => {
    expect(applied().snapshotMeta(asIndex(2))).toEqual({
      index: 2,
      term: 1,
      configuration: cluster,
      configurationIndex: 0,
    });
  });

  const larger: Configuration = { ...cluster, learners: configurationOf([c]).voters };
  const change = (index: number, term: number): Entry => ({
    ...entry(index, term),
    kind: 'configuration',
    data: encodeConfiguration(larger, ''),
  });

  test('HR-19 the configuration is the committed one with its index, although a newer one counts already', () => {
    const raft = member();
    persist(raft, receive(raft, append(1, 0, 0, [entry(1, 1), change(2, 1)], 1)));
    raft.step({ type: 'applied', index: asIndex(1) });
    expect(raft.status().configuration).toEqual(larger);
    expect(raft.snapshotMeta(asIndex(1))).toMatchObject({ configuration: cluster, configurationIndex: 0 });
  });

  test('HR-18 GR-23 nothing applied, nothing to snapshot', () => {
    expect(() => member().snapshotMeta(asIndex(0))).toThrow(expect.objectContaining({ code: 'RAFT_SNAPSHOT_REFUSED' }));
  });

  test('HR-20 refused behind a configuration that is not applied, allowed at it', () => {
    const raft = member();
    persist(raft, receive(raft, append(1, 0, 0, [entry(1, 1), change(2, 1)], 2)));
    raft.step({ type: 'applied', index: asIndex(1) });
    expect(() => raft.snapshotMeta(asIndex(1))).toThrow(
      'cannot take snapshot now, wait until the configuration entry at 2 has been applied (have applied 1)',
    );
    raft.step({ type: 'applied', index: asIndex(2) });
    expect(raft.snapshotMeta(asIndex(2))).toMatchObject({ configuration: larger, configurationIndex: 2 });
  });

  test('HR-25 RA-08 only a durable snapshot compacts, and leaves the trailing entries', () => {
    const raft = applied();
    const meta = raft.snapshotMeta(asIndex(3));
    expect(raft.take().filter(({ type }) => type === 'compact')).toEqual([]);
    raft.step({ type: 'snapshotTaken', meta });
    expect(raft.take()).toEqual([{ type: 'compact', through: 2 }]);
    raft.step({ type: 'snapshotTaken', meta });
    expect(raft.take()).toEqual([]);
  });

  const snapshot = (index: number, term: number): SnapshotMessage => ({
    type: 'snapshot',
    from: b,
    to: a,
    term: asTerm(term),
    meta: { index: asIndex(index), term: asTerm(term), configuration: cluster, configurationIndex: asIndex(0) },
  });

  test('GR-29 RA-13 RA-16 D5 an installed snapshot sets log, commit and configuration, and the term never goes back', () => {
    const raft = member();
    receive(raft, append(7, 0, 0, [entry(1, 1)]));
    const { meta } = snapshot(20, 3);
    const message = {
      ...snapshot(20, 3),
      term: asTerm(7),
      meta: { ...meta, configuration: larger, configurationIndex: asIndex(15) },
    };
    raft.step({ type: 'snapshotOffered', message });
    expect(raft.take()).toEqual([{ type: 'receiveSnapshot', message }]);
    raft.step({ type: 'snapshotReceived', message });
    const types = raft.take().map(({ type }) => type);
    expect(types).toEqual(['configurationChanged', 'installSnapshot', 'persist']);
    expect(raft.status()).toMatchObject({
      term: 7,
      commit: 20,
      applied: 0,
      firstIndex: 21,
      lastIndex: 20,
      snapshotIndex: 20,
      configuration: larger,
      configurationIndex: 15,
    });
    raft.step({ type: 'applied', index: asIndex(20) });
    expect(raft.status().applied).toBe(20);
  });

  test('RA-16 a snapshot at or behind the commit index is refused', () => {
    const raft = applied();
    raft.step({ type: 'snapshotTaken', meta: raft.snapshotMeta(asIndex(3)) });
    expect(raft.take()).toEqual([{ type: 'compact', through: 2 }]);
    // Also where the log does not know the term any more.
    for (const index of [1, 2, 3]) {
      raft.step({ type: 'snapshotOffered', message: snapshot(index, 1) });
      expect(raft.take()[0]).toMatchObject({ type: 'refuseSnapshot' });
    }
    expect(raft.status()).toMatchObject({ commit: 3, applied: 3, lastIndex: 3 });
  });

  test('GR-28 a snapshot whose last entry is here keeps the log, and commits it', () => {
    const raft = member();
    persist(raft, receive(raft, append(1, 0, 0, [entry(1, 1), entry(2, 1), entry(3, 1)], 0)));
    raft.step({ type: 'snapshotOffered', message: snapshot(2, 1) });
    expect(raft.take()[0]).toMatchObject({ type: 'refuseSnapshot' });
    expect(raft.status()).toMatchObject({ commit: 2, lastIndex: 3 });
  });

  test('a snapshot of an old term is refused, its sender told', () => {
    const raft = member();
    receive(raft, append(9, 0, 0));
    raft.step({ type: 'snapshotOffered', message: snapshot(20, 3) });
    expect(raft.take()).toEqual([
      { type: 'send', message: expect.objectContaining({ accepted: false, term: 9 }) },
      expect.objectContaining({ type: 'refuseSnapshot' }),
    ]);
  });
});
