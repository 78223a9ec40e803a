/** `raftsman node`: one member as a process. */
import { setFlagsFromString } from 'node:v8';
import { createLog } from '../log.ts';
import { StorageError } from '../storage/errors.ts';
import { NodeError } from './errors.ts';
import { nodeUsage, parseFlags } from './flags.ts';
import { RunningMember } from './member.ts';

/** What a process has and a test may replace. */
export interface NodeIo {
  readonly environment: NodeJS.ProcessEnv;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  /** Resolves with the name of the signal that asks to stop. */
  readonly stopAsked: Promise<string>;
}

function processIo(): NodeIo {
  return {
    environment: process.env,
    stdout: (text) => process.stdout.write(text),
    stderr: (text) => process.stderr.write(text),
    stopAsked: new Promise((resolve) => {
      for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal));
    }),
  };
}

/**
 * V8 learns which objects outlive a collection and makes their like in the old heap at once. Those of finished calls do, by
 * accident, and then hold each other there: collections of young objects took three times as long (docs/performance.md).
 */
function keepCallsYoung(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
}

/** Runs until told to stop (0), or until it cannot go on: one line says why (1, or 2 when the flags are wrong). */
export async function runNode(argv: readonly string[], io: NodeIo = processIo()): Promise<number> {
  keepCallsYoung();
  try {
    const parsed = parseFlags(argv, io.environment);
    if (parsed.help) {
      io.stdout(nodeUsage());
      return 0;
    }
    const { options } = parsed;
    const log = createLog({
      level: options.logLevel,
      format: options.logFormat,
      write: (line) => io.stderr(`${line}\n`),
    });
    const member = await RunningMember.start(options, log);
    const ended = await Promise.race([
      io.stopAsked.then((signal) => ({ signal })),
      member.failed.then((error) => ({ error })),
    ]);
    if ('signal' in ended) {
      log.info('stopping', { signal: ended.signal });
      await member.stop();
      log.info('stopped');
      return 0;
    }
    if (ended.error instanceof NodeError && ended.error.code === 'NODE_REMOVED') {
      await member.stop();
      throw ended.error;
    }
    io.stderr(oneLine(ended.error));
    // Nothing can be trusted after this: what is acknowledged is durable, the rest is for the next start.
    process.exit(1);
  } catch (error) {
    io.stderr(oneLine(error));
    return error instanceof NodeError ? error.exitCode : 1;
  }
}

/** With the code, by which the operator tells a lost disk from a bad flag: the line is all that a pod leaves. */
function oneLine(error: unknown): string {
  const known = error instanceof NodeError || error instanceof StorageError;
  const text = known
    ? `${error.code}: ${error.message}`
    : error instanceof Error
      ? (error.stack ?? error.message)
      : String(error);
  return `raftsman node: ${text.replaceAll(/\s*\n\s*/g, ' | ')}\n`;
}
