/**
 * `raftsman job prepare`, which every start of an etcd member waits for: a command of its own, so that it loads nothing that
 * it does not need, no engine and no store.
 */
import { parseArgs } from 'node:util';
import { createLog } from '../log.ts';
import { PrepareError, prepare } from './prepare.ts';
import { exitStatus } from './result.ts';
import { untilTurn } from './turn.ts';

export type Env = Readonly<Record<string, string | undefined>>;

export interface Output {
  readonly stdout: (text: string) => unknown;
  readonly stderr: (text: string) => unknown;
}

const prepareFlags = {
  'data-dir': { type: 'string' },
  adopt: { type: 'string' },
  remove: { type: 'string' },
  metrics: { type: 'string' },
} as const;

/** A member that waits longer than this for another one has waited enough. */
const turnMs = 10_000;

/** Leaves no result but its last line, which is what is kept of an init container that fails. */
export async function runPrepare(
  argv: readonly string[],
  env: Env = process.env,
  output: Output = { stdout: (text) => process.stdout.write(text), stderr: (text) => process.stderr.write(text) },
): Promise<number> {
  const log = createLog({ write: (line) => output.stderr(`${line}\n`) }).with({ component: 'job' });
  const say = (error: unknown) => output.stderr(`${(error as Error).message.replace(/\s*\n\s*/g, ' ')}\n`);
  let given: { 'data-dir'?: string; adopt?: string; remove?: string; metrics?: string };
  try {
    given = parseArgs({ args: [...argv], options: prepareFlags, strict: true }).values;
    if (!given['data-dir']) throw new Error('prepare needs --data-dir');
  } catch (error) {
    say(error);
    return exitStatus.usage;
  }
  const { 'data-dir': dataFolder, adopt, remove, metrics } = given;
  const name = env['POD_NAME'] ?? '';
  const joining = (env['RAFTSMAN_JOINING'] ?? '').split(',');
  try {
    const done = await prepare({
      dataFolder,
      ...(adopt === undefined ? {} : { adopt }),
      ...(remove === undefined ? {} : { remove }),
      clusterState: env['RAFTSMAN_INITIAL_CLUSTER_STATE'] === 'new' ? 'new' : 'existing',
      name,
      joining,
    });
    log.info('disk prepared', { dataFolder, found: done });
    if (done === 'starts empty' && joining.includes(name) && metrics !== undefined) {
      const missing = await untilTurn({ name, joining, metrics, withinMs: turnMs });
      if (missing.length > 0) log.warn('joins before others that do not serve yet', { missing });
    }
    return exitStatus.done;
  } catch (error) {
    say(error instanceof PrepareError ? new Error(`${error.code}: ${error.message}`) : error);
    return exitStatus.failed;
  }
}
