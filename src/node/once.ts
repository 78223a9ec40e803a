/** Warnings about what others send: once per kind, in bounded memory, whatever they send. */
import type { Log } from '../log.ts';

const kindsAtMost = 1000;

export class OnceLog {
  readonly #log: Log;
  readonly #said = new Set<string>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Message and pairs together are the kind. */
  warn(message: string, pairs: Readonly<Record<string, string>>): void {
    if (this.#said.size >= kindsAtMost) return;
    const kind = JSON.stringify([message, pairs]);
    if (this.#said.has(kind)) return;
    this.#said.add(kind);
    this.#log.warn(message, pairs);
    if (this.#said.size === kindsAtMost)
      this.#log.warn('too many kinds of warnings: from here on they are only counted');
  }
}
