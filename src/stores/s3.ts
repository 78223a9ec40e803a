import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { GetObjectCommandOutput, S3Client } from '@aws-sdk/client-s3';
import { checkKey, checkPrefix } from './key.ts';
import { type S3Failure, translateS3 } from './s3-errors.ts';
import {
  type PutResult,
  type S3Credentials,
  type S3Spec,
  type Store,
  type StoreCallOptions,
  type StoredObject,
  StoreError,
} from './store.ts';

/** Bytes of one part, and how many are under way: together the memory that an upload takes. */
const partSize = 8 * 1024 * 1024;
const partsUnderWay = 2;
/** S3's own limit of parts, less some for an estimate that was low. */
const partLimit = 9000;
const connectionTimeoutMs = 5_000;
/** Without a byte in either direction. */
const idleTimeoutMs = 60_000;
const attempts = 3;

type Sdk = typeof import('@aws-sdk/client-s3');

/**
 * A store in a bucket of S3 or of a server that speaks its protocol. The SDK is loaded at the first call: it costs
 * memory that a process without S3 should not pay. Each part's SHA-256 is in its signature, so that the server refuses
 * a part that was changed on its way; the trailing checksums that many servers do not know are off.
 */
export class S3Store implements Store {
  readonly kind = 's3';
  readonly location: string;
  readonly #spec: S3Spec;
  readonly #credentials: S3Credentials | undefined;
  #opened: Promise<{ sdk: Sdk; client: S3Client }> | undefined;

  /** Without credentials the SDK looks for its own: the environment, a web identity, the instance. */
  constructor(spec: S3Spec, credentials?: S3Credentials) {
    this.#spec = spec;
    this.#credentials = credentials;
    this.location = `s3://${spec.bucket}${spec.prefix === undefined ? '' : `/${spec.prefix}`}`;
  }

  async put(
    key: string,
    source: AsyncIterable<Uint8Array>,
    options: StoreCallOptions & { readonly sizeHint?: number } = {},
  ): Promise<PutResult> {
    const name = this.#name(key);
    const { client } = await this.#open();
    const { Upload } = await import('@aws-sdk/lib-storage');
    const hash = createHash('sha256');
    let sizeBytes = 0;
    let sourceFailure: { readonly error: unknown } | undefined;
    const { signal } = options;
    // An abort goes through the source, not through the uploader, which would return before it has told the server.
    async function* body(): AsyncGenerator<Uint8Array> {
      const chunks = source[Symbol.asyncIterator]();
      try {
        for (;;) {
          // Only what the source throws is its failure: the uploader throws its own into this generator.
          const next = await chunks.next().catch((error: unknown) => {
            sourceFailure = { error };
            throw error;
          });
          if (signal?.aborted === true) {
            sourceFailure = { error: stopped(key, signal.reason) };
            throw sourceFailure.error;
          }
          if (next.done === true) return;
          hash.update(next.value);
          sizeBytes += next.value.length;
          yield next.value;
        }
      } finally {
        await chunks.return?.();
      }
    }
    const upload = new Upload({
      client,
      params: {
        Bucket: this.#spec.bucket,
        Key: name,
        Body: Readable.from(body(), { highWaterMark: 2 }),
        ContentType: 'application/gzip',
      },
      queueSize: partsUnderWay,
      partSize: Math.max(partSize, Math.ceil((options.sizeHint ?? 0) / partLimit)),
    });
    try {
      const { ETag } = await upload.done();
      return { key, sizeBytes, sha256: hash.digest('hex'), ...(ETag === undefined ? {} : { etag: ETag }) };
    } catch (error) {
      if (sourceFailure !== undefined) throw sourceFailure.error;
      throw this.#translate('write', key, error);
    }
  }

  async get(
    key: string,
    options: StoreCallOptions & { readonly range?: { readonly start: number; readonly end?: number } } = {},
  ): Promise<{ sizeBytes: number; chunks: AsyncIterable<Uint8Array> }> {
    const { range, signal } = options;
    const { sdk, client } = await this.#open();
    const command = new sdk.GetObjectCommand({
      Bucket: this.#spec.bucket,
      Key: this.#name(key),
      ...(range === undefined ? {} : { Range: `bytes=${range.start}-${range.end ?? ''}` }),
    });
    let answer: GetObjectCommandOutput;
    try {
      answer = await client.send(command, signal === undefined ? {} : { abortSignal: signal });
    } catch (error) {
      throw this.#translate('read', key, error, signal);
    }
    const sizeBytes = answer.ContentLength ?? 0;
    const chunks = async function* (this: S3Store): AsyncGenerator<Uint8Array> {
      let received = 0;
      const stream = answer.Body as unknown as AsyncIterable<Uint8Array> & { destroy(error?: Error): void };
      const abort = () => stream.destroy(stopped(key, signal?.reason));
      signal?.addEventListener('abort', abort, { once: true });
      try {
        for await (const chunk of stream) {
          if (signal?.aborted === true) throw stopped(key, signal.reason);
          received += chunk.length;
          yield chunk;
        }
      } catch (error) {
        throw this.#translate('read', key, error, signal);
      } finally {
        signal?.removeEventListener('abort', abort);
        stream.destroy();
      }
      if (received === sizeBytes) return;
      throw new StoreError(
        'STORE_UNREACHABLE',
        `"${key}" in ${this.location} broke off after ${received} of ${sizeBytes} bytes`,
      );
    };
    return { sizeBytes, chunks: chunks.call(this) };
  }

  async head(key: string, options: StoreCallOptions = {}): Promise<StoredObject | undefined> {
    const { sdk, client } = await this.#open();
    const { signal } = options;
    try {
      const found = await client.send(
        new sdk.HeadObjectCommand({ Bucket: this.#spec.bucket, Key: this.#name(key) }),
        signal === undefined ? {} : { abortSignal: signal },
      );
      return {
        key,
        sizeBytes: found.ContentLength ?? 0,
        ...(found.ETag === undefined ? {} : { etag: found.ETag }),
      };
    } catch (error) {
      if ((error as S3Failure).$metadata?.httpStatusCode === 404) {
        // An answer to HEAD has no body that would tell a missing object from a missing bucket.
        await this.check(options);
        return undefined;
      }
      throw this.#translate('look up', key, error, signal);
    }
  }

  async *list(prefix: string, options: StoreCallOptions = {}): AsyncGenerator<StoredObject> {
    checkPrefix(prefix);
    const { sdk, client } = await this.#open();
    const { signal } = options;
    const root = this.#spec.prefix === undefined ? '' : `${this.#spec.prefix}/`;
    let token: string | undefined;
    do {
      const page = await client
        .send(
          new sdk.ListObjectsV2Command({
            Bucket: this.#spec.bucket,
            Prefix: `${root}${prefix}`,
            ...(token === undefined ? {} : { ContinuationToken: token }),
          }),
          signal === undefined ? {} : { abortSignal: signal },
        )
        .catch((error: unknown) => {
          throw this.#translate('list', prefix, error, signal);
        });
      for (const { Key, Size, ETag } of page.Contents ?? []) {
        if (Key === undefined || Key.endsWith('/')) continue;
        yield { key: Key.slice(root.length), sizeBytes: Size ?? 0, ...(ETag === undefined ? {} : { etag: ETag }) };
      }
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
  }

  async delete(key: string, options: StoreCallOptions = {}): Promise<void> {
    const { sdk, client } = await this.#open();
    const { signal } = options;
    try {
      await client.send(
        new sdk.DeleteObjectCommand({ Bucket: this.#spec.bucket, Key: this.#name(key) }),
        signal === undefined ? {} : { abortSignal: signal },
      );
    } catch (error) {
      const known = this.#translate('delete', key, error, signal);
      if (known.code !== 'STORE_KEY_MISSING') throw known;
    }
  }

  /** By listing at most one key: it needs the permission that looking at the bucket needs, and says what is wrong. */
  async check(options: StoreCallOptions = {}): Promise<void> {
    const { sdk, client } = await this.#open();
    const { bucket, prefix } = this.#spec;
    const { signal } = options;
    try {
      await client.send(
        new sdk.ListObjectsV2Command({
          Bucket: bucket,
          MaxKeys: 1,
          ...(prefix === undefined ? {} : { Prefix: `${prefix}/` }),
        }),
        signal === undefined ? {} : { abortSignal: signal },
      );
    } catch (error) {
      throw this.#translate('reach', '', error, signal);
    }
  }

  close(): void {
    const opened = this.#opened;
    this.#opened = undefined;
    opened?.then(({ client }) => client.destroy()).catch(() => {});
  }

  #name(key: string): string {
    checkKey(key);
    return this.#spec.prefix === undefined ? key : `${this.#spec.prefix}/${key}`;
  }

  #open(): Promise<{ sdk: Sdk; client: S3Client }> {
    this.#opened ??= import('@aws-sdk/client-s3').then((sdk) => {
      const { endpoint, region = 'us-east-1', forcePathStyle = false } = this.#spec;
      const client = new sdk.S3Client({
        region,
        forcePathStyle,
        ...(endpoint === undefined ? {} : { endpoint }),
        ...(this.#credentials === undefined ? {} : { credentials: this.#credentials }),
        requestChecksumCalculation: 'WHEN_REQUIRED',
        responseChecksumValidation: 'WHEN_REQUIRED',
        maxAttempts: attempts,
        requestHandler: { connectionTimeout: connectionTimeoutMs, socketTimeout: idleTimeoutMs },
      });
      return { sdk, client };
    });
    return this.#opened;
  }

  #translate(verb: string, key: string, error: unknown, signal?: AbortSignal): StoreError {
    if (signal?.aborted === true) return stopped(key, signal.reason);
    return translateS3(error, { verb, key, location: this.location, spec: this.#spec });
  }
}

function stopped(key: string, cause: unknown): StoreError {
  return new StoreError('STORE_ABORTED', `stopped while working on "${key}"`, { cause });
}
