/** The local Kubernetes for tests, demo and bench. */
export { type Cluster, findCluster, startCluster, startControlPlane, startNode, stopCluster } from './cluster.ts';
export { Failure, type FailureCode } from './failure.ts';
export { tool } from './go-build.ts';
export { s3, s3Address } from './s3.ts';
