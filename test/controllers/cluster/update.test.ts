import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { RaftCluster } from '../../../src/api/cluster.ts';
import type { MemberObserved } from '../../../src/controllers/cluster/members.ts';
import { NEAR_ENTRIES } from '../../../src/controllers/cluster/quorum.ts';
import type { ClusterStep } from '../../../src/controllers/cluster/step.ts';
import { LOST_AFTER_MS, planUpdate, type UpdateInput } from '../../../src/controllers/cluster/update.ts';
import { TEMPLATE } from '../../../src/controllers/labels.ts';
import type { StatefulSet } from '../../../src/kube/kinds.ts';
import type { Live } from '../../../src/kube/objects.ts';
import { clusterOf, condition, formedStatus, memberPod, meta, now, viewsOf } from '../objects.ts';

const anyVersion = { defaultVersion: '3.6.8', problems: () => [], versionChange: () => ({ kind: 'same' as const }) };

type Health = 'fit' | 'starting' | 'behind' | 'learner' | 'silent' | 'broken' | 'crashed' | 'deleting' | 'gone';

interface Look {
  readonly template?: string;
  readonly health?: Health;
  readonly applied?: number;
}

const waiting = { reason: 'ImagePullBackOff', message: 'no such image' };

/** A member as it is observed, of a cluster whose leader is `leader`. */
function member(
  ordinal: number,
  leader: number | undefined,
  { template = 'new', health = 'fit', applied }: Look,
): MemberObserved {
  const name = `c-${ordinal}`;
  if (health === 'gone') return { name, ordinal, ready: false, state: 'Dead', message: 'its pod is not there' };
  const answers = ['fit', 'behind', 'learner'].includes(health);
  const up = answers || health === 'silent';
  const pod = memberPod('c', ordinal, {
    template,
    ready: up,
    deleting: health === 'deleting',
    ...(health === 'broken' ? { waiting } : {}),
  });
  const { status } = viewsOf('c', leader ?? 0).get(name) ?? viewsOf('c', leader ?? 0, ordinal + 1).get(name)!;
  const { leaderId, ...leaderless } = status!;
  return {
    name,
    ordinal,
    pod,
    ready: answers,
    state: 'Serving',
    ...(answers
      ? {
          status: {
            ...leaderless,
            ...(leader === undefined ? {} : { leaderId }),
            isLearner: health === 'learner',
            appliedIndex: applied ?? (health === 'behind' ? 10 : 5_000),
          },
        }
      : { message: health === 'broken' ? 'pod cannot start: ImagePullBackOff' : 'it is not ready yet' }),
  } as MemberObserved;
}

interface Scene extends Partial<Omit<UpdateInput, 'members' | 'leader'>> {
  readonly leads?: number | null;
  /** The template that spec asks for. */
  readonly wanted?: string;
}

function input(looks: readonly Look[], { leads = 0, wanted = 'new', ...rest }: Scene = {}): UpdateInput {
  const leader = leads === null ? undefined : leads;
  const annotations = { [TEMPLATE]: wanted };
  return {
    cluster: rest.cluster ?? clusterOf('c', { replicas: looks.length }, formedStatus),
    profile: anyVersion,
    members: looks.map((look, ordinal) => member(ordinal, leader, look)),
    statefulSet: {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: meta('c'),
      spec: { template: { metadata: { annotations } } },
      status: { observedGeneration: 1 },
    } as unknown as Live<StatefulSet>,
    template: annotations,
    image: 'raftsman:test',
    ...(leader === undefined ? {} : { leader: `c-${leader}` }),
    formed: true,
    snapshots: [],
    policies: [],
    now,
    ...rest,
  };
}

const old: Look = { template: 'old' };
const told = (step: ClusterStep | undefined) =>
  step?.kind === 'replaceMember' ? step.pod : step?.kind === 'moveLeader' ? `${step.from} → ${step.to}` : step?.kind;
const next = (looks: readonly Look[], scene?: Scene) => told(planUpdate(input(looks, scene)).step);

describe('the order', () => {
  test('followers first, the highest ordinal first', () => {
    expect(next([old, old, old])).toBe('c-2');
    expect(next([old, old, {}])).toBe('c-1');
    expect(next([old, old, old], { leads: 2 })).toBe('c-1');
  });

  test('the leader goes last, once an updated follower leads, the one that is furthest', () => {
    expect(next([old, { applied: 4_990 }, {}])).toBe('c-0 → c-2');
    expect(next([old, {}, { applied: 4_990 }])).toBe('c-0 → c-1');
    expect(next([old, {}, {}], { leads: 2 })).toBe('c-0');
  });

  test('a single member is replaced although it leads: there is nobody to hand over to', () => {
    expect(planUpdate(input([old])).step).toMatchObject({ kind: 'replaceMember', pod: 'c-0', mayLead: true });
    expect(planUpdate(input([old, old, old])).step).toMatchObject({ kind: 'replaceMember', mayLead: false });
  });

  test('nothing is to be done when all run what spec says, and the operation is over once they have caught up', () => {
    expect(planUpdate(input([{}, {}, {}]))).toEqual({ outdated: [] });
    const operation = { type: 'Update' as const, since: '2026-11-22T02:00:00Z' };
    const cluster = clusterOf('c', {}, { ...formedStatus, operation });
    expect(planUpdate(input([{}, {}, {}], { cluster }))).toEqual({ outdated: [] });
    expect(planUpdate(input([{}, { health: 'behind' }, {}], { cluster })).operation).toMatchObject({ member: 'c-1' });
    expect(planUpdate(input([{}, { health: 'behind' }, {}]))).toEqual({ outdated: [] });
  });

  test('none goes before the StatefulSet has the new template, or it would come back with the old one', () => {
    const { statefulSet } = input([]);
    const stale = { ...statefulSet!, status: { observedGeneration: 0 } };
    expect(next([old, old, old], { statefulSet: stale })).toBeUndefined();
    expect(next([old, old, old], { statefulSet: input([], { wanted: 'old' }).statefulSet! })).toBeUndefined();
  });
});

describe('a member that serves goes only while all others do', () => {
  test.each<Health>(['starting', 'behind', 'learner', 'silent', 'crashed', 'broken', 'deleting', 'gone'])(
    'none while the one that was replaced is %s',
    (health) => {
      const plan = planUpdate(input([old, old, { health }]));
      expect(plan.step).toBeUndefined();
      expect(plan.operation).toMatchObject({ type: 'Update', member: 'c-2' });
      expect(plan.outdated).toEqual(['c-0', 'c-1']);
    },
  );

  test('ready is not enough: its applied index is near the leader’s', () => {
    const leader = { ...old, applied: 10_000 };
    expect(next([leader, old, { applied: 10_000 - NEAR_ENTRIES - 1 }])).toBeUndefined();
    expect(next([leader, { ...old, applied: 10_000 }, { applied: 10_000 - NEAR_ENTRIES }])).toBe('c-1');
  });

  test('none while no leader is known', () => {
    expect(next([old, old, old], { leads: null })).toBeUndefined();
  });

  test('the plan says whom it waits for, and why', () => {
    const { operation } = planUpdate(input([old, old, { health: 'behind' }]));
    expect(operation?.message).toBe(
      'still to be replaced: c-0, c-1; waits for c-2: it is 4990 entries behind the leader',
    );
  });
});

describe('a template that does not work', () => {
  test('stops after one member, with which and why', () => {
    const plan = planUpdate(input([old, old, { health: 'broken' }]));
    expect(plan.step).toBeUndefined();
    expect(plan.held).toMatchObject({ reason: 'MemberNotReady' });
    expect(plan.held?.message).toMatch(/^c-2 was replaced and does not serve: pod cannot start: ImagePullBackOff/);
    expect(plan.held?.message).toContain('still to be replaced: c-0, c-1');
  });

  test('put back, the member that it broke is the first to get the old one again, and the only one', () => {
    expect(next([{}, {}, { template: 'bad', health: 'broken' }])).toBe('c-2');
    expect(next([{}, {}, {}])).toBeUndefined();
  });

  test('that makes it end again and again is seen between two tries too', () => {
    const scene = input([old, old, { health: 'starting' }]);
    const [running] = [
      ...(scene.members[2]!.pod!.status!.containerStatuses ?? []),
      { name: 'member', restartCount: 2 },
    ];
    const since = (milliseconds: number) => ({ startedAt: new Date(now.getTime() - milliseconds).toISOString() });
    const held = (milliseconds: number) => {
      const containerStatuses = [{ ...running!, restartCount: 2, state: { running: since(milliseconds) } }];
      const { pod, ...others } = scene.members[2]!;
      const member = { ...others, pod: { ...pod!, status: { ...pod!.status, containerStatuses } } };
      return planUpdate({ ...scene, members: scene.members.with(2, member) }).held?.reason;
    };
    expect(held(5_000)).toBe('MemberNotReady');
    expect(held(60_000)).toBeUndefined();
  });

  test('mended, the same one comes first, whoever else is outdated', () => {
    expect(next([old, { template: 'bad', health: 'broken' }, old])).toBe('c-1');
    expect(next([old, { template: 'bad', health: 'crashed' }, old])).toBe('c-1');
  });

  test('one that runs and is not ready goes first too, as long as all others serve', () => {
    expect(next([old, { template: 'bad', health: 'behind' }, old])).toBe('c-1');
    expect(next([old, { template: 'bad', health: 'behind' }, { ...old, health: 'behind' }])).toBeUndefined();
  });

  test('a member that is down anyway takes nothing away with it, but never gets a template that broke another', () => {
    expect(next([old, { ...old, health: 'crashed' }, {}])).toBe('c-1');
    expect(next([old, { ...old, health: 'crashed' }, { health: 'broken' }])).toBeUndefined();
    expect(next([old, { ...old, health: 'crashed' }, { health: 'starting' }])).toBeUndefined();
  });
});

describe('without a quorum', () => {
  const lostFor = (milliseconds: number) => {
    const since = new Date(now.getTime() - milliseconds).toISOString();
    const available = { ...condition('Available', 'False', 'QuorumLost'), lastTransitionTime: since };
    return clusterOf('c', {}, { ...formedStatus, conditions: [available] });
  };
  const crashed: Look = { ...old, health: 'crashed' };

  test('members that cannot get ready before others are mended are replaced one after the other', () => {
    const scene = { leads: null, cluster: lostFor(LOST_AFTER_MS) };
    expect(next([crashed, crashed, crashed], scene)).toBe('c-2');
    expect(next([crashed, crashed, { health: 'starting' }], scene)).toBe('c-1');
    expect(next([crashed, crashed, { health: 'broken' }], scene)).toBeUndefined();
    expect(next([crashed, crashed, { health: 'gone' }], scene)).toBeUndefined();
  });

  test('not at once: an election is over in a moment', () => {
    const scene = { leads: null, cluster: lostFor(LOST_AFTER_MS - 1) };
    expect(next([old, old, old], scene)).toBeUndefined();
    expect(next([old, old, old], { ...scene, cluster: lostFor(LOST_AFTER_MS) })).toBe('c-2');
    expect(planUpdate(input([old, old, old], scene)).recheckMs).toBe(LOST_AFTER_MS);
  });

  test('before a cluster has formed there is none to lose', () => {
    const scene = { leads: null, formed: false, cluster: clusterOf() };
    const broken: Look = { template: 'bad', health: 'broken' };
    expect(next([broken, broken, broken], scene)).toBe('c-2');
    expect(next([broken, broken, { health: 'starting' }], scene)).toBe('c-1');
  });
});

interface Modelled {
  template: string;
  health: 'fit' | 'starting' | 'behind' | 'crashed' | 'broken' | 'gone';
  /** The operator has taken it down, and it has not been fit since. */
  ours: boolean;
}

/** A world in which members come and go by themselves, and templates change for good or ill. */
class World {
  readonly members: Modelled[];
  wanted = 'good-0';
  leader: number | undefined = 0;
  milliseconds = now.getTime();
  lostSince: number | undefined;
  readonly #cluster: Live<RaftCluster>;

  constructor(size: number) {
    this.#cluster = clusterOf('c', { replicas: size });
    this.members = Array.from({ length: size }, () => ({ template: 'good-0', health: 'fit', ours: false }));
  }

  get quorum(): number {
    return Math.floor(this.members.length / 2) + 1;
  }

  get voters(): number[] {
    return this.members.flatMap(({ health }, ordinal) => (health === 'fit' || health === 'behind' ? [ordinal] : []));
  }

  settle(): void {
    const { voters, quorum } = this;
    if (voters.length < quorum) this.leader = undefined;
    else if (this.leader === undefined || !voters.includes(this.leader))
      this.leader = voters.find((ordinal) => this.members[ordinal]!.health === 'fit') ?? voters[0];
    if (this.leader !== undefined) this.members[this.leader]!.health = 'fit';
    for (const member of this.members) if (member.health === 'fit') member.ours = false;
    this.lostSince = this.leader === undefined ? (this.lostSince ?? this.milliseconds) : undefined;
  }

  /** A pod that was deleted comes back; one that starts becomes what its template makes of it. */
  advance(ordinal: number): void {
    const member = this.members[ordinal]!;
    switch (member.health) {
      case 'gone':
        member.health = 'starting';
        member.template = this.wanted;
        break;
      case 'starting':
        // Without a quorum nobody gets ready; together they do.
        if (member.template.startsWith('bad')) member.health = 'broken';
        else {
          const others = this.members.filter(
            (one) =>
              one !== member && one.health !== 'gone' && !one.template.startsWith('bad') && one.health !== 'crashed',
          );
          if (others.length + 1 >= this.quorum) member.health = 'behind';
        }
        break;
      case 'behind':
        member.health = 'fit';
        break;
      default:
    }
  }

  done(template: string): boolean {
    return this.members.every((member) => member.health === 'fit' && member.template === template);
  }

  look(): UpdateInput {
    const { leader, wanted, lostSince } = this;
    const available =
      lostSince === undefined
        ? condition('Available', 'True', 'QuorumServes')
        : {
            ...condition('Available', 'False', 'QuorumLost'),
            lastTransitionTime: new Date(lostSince).toISOString(),
          };
    const cluster = { ...this.#cluster, status: { ...formedStatus, conditions: [available] } };
    const scene = { leads: leader ?? null, wanted, cluster, now: new Date(this.milliseconds) };
    return input(this.members, scene);
  }

  act(): string | undefined {
    const { step } = planUpdate(this.look());
    if (step === undefined) return undefined;
    if (step.kind === 'moveLeader') {
      const to = Number(step.to.slice(2));
      expect(step.from).toBe(`c-${this.leader}`);
      expect(this.members[to]!.health).toBe('fit');
      this.leader = to;
      return told(step);
    }
    if (step.kind !== 'replaceMember') throw new Error(`not an update: ${step.kind}`);
    const ordinal = Number(step.pod.slice(2));
    const member = this.members[ordinal]!;
    const others = this.members.filter((one) => one !== member);
    const lost = this.leader === undefined;
    expect(member.template).not.toBe(this.wanted);
    // One whose template has broken another by our hand, and is still wanted, takes no second member.
    expect(others.filter(({ template, health }) => template === this.wanted && health === 'broken')).toEqual([]);
    if (!lost) {
      expect(others.filter(({ ours }) => ours)).toEqual([]);
      if (this.members.length > 1) expect(ordinal).not.toBe(this.leader);
      if (member.health === 'fit') expect(others.every(({ health }) => health === 'fit')).toBe(true);
    }
    member.health = 'gone';
    member.ours = true;
    return told(step);
  }
}

type Move =
  | { readonly kind: 'template'; readonly template: string }
  | { readonly kind: 'advance' | 'crash' | 'heal' | 'elect' | 'lag'; readonly member: number }
  | { readonly kind: 'time'; readonly milliseconds: number };

const members = fc.nat({ max: 4 });
const moves = fc.array(
  fc.oneof(
    {
      weight: 2,
      arbitrary: fc
        .constantFrom('good-0', 'good-1', 'good-2', 'bad-1', 'bad-2')
        .map((template): Move => ({ kind: 'template', template })),
    },
    {
      weight: 10,
      arbitrary: fc.record({ kind: fc.constantFrom('advance' as const), member: members }) as fc.Arbitrary<Move>,
    },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constantFrom('crash' as const, 'heal' as const, 'elect' as const, 'lag' as const),
        member: members,
      }) as fc.Arbitrary<Move>,
    },
    { weight: 1, arbitrary: fc.constant<Move>({ kind: 'time', milliseconds: LOST_AFTER_MS }) },
  ),
  { maxLength: 80 },
);

function make(world: World, move: Move): void {
  if (move.kind === 'template') world.wanted = move.template;
  else if (move.kind === 'time') world.milliseconds += move.milliseconds;
  else {
    const ordinal = move.member % world.members.length;
    const member = world.members[ordinal]!;
    if (move.kind === 'advance') world.advance(ordinal);
    if (move.kind === 'crash' && ['fit', 'behind', 'starting'].includes(member.health)) member.health = 'crashed';
    if (move.kind === 'heal' && member.health === 'crashed') member.health = 'starting';
    if (move.kind === 'elect' && member.health === 'fit') world.leader = ordinal;
    if (move.kind === 'lag' && member.health === 'fit' && ordinal !== world.leader) member.health = 'behind';
  }
  world.milliseconds += 1_000;
  world.settle();
}

describe('whatever happens', () => {
  test('no two members are down by our hand, the leader is never taken down, a bad template takes one member, and a good one reaches all', () => {
    fc.assert(
      fc.property(fc.constantFrom(1, 2, 3, 4, 5), moves, (size, happenings) => {
        const world = new World(size);
        for (const move of happenings) {
          make(world, move);
          world.act();
          world.settle();
        }
        // Spec is right at last, and the world leaves the members alone.
        make(world, { kind: 'template', template: 'good-1' });
        for (let round = 0; round < 20 * size && !world.done('good-1'); round += 1) {
          for (let ordinal = 0; ordinal < size; ordinal += 1) {
            make(world, { kind: 'heal', member: ordinal });
            make(world, { kind: 'advance', member: ordinal });
          }
          world.act();
          world.settle();
        }
        expect(world.members.map(({ template, health }) => `${template} ${health}`)).toEqual(
          world.members.map(() => 'good-1 fit'),
        );
        expect(planUpdate(world.look()).outdated).toEqual([]);
      }),
      { seed: 20261122, numRuns: 300 },
    );
  });
});
