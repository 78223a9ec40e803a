/** Pods that begin anew because one of their init containers cannot go on from where it was cut short. Pure. */
import type { Crash } from '../../engines/engine.ts';
import type { MemberObserved } from './members.ts';
import type { Matter } from './step.ts';

export interface RestartInput {
  readonly members: readonly MemberObserved[];
  readonly formed: boolean;
  readonly crash: (message: string | undefined) => Crash;
}

/** Before the cluster has formed: its members have nothing to lose then, and later they restore nothing. */
export function planRestart({ members, formed, crash }: RestartInput): Matter {
  if (formed) return {};
  const stuck = members.find(({ pod }) => {
    if (pod === undefined || pod.metadata.deletionTimestamp !== undefined) return false;
    return pod.status?.initContainerStatuses?.some(({ state, lastState }) => {
      const ended = state?.terminated ?? lastState?.terminated;
      return ended !== undefined && ended.exitCode !== 0 && state?.running === undefined && crash(ended.message).again;
    });
  });
  if (stuck === undefined) return {};
  const { name, pod } = stuck;
  return {
    operation: { type: 'Restore', member: name, message: `${name} begins its restore anew: it was cut short` },
    step: { kind: 'replaceMember', pod: name, uid: pod!.metadata.uid, mayLead: true, why: 'its restore was cut short' },
  };
}
