/** The product under test, from the folder that it is asked from: its own source, or a copy with one rule switched off. */
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

export interface Product {
  readonly bootstrap: typeof import('../../src/node/bootstrap.ts');
  readonly channel: typeof import('../../src/node/channel.ts');
  readonly codec: typeof import('../../src/node/codec.ts');
  readonly dataDir: typeof import('../../src/storage/data-dir.ts');
  readonly driver: typeof import('../../src/node/driver.ts');
  readonly flags: typeof import('../../src/node/flags.ts');
  readonly identity: typeof import('../../src/node/identity.ts');
  readonly join: typeof import('../../src/node/join.ts');
  readonly membership: typeof import('../../src/node/membership.ts');
}

export const ownSource = resolve(import.meta.dirname, '../../src');

/** Call after the clock is installed. */
export async function loadProduct(folder = ownSource): Promise<Product> {
  const load = (file: string): Promise<unknown> => import(pathToFileURL(join(resolve(folder), file)).href);
  const [bootstrap, channel, codec, dataDir, driver, flags, identity, joining, membership] = await Promise.all(
    [
      'node/bootstrap.ts',
      'node/channel.ts',
      'node/codec.ts',
      'storage/data-dir.ts',
      'node/driver.ts',
      'node/flags.ts',
      'node/identity.ts',
      'node/join.ts',
      'node/membership.ts',
    ].map(load),
  );
  return { bootstrap, channel, codec, dataDir, driver, flags, identity, join: joining, membership } as Product;
}
