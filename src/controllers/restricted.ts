/** What makes a pod pass Pod Security `restricted`: said once, for members and Jobs alike. */
import type { EngineSettings } from '../engines/engine.ts';

/** The image's unprivileged user. */
const NOBODY = 65532;

export const podSecurityContext = {
  runAsNonRoot: true,
  runAsUser: NOBODY,
  runAsGroup: NOBODY,
  fsGroup: NOBODY,
  // Otherwise kubelet walks a large data directory at every start of a member.
  fsGroupChangePolicy: 'OnRootMismatch',
  seccompProfile: { type: 'RuntimeDefault' },
} as const;

export const containerSecurityContext = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ['ALL'] },
} as const;

/** What the operator was told about the pods that it makes. */
export interface PodSettings extends EngineSettings {
  /** Where the operator itself runs; absent when that is outside of Kubernetes. */
  readonly operatorNamespace?: string;
}

/** Fields that every pod of ours has. No service account token: members and Jobs never talk to the API server. */
export const podBasics = {
  automountServiceAccountToken: false,
  // One environment variable per Service of the namespace is of no use to a pod, and slows its start where there are many.
  enableServiceLinks: false,
  securityContext: podSecurityContext,
} as const;
