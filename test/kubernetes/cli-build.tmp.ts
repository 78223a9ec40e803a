import { buildParts } from './go-build.ts';
import { toStderr } from './progress.ts';

await buildParts(['etcd', 'kubernetes'], toStderr());
await buildParts(['coredns'], toStderr());
await buildParts(['etcdctl', 'etcdutl'], toStderr());
