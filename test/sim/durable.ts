/**
 * What is really on a member's disk, told by the very bytes of its log's durable writes: so that majorities are counted on what a
 * loss of power leaves, and not on what a member believes.
 */
import { basename } from 'node:path';
import type { AppendFile, Disk } from '../../src/storage/disk.ts';
import { decodeEntry, decodeHardState, decodeSnapshotMark } from '../../src/storage/payload.ts';
import { headerBytes, recordBytes } from '../../src/storage/record.ts';
import type { SnapshotMark } from '../../src/storage/types.ts';

const recordTypes = { hardState: 2, entry: 3, snapshot: 4 } as const;

export interface DurableWatch {
  readonly onVote: (term: number, vote: string) => void;
  readonly onMark: (mark: SnapshotMark) => void;
}

export class DurableLog {
  /** Terms by index; none for what a snapshot replaced. */
  #terms: (number | undefined)[] = [];
  /** The last entry in the snapshot that replaced the log. */
  #base = 0;
  term = 0;
  readonly #watch: DurableWatch;

  constructor(watch: DurableWatch) {
    this.#watch = watch;
  }

  holds(index: number, term: number): boolean {
    return index <= this.#base || this.#terms[index] === term;
  }

  /** The same disk with this log on it. */
  watch(disk: Disk): Disk {
    return {
      list: (folder) => disk.list(folder),
      read: (path) => disk.read(path),
      stream: (path, offset) => disk.stream(path, offset),
      makeFolder: (path) => disk.makeFolder(path),
      create: (path) => disk.create(path),
      writeNew: (path, bytes) => disk.writeNew(path, bytes),
      rename: (from, to) => disk.rename(from, to),
      remove: (path) => disk.remove(path),
      syncFolder: (path) => disk.syncFolder(path),
      openAppend: async (path) => this.#watchFile(await disk.openAppend(path), path),
    };
  }

  #watchFile(file: AppendFile, path: string): AppendFile {
    const isLog = basename(path).endsWith('.wal');
    return {
      write: async (bytes, at) => {
        await file.write(bytes, at);
        if (isLog) this.#written(bytes);
      },
      zero: (from, to) => file.zero(from, to),
      close: () => file.close(),
    };
  }

  #written(bytes: Uint8Array): void {
    const batch = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at < batch.length; ) {
      const length = batch.readUInt32LE(at);
      const stored = batch.subarray(at + headerBytes, at + headerBytes + length);
      const mask = batch[at + 13]!;
      this.#record(batch[at + 12]! & 0x7f, mask === 0 ? stored : stored.map((byte) => byte ^ mask));
      at += recordBytes(length);
    }
  }

  #record(type: number, payload: Uint8Array): void {
    if (type === recordTypes.entry) {
      const { index, term } = decodeEntry(payload);
      this.#terms.length = Math.min(this.#terms.length, index);
      this.#terms[index] = term;
    } else if (type === recordTypes.hardState) {
      const { term, vote } = decodeHardState(payload);
      this.term = term;
      if (vote !== null) this.#watch.onVote(term, vote);
    } else if (type === recordTypes.snapshot) {
      const mark = decodeSnapshotMark(payload);
      this.#watch.onMark(mark);
      if (!mark.replacesLog) return;
      this.#terms = [];
      this.#base = mark.index;
    }
  }
}
