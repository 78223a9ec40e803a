/**
 * Loaded before a member (`node --import`): its log's file operations fail once the file named by FAIL_WHEN exists, whose
 * content says how, and every one after that is told in the file named by FAIL_TOLD.
 *
 *  - `write`: nothing is written, EIO.
 *  - `sync`: the bytes are written, and then EIO, as when the sync fails that O_DSYNC stands for.
 *  - `full`: half is written, then ENOSPC, as often as it is tried.
 *  - `zero`: the sync of the zeros ahead of the records fails with EIO.
 *  - `read <offset>`: reading at or after the offset fails with EIO.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const when = process.env['FAIL_WHEN']!;
const told = process.env['FAIL_TOLD']!;

const isLog = (fd: number): boolean => fs.readlinkSync(`/proc/self/fd/${fd}`).endsWith('.wal');

function order(): string[] {
  return fs.existsSync(when) ? fs.readFileSync(when, 'utf8').split(' ') : [];
}

const failure = (code: string, call: string): Error =>
  Object.assign(new Error(`${code}: failed by a test, ${call}`), { code });

type Write = (
  fd: number,
  bytes: Uint8Array,
  from: number,
  length: number,
  at: number,
  done: (error: Error | null, written: number) => void,
) => void;
const write = fs.write as unknown as Write;
let failed = false;

const failingWrite: Write = (fd, bytes, from, length, at, done) => {
  const [how] = isLog(fd) ? order() : [];
  if (how) fs.appendFileSync(told, 'write\n');
  // The rest of a write that was cut short meets the same disk.
  if (how === 'write' || (how === 'full' && failed)) {
    done(failure(how === 'full' ? 'ENOSPC' : 'EIO', 'write'), 0);
  } else if (how === 'sync') {
    write(fd, bytes, from, length, at, () => done(failure('EIO', 'fdatasync'), 0));
  } else if (how === 'full') {
    failed = true;
    write(fd, bytes, from, length >> 1, at, done);
  } else {
    write(fd, bytes, from, length, at, done);
  }
};
Object.assign(fs, { write: failingWrite });
syncBuiltinESMExports();

const handle = await fs.promises.open(import.meta.filename);
const prototype = Object.getPrototypeOf(handle) as {
  read: (this: { fd: number }, ...args: unknown[]) => Promise<unknown>;
  datasync: (this: { fd: number }) => Promise<void>;
};
await handle.close();
const { read, datasync } = prototype;

prototype.read = async function (...args) {
  const [how, from] = isLog(this.fd) ? order() : [];
  const [, , length, position] = args as [unknown, unknown, number, number];
  if (how === 'read' && position + length > Number(from)) throw failure('EIO', 'read');
  return read.apply(this, args);
};

prototype.datasync = async function () {
  const [how] = isLog(this.fd) ? order() : [];
  if (how) fs.appendFileSync(told, 'datasync\n');
  if (how === 'zero') throw failure('EIO', 'fdatasync');
  return datasync.apply(this);
};
