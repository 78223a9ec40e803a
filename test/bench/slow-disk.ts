/**
 * `node --import slow-disk.ts`: a slower disk for one process, without a hook in the product. Each write through a
 * descriptor opened with O_DSYNC, each `sync` and each `datasync` waits RAFTSMAN_BENCH_FSYNC_MS milliseconds first, beside
 * each other as on a disk with a queue; or as many as the file RAFTSMAN_BENCH_FSYNC_FILE says at that time. The waiting is
 * done by a thread that sleeps, since timers of the event loop are good to a millisecond only.
 */
import fs, { readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';

type Write = (descriptor: number, ...rest: unknown[]) => void;
type Sync = (this: fs.promises.FileHandle) => Promise<void>;

let delayMs = Number(process.env['RAFTSMAN_BENCH_FSYNC_MS'] ?? '0');
const toldBy = process.env['RAFTSMAN_BENCH_FSYNC_FILE'];
/** The clock that all threads of a process share. */
const now = (): number => Number(process.hrtime.bigint()) / 1e6;

/** One after another: the first to begin is the first to end, as all waits are equally long or a later one is made to wait. */
function sleepForOthers(): void {
  const never = new Int32Array(new SharedArrayBuffer(4));
  parentPort!.on('message', (until: number) => {
    const left = until - now();
    if (left > 0) Atomics.wait(never, 0, 0, left);
    parentPort!.postMessage(undefined);
  });
}

function followFile(file: string): void {
  const read = (): void => {
    // It is empty for a moment while it is written.
    delayMs = Number(readFileSync(file, 'utf8'));
  };
  read();
  fs.watch(file, { persistent: false }, read);
}

function slowDown(): void {
  const sleeper = new Worker(new URL(import.meta.url));
  const waiting: (() => void)[] = [];
  sleeper.on('message', () => {
    waiting.shift()!();
    if (waiting.length === 0) sleeper.unref();
  });
  sleeper.unref();
  const slept = (then: () => void): void => {
    if (delayMs === 0 && waiting.length === 0) {
      then();
      return;
    }
    if (waiting.push(then) === 1) sleeper.ref();
    sleeper.postMessage(now() + delayMs);
  };

  const durable = new Set<number>();
  const open = fs.promises.open;
  fs.promises.open = async (path, flags, mode) => {
    const handle = await open(path, flags, mode);
    if (typeof flags === 'number' && (flags & fs.constants.O_DSYNC) !== 0) {
      const { fd } = handle;
      const close = handle.close.bind(handle);
      durable.add(fd);
      handle.close = () => {
        durable.delete(fd);
        return close();
      };
    }
    return handle;
  };
  const write = fs.write as unknown as Write;
  const slowWrite: Write = (descriptor, ...rest) => {
    if (durable.has(descriptor)) slept(() => write(descriptor, ...rest));
    else write(descriptor, ...rest);
  };
  Object.assign(fs, { write: slowWrite });

  /** No module exports the class of file handles. */
  const patchHandles = async (): Promise<void> => {
    const handle = await open('/dev/null');
    const prototype = Object.getPrototypeOf(handle) as { sync: Sync; datasync: Sync };
    await handle.close();
    for (const name of ['sync', 'datasync'] as const) {
      const original = prototype[name];
      prototype[name] = async function (this: fs.promises.FileHandle) {
        await new Promise<void>((resolve) => slept(resolve));
        await original.call(this);
      };
    }
  };
  void patchHandles();
  syncBuiltinESMExports();
}

if (!isMainThread) sleepForOthers();
else if (toldBy !== undefined || delayMs > 0) {
  if (toldBy !== undefined) followFile(toldBy);
  slowDown();
}
