/** Rules of the disk: when something is durable, and what is believed of what is read back. */
import type { Mutant } from './mutant.ts';

const checkers = ['log', 'cluster'] as const;
const ofSnapshots = ['snapshots', 'cluster'] as const;

export const storage: readonly Mutant[] = [
  {
    name: 'told-before-written',
    rule: 'fsync before an answer: the log says that a batch is durable when it is written',
    source: 'thesis §3.8, GR-32',
    changes: [
      {
        file: 'storage/wal.ts',
        from: '        await this.#write(\n          taken.map(({ batch }) => batch),\n          commit,\n        );\n        for (const { resolve } of taken) resolve();\n',
        to: '        for (const { resolve } of taken) resolve();\n        await this.#write(\n          taken.map(({ batch }) => batch),\n          commit,\n        );\n',
      },
    ],
    checkers,
  },
  {
    name: 'vote-taken-for-a-commit',
    rule: 'only the commit index may wait for the next write: term and vote may not',
    source: 'thesis §3.8, D1, RS-03',
    changes: [
      {
        file: 'storage/wal.ts',
        from: 'return hardState.term === this.#submitted?.term && hardState.vote === this.#submitted.vote;',
        to: 'return true;',
      },
    ],
    checkers,
  },
  {
    name: 'failed-sync-forgiven',
    rule: 'after a failed write or sync nothing is acknowledged any more',
    source: 'RS-23',
    changes: [
      {
        file: 'storage/wal.ts',
        from: '        const failure = this.#fail(error);\n        for (const { reject } of taken) reject(failure);\n',
        to: '        void error;\n        for (const { resolve } of taken) resolve();\n',
      },
    ],
    checkers: ['cluster'],
  },
  {
    name: 'full-disk-forgiven',
    rule: 'what a full disk did not take is written again before it is acknowledged',
    source: 'RS-24',
    changes: [
      {
        file: 'storage/wal.ts',
        from: '        await this.#foundFull(error as Error);\n        this.#goOn();\n',
        to: '        this.#isStuck = false;\n        return;\n',
      },
    ],
    checkers: ['cluster'],
  },
  {
    name: 'lost-tail-taken-for-clean',
    rule: 'records that do not check are cut off only when they are what a write left unfinished',
    source: 'RS-21, GR-32',
    changes: [{ file: 'storage/segment.ts', from: 'if (used === end) return 0;', to: 'return used - end;' }],
    checkers: ['log'],
  },
  {
    name: 'log-cut-short',
    rule: 'a file that is shorter than it was is damage, not an end',
    source: 'RS-21',
    changes: [
      { file: 'storage/segment.ts', from: '  checkLength(path, file, head, at);\n', to: '  void checkLength;\n' },
    ],
    checkers: ['log'],
  },
  {
    name: 'record-checksum-ignored',
    rule: 'a record whose checksum does not match is not read',
    source: 'RS-21',
    changes: [
      {
        file: 'storage/record.ts',
        from: 'if (crc32(stored, seed) !== file.readUInt32LE(offset + 4))',
        to: 'if (seed < 0)',
      },
    ],
    checkers: ['log'],
  },
  {
    name: 'read-and-not-durable',
    rule: 'what a dead process wrote may be readable and still be lost: it is written again',
    source: 'D1, RA-17',
    changes: [{ file: 'storage/wal.ts', from: '      await file.write(lastWrite.bytes, lastWrite.at);\n', to: '' }],
    checkers,
  },
  {
    name: 'segment-name-not-durable',
    rule: 'a segment is built upon only when its name is durable',
    source: 'GR-32',
    changes: [
      {
        file: 'storage/write-segment.ts',
        from: '  await disk.syncFolder(folder);\n  return { segment,',
        to: '  return { segment,',
      },
    ],
    checkers,
  },
  {
    name: 'snapshot-bytes-not-durable',
    rule: 'a snapshot is named when its bytes are durable, not before',
    source: 'HR-34, ES-21, D14',
    changes: [{ file: 'storage/snapshots.ts', from: '      await this.#state.sync();\n', to: '' }],
    checkers: ofSnapshots,
  },
  {
    name: 'snapshot-name-not-durable',
    rule: 'a rename is durable when its folder is',
    source: 'HR-34, ES-21, D8',
    changes: [
      {
        file: 'storage/snapshots.ts',
        from: '      await this.#disk.syncFolder(this.#folder);\n    } catch (error) {\n      // It is there',
        to: '    } catch (error) {\n      // It is there',
      },
    ],
    checkers: ofSnapshots,
  },
  {
    name: 'snapshot-checksum-ignored',
    rule: 'a snapshot whose checksum does not match is not loaded',
    source: 'HR-33, HR-34',
    changes: [{ file: 'storage/snapshots.ts', from: 'if (crc.digest() !== meta.crc)', to: 'if (meta.size < 0)' }],
    checkers: ['snapshots'],
  },
  {
    name: 'unrecorded-snapshot-counts',
    rule: 'a snapshot that the log does not tell of does not push out the one that it tells of',
    source: 'HR-25, RA-07, RA-19',
    changes: [
      {
        file: 'storage/snapshots.ts',
        from: 'if (!isHeld && !this.#inUse.has(id)) await this.remove(id);',
        to: 'if (!this.#inUse.has(id)) await this.remove(id);',
      },
      {
        file: 'storage/recover.ts',
        from: '    await removeUnrecorded(store, stored, log, options);\n    for (const',
        to: '    for (const',
      },
    ],
    checkers: ['snapshots'],
  },
  {
    name: 'older-record-lets-go',
    rule: 'the record of an older snapshot does not let go of the newer one that the log goes on from',
    source: 'RA-19',
    changes: [
      {
        file: 'storage/snapshots.ts',
        from: 'if (this.#held === undefined || index > this.#held.index) this.#held',
        to: 'this.#held',
      },
    ],
    checkers: ['snapshots'],
  },
];
