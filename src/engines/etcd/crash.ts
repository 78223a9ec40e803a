/** What etcd, or a container that runs before it, left when it ended. Pure. */
import type { Crash } from '../profile.ts';

/** Levels of zap's log lines that say why a process ends. */
const final = new Set(['fatal', 'panic', 'dpanic']);
const longest = 500;

const verdicts: readonly (readonly [NonNullable<Crash['verdict']>, RegExp])[] = [
  ['lost', /\bETCD_DATA_LOST\b/],
  ['removed', /member has been permanently removed from the cluster|data-dir used by this member must be removed/],
  [
    'corrupt',
    /crc mismatch|was the raft log corrupted|failed to (open|read|load) (the )?WAL|cannot be repaired|wal: |walpb: |snap: |failed to recover (v3 )?(backend|database)|invalid database|checksum error|file size too small|version mismatch|freelist|page \d+ already freed|data inconsistency|corrupt(ed)? (cluster|data)/i,
  ],
];

export function crash(message: string | undefined): Crash {
  const lines = (message ?? '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const text = (wordsOf(lines) ?? '').slice(0, longest);
  // No room on the disk breaks the same calls, and mends itself when there is room.
  const full = /no space left on device/.test(text);
  const verdict = full ? undefined : verdicts.find(([, pattern]) => pattern.test(text))?.[0];
  // etcdutl does not restore into what it has left itself, and the kubelet runs again only what has failed.
  const again = /^Error: data-dir .* not empty/.test(text);
  return { text, ...(verdict === undefined ? {} : { verdict }), ...(again ? { again } : {}) };
}

/** The last line that says why it ended: a stack may follow it. */
function wordsOf(lines: readonly string[]): string | undefined {
  const entries = lines.map(entryOf);
  const reason =
    entries.findLast((entry) => entry !== undefined && final.has(entry.level)) ??
    entries.findLast((entry) => entry !== undefined && verdicts.some(([, pattern]) => pattern.test(entry.text)));
  if (reason !== undefined) return reason.text;
  const panic = lines.findLast((line) =>
    /^(panic|fatal error|unexpected fault address|Error|ETCD_[A-Z_]+): ?/.test(line),
  );
  return panic ?? entries.at(-1)?.text ?? lines.at(-1);
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
