/** RaftSnapshotStore: where archives live. */
import { type Static, Type } from 'typebox';
import { conditions } from './conditions.ts';
import type { Resource } from './meta.ts';
import { count, exactlyOne, flag, nameOf } from './schema.ts';

const path = (description: string) =>
  Type.String({
    description,
    minLength: 1,
    maxLength: 512,
    pattern: '^[A-Za-z0-9_-][A-Za-z0-9._=+-]*(/[A-Za-z0-9_-][A-Za-z0-9._=+-]*)*$',
  });

const secretKey = (description: string, byDefault?: string) =>
  Type.String({
    description,
    minLength: 1,
    maxLength: 253,
    pattern: '^[-._a-zA-Z0-9]+$',
    ...(byDefault === undefined ? {} : { default: byDefault }),
  });

const volume = Type.Object(
  {
    claimName: nameOf('The PersistentVolumeClaim of this namespace that holds the archives.'),
    path: Type.Optional(path('The folder within the volume, relative, such as raftsman/prod. Default: its root.')),
  },
  { description: 'A volume of this Kubernetes cluster.' },
);

const s3 = Type.Object(
  {
    bucket: Type.String({
      description: 'The bucket, which must be there.',
      minLength: 3,
      maxLength: 63,
      pattern: '^[a-z0-9][a-z0-9.-]*[a-z0-9]$',
    }),
    prefix: Type.Optional(
      path('The prefix of all keys, without a slash at either end, such as backups/prod. Default: none.'),
    ),
    endpoint: Type.Optional(
      Type.String({
        description:
          "The URL of the server, such as https://s3.example.org:9000. Default: that of the provider's region.",
        minLength: 8,
        maxLength: 1024,
        pattern: '^https?://[^\\s/?#@]+(/[^\\s?#]*)?$',
      }),
    ),
    region: Type.String({
      description: 'The region, which signatures contain.',
      minLength: 1,
      maxLength: 64,
      pattern: '^[A-Za-z0-9-]+$',
      default: 'us-east-1',
    }),
    forcePathStyle: flag(
      'Whether the bucket is in the path of the URL instead of its host. Most servers with an endpoint of their own need it.',
      false,
    ),
    credentialsSecret: Type.Optional(
      Type.Object(
        {
          name: nameOf('The Secret of this namespace.'),
          accessKeyIdKey: secretKey('The key of the Secret that holds the access key id.', 'AWS_ACCESS_KEY_ID'),
          secretAccessKeyKey: secretKey(
            'The key of the Secret that holds the secret access key.',
            'AWS_SECRET_ACCESS_KEY',
          ),
          sessionTokenKey: Type.Optional(secretKey('The key of the Secret that holds a session token. Default: none.')),
        },
        { description: 'Where the credentials are. Default: what the environment of the pods gives.' },
      ),
    ),
  },
  { description: 'A bucket of S3 or of any server that speaks its protocol.' },
);

export const storeSpec = exactlyOne(
  'spec',
  { volume, s3 },
  { description: 'Where archives live: exactly one of volume and s3.' },
);

export const storeStatus = Type.Object(
  { observedGeneration: Type.Optional(count('The metadata.generation that this status follows from.')), conditions },
  { description: 'The store as the operator last saw it.' },
);

export type RaftSnapshotStoreSpec = Static<typeof storeSpec>;
export type VolumeStore = Static<typeof volume>;
export type S3Store = Static<typeof s3>;
export type RaftSnapshotStoreStatus = Static<typeof storeStatus>;
export type RaftSnapshotStore = Resource<'RaftSnapshotStore', RaftSnapshotStoreSpec, RaftSnapshotStoreStatus>;
/** Condition types of a RaftSnapshotStore. */
export type StoreCondition = 'Ready';
