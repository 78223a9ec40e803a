/** What a RaftCompaction's status says. Pure. */
import type { CompactedMember, RaftCompaction, RaftCompactionStatus } from '../../api/compaction.ts';
import { type ConditionStatus, setCondition, timestamp } from '../../api/conditions.ts';
import type { Live } from '../../kube/objects.ts';
import type { PresentMember } from './work.ts';

export interface Said {
  readonly status: ConditionStatus;
  readonly reason: string;
  readonly message: string;
}

export function compactionStatus(
  { metadata, status: old }: Live<RaftCompaction>,
  said: Said,
  now: Date,
  facts: Partial<RaftCompactionStatus> = {},
): RaftCompactionStatus {
  return {
    ...old,
    ...facts,
    ...(metadata.generation === undefined ? {} : { observedGeneration: metadata.generation }),
    conditions: setCondition(
      old?.conditions,
      { type: 'Complete', ...said, message: said.message.slice(0, 4096), observedGeneration: metadata.generation },
      now,
    ) as NonNullable<RaftCompactionStatus['conditions']>,
  };
}

/** The members with what is known of them now in place of what was. */
export function withMembers(
  before: readonly CompactedMember[] | undefined,
  changed: readonly CompactedMember[],
): CompactedMember[] {
  const byName = new Map((before ?? []).map((member) => [member.name, member]));
  for (const member of changed) byName.set(member.name, member);
  return [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** What the run has won, by member and together. */
export function winnings(
  members: readonly CompactedMember[] | undefined,
  present: readonly PresentMember[],
): Pick<RaftCompactionStatus, 'members' | 'reclaimedBytes'> {
  const measured = (members ?? []).map((member) => {
    const found = present.find(({ name }) => name === member.name)?.status;
    if (!found) return member;
    return { ...member, sizeBytesAfter: found.sizeBytes, inUseBytesAfter: found.sizeInUseBytes };
  });
  const won = measured.map(
    ({ sizeBytesBefore, sizeBytesAfter }) => sizeBytesBefore - (sizeBytesAfter ?? sizeBytesBefore),
  );
  return {
    members: measured,
    reclaimedBytes: Math.max(
      0,
      won.reduce((sum, each) => sum + each, 0),
    ),
  };
}

/** In the unit that a person reads: `12.5 MiB`. */
export function inUnits(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

export const started = (now: Date) => ({ startTime: timestamp(now) });
export const completed = (now: Date) => ({ completionTime: timestamp(now) });
