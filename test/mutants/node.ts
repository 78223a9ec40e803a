/** Rules of the member around the core: in which order disk, network and state are told, and who is answered what. */
import type { Mutant } from './mutant.ts';

const checkers = ['cluster'] as const;

export const node: readonly Mutant[] = [
  {
    name: 'answered-before-the-disk',
    rule: 'fsync before an answer: the driver keeps back what waits for the disk',
    source: 'thesis §3.8, RS-03',
    changes: [
      {
        file: 'node/driver.ts',
        from: 'if (sync || this.#disk === undefined) this.#after(written, id, messages);',
        to: 'if (sync || this.#disk === undefined) this.#after(Promise.resolve(), id, messages);',
      },
    ],
    checkers,
  },
  {
    name: 'compacted-before-the-snapshot',
    rule: 'the log is let go only behind a snapshot that is durable',
    source: 'HR-25, RA-07, D7',
    changes: [
      {
        file: 'node/snapshotter.ts',
        from: '      const stored = await this.#store(meta, frozen);\n      await record(meta);\n',
        to: '      await compact(meta);\n      const stored = await this.#store(meta, frozen);\n      await record(meta);\n',
      },
      // The same rule once more: what the oldest stored snapshot needs stays.
      {
        file: 'node/snapshots.ts',
        from: 'await wal.release(Math.min(through, oldest?.index ?? 0));',
        to: 'await wal.release(oldest === undefined ? through : through);',
      },
    ],
    checkers,
  },
  {
    name: 'recorded-before-the-snapshot',
    rule: 'the log tells of a snapshot only when that is durable',
    source: 'HR-25, RA-07',
    changes: [
      {
        file: 'node/snapshotter.ts',
        from: '      const stored = await this.#store(meta, frozen);\n      await record(meta);\n',
        to: '      await record(meta);\n      const stored = await this.#store(meta, frozen);\n',
      },
    ],
    checkers,
  },
  {
    name: 'read-before-it-is-applied',
    rule: 'no stale read: a confirmed read waits until its position is applied',
    source: 'thesis §6.4, D11, RS-09',
    changes: [
      {
        file: 'node/reads.ts',
        from: 'if (index <= this.#applied) release(round);',
        to: 'if (index >= 0) release(round);',
      },
    ],
    shows: /^read .* saw the state at/,
    checkers,
  },
  {
    name: 'applied-twice',
    rule: 'what may be in the log is not proposed again',
    source: 'RS-11, RS-12',
    changes: [
      {
        file: 'node/proposals.ts',
        from: 'if (waiting.awaited()) this.#hand(waiting);',
        to: 'if (waiting.id > 0) this.#hand(waiting);',
      },
      {
        file: 'node/proposals.ts',
        from: 'if (one.term !== undefined && one.term < term && !one.unknown) this.#lost(one);',
        to: 'if (one.term !== undefined && one.term < term) this.#lost(one);',
      },
    ],
    shows: /is in the log twice/,
    checkers,
  },
  {
    name: 'ids-of-an-earlier-life',
    rule: 'an answer to what an earlier process of this member asked is none to what this one asks',
    source: 'thesis §6.4, RS-09',
    changes: [
      { file: 'node/driver.ts', from: 'const firstId = someId(options.raft.random);', to: 'const firstId = 0;' },
    ],
    checkers,
  },
];
