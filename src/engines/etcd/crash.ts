/** What etcd, or a container that runs before it, left when it ended. Pure. */
import type { Crash } from '../profile.ts';

/** Levels of zap's log lines that say why a process ends. */
const final = new Set(['fatal', 'panic', 'dpanic']);
const longest = 500;

const lost = /\bETCD_DATA_LOST\b/;
const removed = /member has been permanently removed from the cluster|data-dir used by this member must be removed/;
/** Of a log or a database that cannot be read: only where it is why the process ended. */
const corrupt =
  /crc mismatch|was the raft log corrupted|failed to (open|read|load) (the )?WAL|cannot be repaired|\bwal: |\bwalpb: |\bsnap: |failed to recover (v3 )?(backend|database)|invalid (database|freelist page)|checksum error|file size too small|version mismatch|failed to get all reachable pages|page \d+ already freed|self identifies as|unexpected fault address|data inconsistency/i;
/** Breaks the same calls, and says nothing of the data. */
const passing =
  /no space left on device|already locked|locked by other process|permission denied|too many open files|cannot allocate memory|read-only file system/;

export function crash(message: string | undefined): Crash {
  const lines = (message ?? '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const { text: whole, isReason } = wordsOf(lines);
  const text = whole.slice(0, longest);
  const verdict = lost.test(text)
    ? 'lost'
    : removed.test(text)
      ? 'removed'
      : isReason && corrupt.test(text) && !passing.test(text)
        ? 'corrupt'
        : undefined;
  // etcdutl does not restore into what it has left itself, and the kubelet runs again only what has failed.
  const again = /^Error: data-dir .* not empty/.test(text);
  return { text, ...(verdict === undefined ? {} : { verdict }), ...(again ? { again } : {}) };
}

interface Words {
  readonly text: string;
  /** It is why the process ended, and not just what was said last. */
  readonly isReason: boolean;
}

/** A stack, or what was said on the way down, may follow the line that says why it ended. */
function wordsOf(lines: readonly string[]): Words {
  const entries = lines.map(entryOf);
  const reason = entries.findLast((entry) => entry !== undefined && final.has(entry.level));
  if (reason !== undefined) return { text: reason.text, isReason: true };
  const panic = lines.findLast((line) =>
    /^(panic|fatal error|unexpected fault address|Error|ETCD_[A-Z_]+)\b/.test(line),
  );
  if (panic !== undefined) return { text: panic, isReason: true };
  const told = entries.findLast((entry) => entry !== undefined && removed.test(entry.text));
  const last = told ?? entries.at(-1);
  return { text: last?.text ?? lines.at(-1) ?? '', isReason: false };
}

interface Entry {
  readonly level: string;
  readonly text: string;
}

function entryOf(line: string): Entry | undefined {
  if (!line.startsWith('{')) return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch {
    // The kubelet keeps the end of a log: the first line may have lost its beginning.
    return undefined;
  }
  const { level, msg, error } = parsed as Record<string, unknown>;
  if (typeof level !== 'string' || typeof msg !== 'string') return undefined;
  return { level, text: typeof error === 'string' ? `${msg}: ${error}` : msg };
}
