/**
 * One log line format for every process: a constant message and key-value pairs, so that a line can be searched for
 * by its message and filtered by its pairs. JSON lines by default, `text` for people at a terminal.
 */
export type Level = 'debug' | 'info' | 'warn' | 'error';
export type Pairs = Readonly<Record<string, unknown>>;

export interface Log {
  debug(message: string, pairs?: Pairs): void;
  info(message: string, pairs?: Pairs): void;
  warn(message: string, pairs?: Pairs): void;
  error(message: string, pairs?: Pairs): void;
  /** A log whose every line also carries `pairs`. */
  with(pairs: Pairs): Log;
}

export interface LogOptions {
  readonly level?: Level;
  readonly format?: 'json' | 'text';
  /** Receives one line without its newline. Standard error by default: standard output belongs to results. */
  readonly write?: (line: string) => void;
}

const rank: Record<Level, number> = { debug: 0, info: 1, warn: 2, error: 3 };

function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (!(value instanceof Error)) return value;
  const code = (value as { code?: unknown }).code;
  const cause = value.cause === undefined ? {} : { cause: plain(value.cause) };
  return { message: value.message, ...(code === undefined ? {} : { code }), ...cause };
}

function text(value: unknown): string {
  const known = plain(value);
  return typeof known === 'string' && /^[\w.:/@%+-]+$/.test(known) ? known : JSON.stringify(known, (_, v) => plain(v));
}

export function createLog(options: LogOptions = {}, bound: Pairs = {}): Log {
  const { level = 'info', format = 'json', write = (line) => process.stderr.write(`${line}\n`) } = options;
  const line =
    (at: Level) =>
    (message: string, pairs: Pairs = {}) => {
      if (rank[at] < rank[level]) return;
      const time = new Date().toISOString();
      const all: Pairs = { ...bound, ...pairs };
      write(
        format === 'json'
          ? JSON.stringify({ time, level: at, message, ...all }, (_, value) => plain(value))
          : [time, at.toUpperCase().padEnd(5), message, ...Object.entries(all).map(([k, v]) => `${k}=${text(v)}`)].join(
              ' ',
            ),
      );
    };
  return {
    debug: line('debug'),
    info: line('info'),
    warn: line('warn'),
    error: line('error'),
    with: (pairs) => createLog(options, { ...bound, ...pairs }),
  };
}
