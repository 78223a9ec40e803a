import { readFileSync } from 'node:fs';

declare const RAFTSMAN_VERSION: string | undefined;

/** The version of this program: put in by the image's bundler, read from package.json when run from the sources. */
export const version: string =
  typeof RAFTSMAN_VERSION === 'string'
    ? RAFTSMAN_VERSION
    : (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version;
