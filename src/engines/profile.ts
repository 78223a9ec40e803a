/** What the members of one engine run, as pure functions: no connection, no clock, no request. */
import type { RaftClusterSpec } from '../api/cluster.ts';
import type { EngineType } from './engine.ts';

/** A piece of a Kubernetes object. */
export type Json = Readonly<Record<string, unknown>>;

/** What the operator was told about the images of pods. */
export interface EngineSettings {
  /** The operator's own image: Jobs, helping containers and members of the embedded engine run it. */
  readonly image: string;
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never';
  /** Where the public image of an engine comes from, without a tag, instead of its own default. */
  readonly repositories?: Readonly<Partial<Record<EngineType, string>>>;
}

/** The archive that members start from until the cluster has formed, and how a container of our image gets at it. */
export interface MemberArchive {
  readonly key: string;
  /** As jobs say it: `sha-256=<base64>`. */
  readonly checksum?: string;
  readonly env: readonly Json[];
  readonly volumeMounts: readonly Json[];
  readonly volumes: readonly Json[];
}

export interface MemberInput {
  readonly spec: RaftClusterSpec;
  readonly settings: EngineSettings;
  /** The member's stable address: a host name with `$(POD_NAME)` in it. */
  readonly host: string;
  readonly token: string;
  /**
   * The ConfigMap that says `initial-cluster`, `initial-cluster-state` (new, existing), `joining` and `formed` (true,
   * false). Members read it through their environment, so that a restarted container sees new values.
   */
  readonly config: string;
  /** The name of the disk's volume. */
  readonly disk: string;
  readonly containerSecurityContext: Json;
  /** Where certificates are mounted (tls.crt, tls.key, ca.crt). Absent: plain text. The mounts are the caller's. */
  readonly tls?: { readonly server: string; readonly peer: string };
  readonly archive?: MemberArchive;
}

/** Parts of a member's pod template. */
export interface MemberParts {
  /** The member's container, whole but for what `restore` adds. */
  readonly container: Json & { readonly name: string; readonly args: readonly string[] };
  readonly initContainers: readonly Json[];
  /** With `archive`: what comes on top until the cluster has formed. Its init containers run before the others. */
  readonly restore?: {
    readonly args: readonly string[];
    readonly initContainers: readonly Json[];
    readonly volumes: readonly Json[];
  };
}

export type VersionChange =
  | { readonly kind: 'same' }
  | { readonly kind: 'patch' | 'minor' }
  /** Members do not say which release they run: their image tells. */
  | { readonly kind: 'unknown' }
  /** `reason`: a sentence for people, such as that a downgrade would ... */
  | { readonly kind: 'refused'; readonly reason: string };

/** What the last words of a container that ended mean. */
export interface Crash {
  /** One line for people. */
  readonly text: string;
  /**
   * It cannot start again as it is. lost: its data are gone. corrupt: they cannot be used. removed: the cluster has
   * removed this member.
   */
  readonly verdict?: 'lost' | 'corrupt' | 'removed';
  /** An earlier run was cut short and has left what this one stumbles over: it goes on once its pod begins anew. */
  readonly again?: boolean;
}

export interface EngineProfile {
  readonly type: EngineType;
  readonly ports: { readonly client: number; readonly peer: number; readonly metrics: number };
  /** What members run when the spec names neither version nor image. */
  readonly defaultVersion: string;
  /** The image that members run. */
  image(engine: RaftClusterSpec['engine'], settings: EngineSettings): string;
  /** What is wrong with the spec for this engine, one sentence each, that the API server could not see. */
  problems(engine: RaftClusterSpec['engine']): readonly string[];
  /**
   * Whether a member of version `from` may run `to`. `running`: the versions of all members, where they differ: as long
   * as one runs the old version, the others can go back to it.
   */
  versionChange(from: string, to: string, running?: readonly string[]): VersionChange;
  member(input: MemberInput): MemberParts;
  /** Members take note of a change of the CAs that they trust while they run. Their own certificates all do. */
  readonly reloadsTrust: boolean;
  /**
   * How many learners a cluster of members of this version takes at once. The members hold each other to it when they apply
   * a change, so that all must have been told the same: those of another version may not have been.
   */
  maxLearners(version: string): number;
  /** Which of a member's sizes its quota bounds. */
  readonly quotaBounds: 'sizeBytes' | 'sizeInUseBytes';
  /** The revision at which a cluster that was restored from an archive of this revision holds the archive's data. */
  restoredRevision(archive: number): number;
  /** What a container left when it ended: its termination message or the end of its log. */
  crash(message: string | undefined): Crash;
}
