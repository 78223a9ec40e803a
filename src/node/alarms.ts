/**
 * Which members ran out of space: part of the replicated state, so that all members refuse the same writes. `NOSPACE` is the
 * one alarm of etcd's that is raised here.
 */
import { isId } from '../raft/membership.ts';
import { asMemberId, type MemberId } from '../raft/types.ts';
import { KvError } from './kv-errors.ts';

/** `quota`: stays until somebody disarms it, as one that a client raised. `disk`: lifted when there is room again. */
export type AlarmCause = 'quota' | 'disk';

export type AlarmAction =
  | { readonly type: 'raise'; readonly memberId: MemberId; readonly cause: AlarmCause }
  /** By the member itself: its disk has room again. */
  | { readonly type: 'lift'; readonly memberId: MemberId }
  /** By an operator, whatever it was raised for. */
  | { readonly type: 'disarm'; readonly memberId: MemberId };

export class Alarms {
  readonly #causes = new Map<MemberId, ReadonlySet<AlarmCause>>();

  /** Of a snapshot; one of an older version's has none. Throws `KV_SNAPSHOT_ATTACHMENT`. */
  static from(attachment: unknown): Alarms {
    const alarms = new Alarms();
    const { alarms: kept = {} } = (attachment ?? {}) as { alarms?: Readonly<Record<string, unknown>> };
    for (const [id, causes] of Object.entries(kept)) {
      if (!isId(id) || !Array.isArray(causes) || !causes.every(isCause)) {
        throw new KvError('KV_SNAPSHOT_ATTACHMENT', `the snapshot has an alarm that this version does not know: ${id}`);
      }
      alarms.#causes.set(asMemberId(id), new Set(causes));
    }
    return alarms;
  }

  /** What a snapshot keeps. */
  get attachment(): Readonly<Record<string, readonly AlarmCause[]>> {
    return Object.fromEntries(this.members.map((id) => [id, [...(this.#causes.get(id) ?? [])].sort()]));
  }

  /** Nothing that makes the state larger is taken while one stands, on any member. */
  get areRaised(): boolean {
    return this.#causes.size > 0;
  }

  /** Whose alarms stand, sorted. */
  get members(): readonly MemberId[] {
    return [...this.#causes.keys()].sort();
  }

  has(member: MemberId, cause: AlarmCause): boolean {
    return this.#causes.get(member)?.has(cause) ?? false;
  }

  /** Whether that changed anything. */
  perform(action: AlarmAction): boolean {
    const { memberId } = action;
    const before = this.#causes.get(memberId) ?? new Set<AlarmCause>();
    const after = afterAction(before, action);
    if (after.size > 0) this.#causes.set(memberId, after);
    else this.#causes.delete(memberId);
    return after.size !== before.size;
  }
}

function afterAction(causes: ReadonlySet<AlarmCause>, action: AlarmAction): ReadonlySet<AlarmCause> {
  switch (action.type) {
    case 'raise':
      return new Set([...causes, action.cause]);
    case 'lift':
      return new Set([...causes].filter((cause) => cause !== 'disk'));
    case 'disarm':
      return new Set();
  }
}

export const isCause = (value: unknown): value is AlarmCause => value === 'quota' || value === 'disk';
