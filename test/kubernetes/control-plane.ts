/** The control plane alone, for integration tests. */
export { type Cluster, startControlPlane } from './cluster.ts';
