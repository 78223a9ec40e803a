import { S3Store } from './s3.ts';
import { type S3Credentials, type S3Spec, type Store, StoreError, type StoreSpec, type VolumeSpec } from './store.ts';
import { VolumeStore } from './volume.ts';

export interface OpenOptions {
  /** For `s3`. Without them the SDK looks for its own. */
  readonly credentials?: S3Credentials;
  /** Where the volume of a `volume` store is mounted. Default `/store`. */
  readonly volumeMount?: string;
}

/** Opens without touching the store: `check` tells whether it is there. */
export function openStore(spec: StoreSpec, options: OpenOptions = {}): Store {
  if ('volume' in spec) return new VolumeStore(options.volumeMount ?? '/store', spec.volume.path);
  return new S3Store(spec.s3, options.credentials);
}

/**
 * The spec of a RaftSnapshotStore from outside (an environment variable, a file). The API server has checked it as a
 * resource; here it may be anything.
 */
export function parseStoreSpec(value: unknown): StoreSpec {
  const spec = object(value, 'spec', ['volume', 's3']);
  if ((spec['volume'] === undefined) === (spec['s3'] === undefined)) {
    throw new StoreError('STORE_SPEC_INVALID', 'spec must have exactly one of volume and s3');
  }
  if (spec['volume'] !== undefined) {
    const volume = object(spec['volume'], 'spec.volume', ['claimName', 'path']);
    return { volume: strings(volume, 'spec.volume', ['claimName'], ['path']) as unknown as VolumeSpec };
  }
  const s3 = object(spec['s3'], 'spec.s3', [
    'bucket',
    'prefix',
    'endpoint',
    'region',
    'forcePathStyle',
    'credentialsSecret',
  ]);
  const { forcePathStyle } = s3;
  if (forcePathStyle !== undefined && typeof forcePathStyle !== 'boolean') {
    throw new StoreError('STORE_SPEC_INVALID', 'spec.s3.forcePathStyle must be true or false');
  }
  const texts = strings(s3, 'spec.s3', ['bucket'], ['prefix', 'endpoint', 'region']) as unknown as S3Spec;
  if (texts.endpoint !== undefined && !/^https?:$/.test(protocolOf(texts.endpoint))) {
    throw new StoreError(
      'STORE_SPEC_INVALID',
      `spec.s3.endpoint must be a URL of http or https, not "${texts.endpoint}"`,
    );
  }
  return { s3: { ...texts, ...(forcePathStyle === undefined ? {} : { forcePathStyle }) } };
}

/** `AWS_ACCESS_KEY_ID` and its companions; undefined when they are not set. */
export function credentialsFrom(env: Readonly<Record<string, string | undefined>>): S3Credentials | undefined {
  const {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
  } = env;
  if (accessKeyId === undefined && secretAccessKey === undefined) return undefined;
  if (!accessKeyId || !secretAccessKey) {
    const missing = accessKeyId ? 'AWS_SECRET_ACCESS_KEY' : 'AWS_ACCESS_KEY_ID';
    throw new StoreError('STORE_ACCESS_DENIED', `${missing} is not set: give both halves of the credentials, or none`);
  }
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}

function protocolOf(url: string): string {
  return URL.canParse(url) ? new URL(url).protocol : '';
}

function object(value: unknown, name: string, allowed: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new StoreError('STORE_SPEC_INVALID', `${name} must be an object`);
  }
  const unknown = Object.keys(value).find((key) => !allowed.includes(key));
  if (unknown !== undefined) {
    throw new StoreError('STORE_SPEC_INVALID', `${name}.${unknown} is not a field: use ${allowed.join(', ')}`);
  }
  return value as Readonly<Record<string, unknown>>;
}

function strings(
  from: Readonly<Record<string, unknown>>,
  name: string,
  required: readonly string[],
  optional: readonly string[],
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const key of [...required, ...optional]) {
    const value = from[key];
    if (value === undefined && optional.includes(key)) continue;
    if (typeof value !== 'string' || value === '') {
      throw new StoreError('STORE_SPEC_INVALID', `${name}.${key} must be a text that is not empty`);
    }
    found[key] = value;
  }
  return found;
}
