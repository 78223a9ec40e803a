/** The local Kubernetes for tests, demo and bench. */
export { type Cluster, findCluster, startCluster, startControlPlane, startNode, stopCluster } from './cluster.ts';
export { etcdImage } from './etcd-image.ts';
export { Failure, type FailureCode } from './failure.ts';
export { etcdTools, tool } from './go-build.ts';
export { type EtcdVersion, etcdVersions } from './parts.ts';
export { s3, s3Address } from './s3.ts';
