/**
 * What a job tells the operator: `Progress` over HTTP while it runs (`GET :8082/progress`), an `Outcome` as JSON in the
 * container's termination message when it ends.
 */

/**
 * Flags of `raftsman job`:
 *
 *     save   --endpoints URL[,URL…] --key KEY [--cluster NAME] [--engine Embedded|Etcd]
 *     verify --key KEY [--checksum sha-256=…] [--engine …]
 *     fetch  --key KEY --output FILE [--checksum sha-256=…] [--engine …] [--extract] [--unless-exists PATH] [--clear PATH]
 *     delete --key KEY
 *
 * verify and fetch refuse an archive whose state is not of the engine (`ARCHIVE_FOREIGN`) and, with `--checksum`, any
 * other archive (`ARCHIVE_CHANGED`). With `--unless-exists`, fetch does nothing and answers `{"key":"…"}` when the path
 * is there: an init container runs at every start of its pod, and a member that has its data needs no archive.
 */
export const progressPort = 8082;
/** The kubelet keeps no more of a termination message. */
export const terminationMessageLimit = 4096;

export type Verb = 'save' | 'verify' | 'fetch' | 'delete';

export type Phase = 'Starting' | 'Saving' | 'Checking' | 'Verifying' | 'Fetching' | 'Deleting' | 'Done';

/** `{"phase":"Saving","bytes":1048576,"totalBytes":4194304,"percent":25}` */
export interface Progress {
  readonly phase: Phase;
  /** Bytes of state handled so far (save), of the archive (verify, fetch). */
  readonly bytes: number;
  /** Absent while unknown. */
  readonly totalBytes?: number;
  /** Whole number, 0 to 100; 100 only when the job is done. Absent while the total is unknown. */
  readonly percent?: number;
}

/**
 * Of save, verify and fetch. `delete` answers `{"key":"…"}` alone.
 * `revision`, `keys`, `hash`, `engine`, `engineVersion` and `clusterId` are absent for an archive that was not taken by
 * Raftsman, converted ones included.
 */
export interface ArchiveResult {
  readonly key: string;
  readonly index: number;
  readonly term: number;
  /** Compressed bytes. */
  readonly sizeBytes: number;
  /** `sha-256=<base64>` over the compressed bytes. */
  readonly checksum: string;
  readonly revision?: number;
  readonly keys?: number;
  readonly hash?: string;
  readonly engine?: string;
  readonly engineVersion?: string;
  readonly clusterId?: string;
  /** The cluster's name at the time of the snapshot. */
  readonly cluster?: string;
}

export interface DeleteResult {
  readonly key: string;
}

/** `{"error":{"code":"ARCHIVE_TRUNCATED","message":"…","permanent":true}}` */
export interface JobFailure {
  readonly error: {
    readonly code: string;
    readonly message: string;
    /** A retry is pointless: exit status 3. */
    readonly permanent: boolean;
  };
}

export type Outcome = ArchiveResult | DeleteResult | JobFailure;

/** Exit statuses. 2 is for wrong usage, as everywhere. */
export const exitStatus = { done: 0, failed: 1, usage: 2, permanent: 3 } as const;

/** Reads a termination message; undefined when it is not one of ours (an OOM kill leaves the log's tail, or nothing). */
export function parseOutcome(message: string | undefined): Outcome | undefined {
  const value = parseObject(message);
  if (value === undefined) return undefined;
  const error = value['error'];
  if (typeof error === 'object' && error !== null) {
    const { code, message: text, permanent } = error as Record<string, unknown>;
    if (typeof code !== 'string' || typeof text !== 'string') return undefined;
    return { error: { code, message: text, permanent: permanent === true } };
  }
  const key = value['key'];
  if (typeof key !== 'string') return undefined;
  if (!('checksum' in value)) return { key };
  const { index, term, sizeBytes, checksum } = value;
  if (typeof index !== 'number' || typeof term !== 'number' || typeof sizeBytes !== 'number') return undefined;
  if (typeof checksum !== 'string') return undefined;
  return {
    key,
    index,
    term,
    sizeBytes,
    checksum,
    ...numbers(value, ['revision', 'keys']),
    ...strings(value, ['hash', 'engine', 'engineVersion', 'clusterId', 'cluster']),
  };
}

/** Reads an answer of `/progress`; undefined when it is none. */
export function parseProgress(body: string): Progress | undefined {
  const value = parseObject(body);
  if (value === undefined || typeof value['phase'] !== 'string' || typeof value['bytes'] !== 'number') return undefined;
  return {
    phase: value['phase'] as Phase,
    bytes: value['bytes'],
    ...numbers(value, ['totalBytes', 'percent']),
  };
}

export function isFailure(outcome: Outcome): outcome is JobFailure {
  return 'error' in outcome;
}

export function isArchiveResult(outcome: Outcome): outcome is ArchiveResult {
  return 'checksum' in outcome;
}

function parseObject(text: string | undefined): Record<string, unknown> | undefined {
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function numbers<K extends string>(value: Record<string, unknown>, keys: readonly K[]): { [P in K]?: number } {
  const picked: { [P in K]?: number } = {};
  for (const key of keys) if (typeof value[key] === 'number') picked[key] = value[key];
  return picked;
}

function strings<K extends string>(value: Record<string, unknown>, keys: readonly K[]): { [P in K]?: string } {
  const picked: { [P in K]?: string } = {};
  for (const key of keys) if (typeof value[key] === 'string') picked[key] = value[key];
  return picked;
}
