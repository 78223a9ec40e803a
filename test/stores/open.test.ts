import { describe, expect, test } from '@jest/globals';
import { credentialsFrom, openStore, parseStoreSpec } from '../../src/stores/open.ts';
import { StoreError } from '../../src/stores/store.ts';

describe('the spec of a store', () => {
  test('a volume and an S3 bucket, with what the resource may say beside', () => {
    expect(parseStoreSpec({ volume: { claimName: 'c', path: 'a/b' } })).toEqual({
      volume: { claimName: 'c', path: 'a/b' },
    });
    const s3 = { bucket: 'b', prefix: 'p', endpoint: 'http://x:1', region: 'r', forcePathStyle: true };
    expect(parseStoreSpec({ s3: { ...s3, credentialsSecret: { name: 's' } } })).toEqual({ s3 });
  });

  test('anything else is refused with the field', () => {
    const cases: [unknown, string][] = [
      [undefined, 'spec must be an object'],
      [{}, 'exactly one of volume and s3'],
      [{ volume: { claimName: 'c' }, s3: { bucket: 'b' } }, 'exactly one of volume and s3'],
      [{ gcs: {} }, 'spec.gcs is not a field'],
      [{ volume: {} }, 'spec.volume.claimName'],
      [{ volume: { claimName: 'c', path: 5 } }, 'spec.volume.path'],
      [{ s3: { bucket: '' } }, 'spec.s3.bucket'],
      [{ s3: { bucket: 'b', endpoint: 'ftp://x' } }, 'spec.s3.endpoint must be a URL of http or https'],
      [{ s3: { bucket: 'b', forcePathStyle: 'yes' } }, 'spec.s3.forcePathStyle'],
    ];
    for (const [spec, message] of cases) {
      expect(() => parseStoreSpec(spec)).toThrow(message);
      expect(() => parseStoreSpec(spec)).toThrow(StoreError);
    }
  });

  test('credentials are both halves, or none', () => {
    expect(credentialsFrom({})).toBeUndefined();
    expect(credentialsFrom({ AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 's' })).toEqual({
      accessKeyId: 'a',
      secretAccessKey: 's',
    });
    expect(() => credentialsFrom({ AWS_ACCESS_KEY_ID: 'a' })).toThrow('AWS_SECRET_ACCESS_KEY is not set');
    expect(() => credentialsFrom({ AWS_SECRET_ACCESS_KEY: 's' })).toThrow('AWS_ACCESS_KEY_ID is not set');
  });

  test('the location names the store without its credentials', () => {
    const store = openStore(
      { s3: { bucket: 'b', prefix: 'p/q' } },
      { credentials: { accessKeyId: 'id', secretAccessKey: 'key' } },
    );
    expect(store.location).toBe('s3://b/p/q');
    expect(openStore({ volume: { claimName: 'c', path: 'x' } }).location).toBe('/store/x');
  });
});
