import { StoreError } from './store.ts';

/** The same keys in every store, and the ones that the resources accept: no name begins with a dot. */
const pattern = /^[A-Za-z0-9_-][A-Za-z0-9._=+-]*(\/[A-Za-z0-9_-][A-Za-z0-9._=+-]*)*$/;
const limit = 1024;

export function checkKey(key: string): string {
  if (key.length <= limit && pattern.test(key)) return key;
  throw new StoreError(
    'STORE_KEY_INVALID',
    `"${key.slice(0, 200)}" is not a key: use up to ${limit} characters, names of A-Z a-z 0-9 . _ = + - that do not begin with a dot, separated by single slashes`,
  );
}

/** The beginning of a key: any, even half a name. */
export function checkPrefix(prefix: string): string {
  if (prefix === '' || pattern.test(prefix) || pattern.test(prefix.replace(/\/$/, ''))) return prefix;
  throw new StoreError('STORE_KEY_INVALID', `"${prefix.slice(0, 200)}" is not the beginning of a key`);
}
