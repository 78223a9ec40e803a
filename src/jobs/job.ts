import type { Server } from 'node:http';
import { parseArgs } from 'node:util';
import { ArchiveError } from '../archive/types.ts';
import { openEngine, parseEndpoints, withCertificates } from '../engines/open.ts';
import { createLog } from '../log.ts';
import { credentialsFrom, openStore, parseStoreSpec } from '../stores/open.ts';
import { type Store, StoreError } from '../stores/store.ts';
import { type Env, type Output, runPrepare } from './prepare-command.ts';
import { leaveTerminationMessage, serveProgress, Tracker } from './report.ts';
import { exitStatus, isFailure, type JobFailure, type Outcome, progressPort, type Verb } from './result.ts';
import { fetch, remove, save, verify } from './verbs.ts';

const usage = `usage: raftsman job VERB --key KEY [flags]        what the operator runs in Job pods

  save     stream a member's snapshot into the store
             --endpoints URL[,URL...]   client addresses of the members
             --tls-dir DIR              tls.crt, tls.key and ca.crt for https endpoints
             --cluster NAME             written into the archive
             --engine Embedded|Etcd
  verify   read a whole archive from the store
             --checksum sha-256=...     refuse any other archive
             --engine Embedded|Etcd     refuse the state of any other engine
  fetch    verify an archive while writing it to a file
             --output FILE
             --extract                  its state alone, in the engine's own form, instead of the archive
             --unless-exists PATH       do nothing when PATH is there
             --clear PATH               delete this first: what an earlier attempt has left
             --checksum, --engine       as above
  delete   delete an archive; no error when there is none
  prepare  before a member of Etcd: an empty disk starts only in a cluster that has not formed, or to join one
             --data-dir DIR
             --adopt DIR                restored data that become the member's own, unless it has some
             --remove FILE              delete this once there are data
             --metrics HOST:PORT        of this member: let those that join before it serve first, for 10 s

environment:
  RAFTSMAN_STORE             the spec of a RaftSnapshotStore as JSON
  RAFTSMAN_STORE_MOUNT       where the volume of a volume store is mounted (/store)
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
  RAFTSMAN_TERMINATION_LOG   where the result goes (/dev/termination-log)
  RAFTSMAN_PROGRESS_PORT     port of GET /progress (${progressPort})
  RAFTSMAN_INITIAL_CLUSTER_STATE  existing: fetch does nothing, prepare wants data
  RAFTSMAN_JOINING, POD_NAME the members that may join on an empty disk, and this one (prepare)

exit status: 0 done, 1 failed, 2 wrong usage, 3 failed and a retry is pointless
`;

const flags = {
  key: { type: 'string' },
  endpoints: { type: 'string' },
  'tls-dir': { type: 'string' },
  cluster: { type: 'string' },
  engine: { type: 'string' },
  output: { type: 'string' },
  checksum: { type: 'string' },
  'unless-exists': { type: 'string' },
  extract: { type: 'boolean' },
  clear: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

type Flag = Exclude<keyof typeof flags, 'help'>;
type Flags = { readonly [F in Exclude<Flag, 'extract'>]?: string } & { readonly extract?: boolean };

const verbs: Readonly<Record<Verb, { readonly required: readonly Flag[]; readonly optional: readonly Flag[] }>> = {
  save: { required: ['key', 'endpoints'], optional: ['cluster', 'engine', 'tls-dir'] },
  verify: { required: ['key'], optional: ['checksum', 'engine'] },
  fetch: { required: ['key', 'output'], optional: ['checksum', 'engine', 'unless-exists', 'extract', 'clear'] },
  delete: { required: ['key'], optional: [] },
};

class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly code = 'JOB_USAGE';
}

/**
 * Runs one verb and resolves to the exit status. SIGTERM ends it cleanly: what is half done is undone, the termination
 * message says `JOB_STOPPED`.
 */
export async function runJob(
  argv: readonly string[],
  env: Env = process.env,
  output: Output = { stdout: (text) => process.stdout.write(text), stderr: (text) => process.stderr.write(text) },
): Promise<number> {
  const log = createLog({ write: (line) => output.stderr(`${line}\n`) }).with({ component: 'job' });
  if (argv[0] === 'prepare') return runPrepare(argv.slice(1), env, output);
  let verb: Verb;
  let given: Flags;
  try {
    const parsed = parse(argv);
    if (parsed === undefined) {
      output.stdout(usage);
      return exitStatus.done;
    }
    ({ verb, given } = parsed);
  } catch (error) {
    output.stderr(`raftsman job: ${(error as Error).message} (raftsman job --help lists the flags)\n`);
    return exitStatus.usage;
  }

  const stop = new AbortController();
  const onSignal = () => stop.abort(new Error('stopped by SIGTERM'));
  process.once('SIGTERM', onSignal);
  process.once('SIGINT', onSignal);
  const tracker = new Tracker();
  let server: Server | undefined;
  let outcome: Outcome;
  try {
    server = await serveProgress(tracker, Number(env['RAFTSMAN_PROGRESS_PORT'] ?? progressPort), log);
    log.info('job begins', { verb, key: given.key });
    outcome = await perform(verb, given, { env, tracker, signal: stop.signal });
    tracker.done();
  } catch (error) {
    outcome = failureOf(verb, error, stop.signal);
    log.error('job failed', { verb, key: given.key, ...outcome.error });
  } finally {
    process.off('SIGTERM', onSignal);
    process.off('SIGINT', onSignal);
    server?.close();
    server?.closeAllConnections();
  }
  await leaveTerminationMessage(env['RAFTSMAN_TERMINATION_LOG'] ?? '/dev/termination-log', outcome, log);
  if (isFailure(outcome)) return outcome.error.permanent ? exitStatus.permanent : exitStatus.failed;
  log.info('job done', { verb, ...outcome });
  return exitStatus.done;
}

function parse(argv: readonly string[]): { verb: Verb; given: Flags } | undefined {
  const { values, positionals } = parseStrictly(argv);
  if (values.help === true) return undefined;
  const [verb, ...more] = positionals;
  if (verb === undefined) throw new UsageError('which verb? use save, verify, fetch, delete or prepare');
  if (!Object.hasOwn(verbs, verb))
    throw new UsageError(`unknown verb "${verb}": use save, verify, fetch, delete or prepare`);
  if (more.length > 0) throw new UsageError(`unexpected argument "${more[0]}"`);
  const { required, optional } = verbs[verb as Verb];
  const { help: _, ...given } = values;
  for (const name of required) {
    if (!given[name]) throw new UsageError(`${verb} needs --${name}`);
  }
  for (const name of Object.keys(given) as Flag[]) {
    if (!required.includes(name) && !optional.includes(name)) throw new UsageError(`${verb} takes no --${name}`);
  }
  return { verb: verb as Verb, given };
}

function parseStrictly(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: flags, allowPositionals: true, strict: true });
  } catch (error) {
    // The first sentence names the flag; the rest is advice on writing parsers.
    throw new UsageError((error as Error).message.split('. ')[0] ?? 'wrong flags');
  }
}

interface Place {
  readonly env: Env;
  readonly tracker: Tracker;
  readonly signal: AbortSignal;
}

async function perform(verb: Verb, given: Flags, { env, tracker, signal }: Place): Promise<Outcome> {
  const { key = '', engine: type = 'Embedded', checksum, 'unless-exists': unlessExists, clear } = given;
  const store = storeFrom(env);
  const engine = openEngine(type);
  try {
    const work = { store, key, tracker, signal };
    const expected = { engine: type, ...(checksum === undefined ? {} : { checksum }) };
    switch (verb) {
      case 'save': {
        const endpoints = await withCertificates(parseEndpoints(given.endpoints ?? ''), given['tls-dir']);
        return await save({ ...work, engine, endpoints, cluster: given.cluster ?? '', now: new Date() });
      }
      case 'verify':
        return await verify({ ...work, expected });
      case 'fetch':
        return await fetch({
          ...work,
          expected,
          output: given.output ?? '',
          extract: given.extract ?? false,
          // Its members have their data, or have lost them: an archive would be of no use to either.
          formed: env['RAFTSMAN_INITIAL_CLUSTER_STATE'] === 'existing',
          ...(clear === undefined ? {} : { clear }),
          ...(unlessExists === undefined ? {} : { unlessExists }),
        });
      case 'delete':
        return await remove(work);
    }
  } finally {
    engine.close();
    store.close();
  }
}

function storeFrom(env: Env): Store {
  const text = env['RAFTSMAN_STORE'];
  if (text === undefined) {
    throw new StoreError(
      'STORE_SPEC_INVALID',
      'RAFTSMAN_STORE is not set: give the spec of a RaftSnapshotStore as JSON',
    );
  }
  let spec: unknown;
  try {
    spec = JSON.parse(text);
  } catch (cause) {
    throw new StoreError('STORE_SPEC_INVALID', `RAFTSMAN_STORE is not JSON: ${(cause as Error).message}`, { cause });
  }
  const credentials = credentialsFrom(env);
  const volumeMount = env['RAFTSMAN_STORE_MOUNT'];
  return openStore(parseStoreSpec(spec), {
    ...(credentials === undefined ? {} : { credentials }),
    ...(volumeMount === undefined ? {} : { volumeMount }),
  });
}

const pointless = new Set(['STORE_KEY_INVALID', 'STORE_SPEC_INVALID', 'ENGINE_UNKNOWN', 'ENGINE_ENDPOINT_INVALID']);
/** Of what is read, not of what is being written: a stream that breaks while saving may be whole next time. */
const pointlessToRead = new Set(['STORE_KEY_MISSING']);
const pointlessToWrite = new Set(['ARCHIVE_FILE_TOO_LARGE', 'ARCHIVE_META_INVALID']);

function failureOf(verb: Verb, thrown: unknown, signal: AbortSignal): JobFailure {
  if (signal.aborted) {
    const message = `stopped before it was done: ${verb} can be run again`;
    return { error: { code: 'JOB_STOPPED', message, permanent: false } };
  }
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  // A store that breaks off is met by the archive's reader, which adds where; the store's code says what.
  const known = error instanceof ArchiveError && error.cause instanceof StoreError ? error.cause : error;
  const { code = 'JOB_FAILED' } = known as { code?: string };
  const reading = verb === 'verify' || verb === 'fetch';
  const bad = known instanceof ArchiveError && known.code !== 'ARCHIVE_READ_FAILED';
  const permanent = pointless.has(code) || (reading ? bad || pointlessToRead.has(code) : pointlessToWrite.has(code));
  return { error: { code, message: error.message.replace(/\s*\n\s*/g, ' '), permanent } };
}
