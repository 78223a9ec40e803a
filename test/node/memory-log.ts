/** A log that keeps its lines, for tests that ask what was said. */
import { createLog, type Log } from '../../src/log.ts';

export interface MemoryLog {
  readonly log: Log;
  readonly lines: Record<string, unknown>[];
  /** The messages, in order. */
  messages(): string[];
}

export function memoryLog(): MemoryLog {
  const lines: Record<string, unknown>[] = [];
  const log = createLog({ level: 'debug', write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });
  return { log, lines, messages: () => lines.map(({ message }) => String(message)) };
}
