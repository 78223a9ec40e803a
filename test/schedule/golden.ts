/** The golden data as the Go program in golden/ writes them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Due times of one schedule, one after another. */
export interface Run {
  readonly expression: string;
  readonly timeZone: string;
  /** Seconds since 1970. */
  readonly after: number;
  /** Minutes since 1970. */
  readonly due: readonly number[];
  /** Nothing is due after the last of them. */
  readonly ends?: true;
}

export interface Golden {
  readonly module: string;
  readonly parse: readonly { readonly expression: string; readonly valid: boolean }[];
  readonly calendar: readonly Run[];
  readonly clocks: readonly Run[];
  readonly random: readonly Run[];
}

export const golden: Golden = JSON.parse(
  readFileSync(join(import.meta.dirname, 'golden', 'testdata', 'golden.json'), 'utf8'),
);

/** What a run is, for the title of a failure. */
export function titleOf({ expression, timeZone, after }: Run): string {
  return `${expression} in ${timeZone} after ${new Date(after * 1000).toISOString()}`;
}

export function minutes(dates: readonly (Date | undefined)[]): string[] {
  return dates.map((date) => (date === undefined ? 'never' : `${date.toISOString().slice(0, 16)}Z`));
}
