import { type S3Spec, StoreError, type StoreErrorCode } from './store.ts';

/** What the SDK throws, as far as it is of use here. */
export interface S3Failure {
  readonly name?: string;
  readonly message?: string;
  readonly code?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
}

const byName: Readonly<Record<string, StoreErrorCode>> = {
  NoSuchBucket: 'STORE_BUCKET_MISSING',
  NoSuchKey: 'STORE_KEY_MISSING',
  NotFound: 'STORE_KEY_MISSING',
  AccessDenied: 'STORE_ACCESS_DENIED',
  Forbidden: 'STORE_ACCESS_DENIED',
  InvalidAccessKeyId: 'STORE_ACCESS_DENIED',
  SignatureDoesNotMatch: 'STORE_ACCESS_DENIED',
  ExpiredToken: 'STORE_ACCESS_DENIED',
  InvalidToken: 'STORE_ACCESS_DENIED',
  // versitygw's, with status 404.
  XAdminUserNotFound: 'STORE_ACCESS_DENIED',
  CredentialsProviderError: 'STORE_ACCESS_DENIED',
  TimeoutError: 'STORE_UNREACHABLE',
  QuotaExceeded: 'STORE_FULL',
  XMinioStorageFull: 'STORE_FULL',
  InsufficientStorage: 'STORE_FULL',
};

const network = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'ERR_STREAM_PREMATURE_CLOSE',
]);

interface Attempt {
  readonly verb: string;
  /** Empty when the store as a whole was asked. */
  readonly key: string;
  readonly location: string;
  readonly spec: S3Spec;
}

export function translateS3(cause: unknown, attempt: Attempt): StoreError {
  if (cause instanceof StoreError) return cause;
  const failure = cause as S3Failure;
  const { verb, key, location, spec } = attempt;
  const code = codeOf(failure, key);
  const what = key === '' ? `cannot ${verb} ${location}` : `cannot ${verb} "${key}" in ${location}`;
  const said = [failure.name, failure.message].filter((part) => part !== undefined && part !== '' && part !== 'Error');
  return new StoreError(code, `${what}: ${advice(code, key, spec, failure)}${said.join(': ')}`, { cause });
}

function codeOf(failure: S3Failure, key: string): StoreErrorCode {
  const named = byName[failure.name ?? ''];
  if (named !== undefined) return named;
  // The SDK wraps what it does not take for an error of its own world; the code is then only in the words.
  const mentioned = /\bE[A-Z_]{4,}\b/.exec(failure.message ?? '')?.[0] ?? '';
  if ([failure.code ?? '', failure.name ?? '', mentioned].some((one) => network.has(one))) return 'STORE_UNREACHABLE';
  const status = failure.$metadata?.httpStatusCode;
  if (status === 401 || status === 403) return 'STORE_ACCESS_DENIED';
  if (status === 404) return key === '' ? 'STORE_BUCKET_MISSING' : 'STORE_KEY_MISSING';
  if (status === 507) return 'STORE_FULL';
  // A server that cannot answer just now; the SDK has tried again already.
  if (status !== undefined && status >= 500) return 'STORE_UNREACHABLE';
  return 'STORE_FAILED';
}

function advice(code: StoreErrorCode, key: string, spec: S3Spec, failure: S3Failure): string {
  const server = spec.endpoint ?? `AWS in ${spec.region ?? 'us-east-1'}`;
  switch (code) {
    case 'STORE_BUCKET_MISSING':
      return `create the bucket "${spec.bucket}" at ${server}, or name another one: `;
    case 'STORE_KEY_MISSING':
      return key === '' ? '' : 'there is no such object: ';
    case 'STORE_ACCESS_DENIED':
      return failure.name === 'CredentialsProviderError'
        ? 'give credentials: '
        : `${server} refuses these credentials for the bucket "${spec.bucket}"; check the access key, the secret and what they are allowed to do: `;
    case 'STORE_UNREACHABLE':
      return `${server} does not answer or broke the connection; check the endpoint and the network: `;
    case 'STORE_FULL':
      return `${server} has no room left: `;
    case 'STORE_SPEC_INVALID':
    case 'STORE_KEY_INVALID':
    case 'STORE_FOLDER_MISSING':
    case 'STORE_FAILED':
    case 'STORE_ABORTED':
      return '';
  }
}
