/** The product under test, from the folder that it is asked from: its own source, or a copy with one rule switched off. */
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

export interface Product {
  readonly bootstrap: typeof import('../../src/node/bootstrap.ts');
  readonly channel: typeof import('../../src/node/channel.ts');
  readonly codec: typeof import('../../src/node/codec.ts');
  readonly dataDir: typeof import('../../src/storage/data-dir.ts');
  readonly driver: typeof import('../../src/node/driver.ts');
  readonly firstElection: typeof import('../../src/node/first-election.ts');
  readonly flags: typeof import('../../src/node/flags.ts');
  readonly identity: typeof import('../../src/node/identity.ts');
  readonly join: typeof import('../../src/node/join.ts');
  readonly memberDriver: typeof import('../../src/node/member-driver.ts');
  readonly membership: typeof import('../../src/node/membership.ts');
}

export const ownSource = resolve(import.meta.dirname, '../../src');

/** Call after the clock is installed. */
export async function loadProduct(folder = ownSource): Promise<Product> {
  const load = (file: string): Promise<unknown> => import(pathToFileURL(join(resolve(folder), file)).href);
  const files = {
    bootstrap: 'node/bootstrap.ts',
    channel: 'node/channel.ts',
    codec: 'node/codec.ts',
    dataDir: 'storage/data-dir.ts',
    driver: 'node/driver.ts',
    firstElection: 'node/first-election.ts',
    flags: 'node/flags.ts',
    identity: 'node/identity.ts',
    join: 'node/join.ts',
    memberDriver: 'node/member-driver.ts',
    membership: 'node/membership.ts',
  } satisfies Record<keyof Product, string>;
  const loaded = Object.entries(files).map(async ([name, file]) => [name, await load(file)]);
  return Object.fromEntries(await Promise.all(loaded)) as Product;
}
