/** What a person who runs the demo sees: a line for each step, with its time and what came of it. */
import { performance } from 'node:perf_hooks';

export type Note = (text: string) => void;

export class StepError extends Error {
  override readonly name = 'StepError';
  constructor(step: string, cause: unknown) {
    super(`"${step}" failed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

export class Steps {
  readonly #start = performance.now();
  readonly #live = process.stdout.isTTY === true;

  elapsed(): string {
    return `${((performance.now() - this.#start) / 1000).toFixed(1).padStart(6)} s`;
  }

  /** Runs one step. Its note, which may change while it runs, is what came of it. */
  async run<T>(title: string, work: (note: Note) => Promise<T>): Promise<T> {
    const start = performance.now();
    let last = '';
    const line = (mark: string, end: string) => {
      const text = `${this.elapsed()}  ${mark} ${title}${last ? `: ${last}` : ''}${end}`;
      return this.#live ? `\r\u001b[K${text}` : text;
    };
    if (this.#live) process.stdout.write(line('…', ''));
    try {
      const result = await work((text) => {
        if (text === last) return;
        last = text;
        if (this.#live) process.stdout.write(line('…', ''));
      });
      process.stdout.write(line('✓', ` (${((performance.now() - start) / 1000).toFixed(1)} s)\n`));
      return result;
    } catch (cause) {
      process.stdout.write(line('✗', '\n'));
      throw new StepError(title, cause);
    }
  }

  /** Output of a command, indented below the steps. */
  show(text: string): void {
    process.stdout.write(`${text.trimEnd().replace(/^/gm, '            ')}\n`);
  }
}

/** Columns as wide as their widest cell; the first row is the head. Numbers stand right. */
export function table(rows: readonly (readonly (string | number)[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((cells) => String(cells[column] ?? '').length)));
  const line = (cells: readonly (string | number)[]) =>
    `| ${widths
      .map((width, column) => {
        const cell = cells[column] ?? '';
        return typeof cell === 'number' ? String(cell).padStart(width) : String(cell).padEnd(width);
      })
      .join(' | ')} |`;
  const [head, ...body] = rows;
  return [line(head!), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...body.map(line)].join('\n');
}
