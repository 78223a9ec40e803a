/** What is done to members and between them. Each kind undoes what it did before it resolves. */
import type { Chance } from '../soak/random.ts';
import type { Cluster } from './cluster.ts';
import type { Lock } from './lock.ts';
import type { Member } from './member.ts';
import { clients, type Network } from './network.ts';

export interface Scene {
  readonly cluster: Cluster;
  readonly network: Network;
  readonly chance: Chance;
  /** Whom this is to be done to, mostly: others have to be left for a quorum. */
  readonly victims: readonly Member[];
  /** Until so much time has passed, or everything is to be undone. */
  readonly rest: (milliseconds: number) => Promise<void>;
}

export interface Fault {
  readonly name: string;
  readonly weight: number;
  /** False: it could not be done now. */
  readonly run: (scene: Scene) => Promise<boolean>;
}

const between = (chance: Chance, least: number, most: number): number => least + chance.below(most - least);

/** Does it to one of the victims whose `lock` is free. */
async function withVictim(
  { victims, chance }: Scene,
  lock: (member: Member) => Lock,
  work: (member: Member) => Promise<void>,
): Promise<boolean> {
  const member = chance.pick(victims);
  const release = lock(member).tryTake();
  if (!release) return false;
  try {
    await work(member);
  } finally {
    release();
  }
  return true;
}

const processOf = (member: Member): Lock => member.process;

const kill: Fault = {
  name: 'kill -9',
  weight: 10,
  run: (scene) =>
    withVictim(scene, processOf, async (member) => {
      await member.end('SIGKILL');
      await scene.rest(scene.chance.pick([0, 200, 1000, 6000]));
      if (member.phase !== 'none') member.start();
    }),
};

const restart: Fault = {
  name: 'stop and start',
  weight: 3,
  run: (scene) =>
    withVictim(scene, processOf, async (member) => {
      await member.end('SIGTERM');
      await scene.rest(scene.chance.below(1000));
      if (member.phase !== 'none') member.start();
    }),
};

const pause: Fault = {
  name: 'SIGSTOP, SIGCONT',
  weight: 8,
  run: (scene) =>
    withVictim(scene, processOf, async (member) => {
      member.signal('SIGSTOP');
      await scene.rest(scene.chance.pick([100, 700, 2500, 8000]));
      member.signal('SIGCONT');
    }),
};

/** Everybody at once, and back one after another. */
const blackout: Fault = {
  name: 'kill -9 of all',
  weight: 1,
  run: async ({ cluster, chance, rest }) => {
    const struck = cluster.all
      .filter(({ phase }) => phase === 'serving' || phase === 'joining')
      .map((member) => ({ member, release: member.process.tryTake() }))
      .filter(({ release }) => release !== undefined);
    try {
      await Promise.all(struck.map(({ member }) => member.end('SIGKILL')));
      for (const { member } of struck) {
        await rest(chance.below(700));
        if (member.phase !== 'none') member.start();
      }
    } finally {
      for (const { release } of struck) release!();
    }
    return true;
  },
};

type Way = readonly [from: number, to: number];

const bothWays = (a: number, b: number): Way[] => [
  [a, b],
  [b, a],
];

async function cutWhile({ network, rest }: Scene, ways: readonly Way[], milliseconds: number): Promise<void> {
  await Promise.all(ways.map(([from, to]) => network.cut(from, to)));
  await rest(milliseconds);
  await Promise.all(ways.map(([from, to]) => network.mend(from, to)));
}

const cutFor = (chance: Chance): number => chance.pick([300, 1500, 4000, 10_000]);

const isolate: Fault = {
  name: 'cut off',
  weight: 6,
  run: async (scene) => {
    const { network, chance, victims } = scene;
    const { place } = chance.pick(victims);
    const others = network.places.filter((other) => other !== place);
    if (chance.below(2) === 0) others.push(clients);
    await cutWhile(
      scene,
      others.flatMap((other) => bothWays(place, other)),
      cutFor(chance),
    );
    return true;
  },
};

const split: Fault = {
  name: 'split in two',
  weight: 3,
  run: async (scene) => {
    const { network, chance } = scene;
    const [left, right]: [number[], number[]] = [[], []];
    for (const place of network.places) (chance.below(2) === 0 ? left : right).push(place);
    const ways = left.flatMap((a) => right.flatMap((b) => bothWays(a, b)));
    await cutWhile(scene, ways, cutFor(chance));
    return true;
  },
};

const pair: Fault = {
  name: 'cut between two',
  weight: 4,
  run: async (scene) => {
    const { network, chance, victims } = scene;
    const { place } = chance.pick(victims);
    const other = chance.pick(network.places.filter((one) => one !== place));
    await cutWhile(scene, bothWays(place, other), cutFor(chance));
    return true;
  },
};

const oneWay: Fault = {
  name: 'cut one way',
  weight: 6,
  run: async (scene) => {
    const { network, chance, victims } = scene;
    const { place } = chance.pick(victims);
    let others = network.places.filter((other) => other !== place);
    if (chance.below(3) === 0) others = [chance.pick(others)];
    const outwards = chance.below(2) === 0;
    await cutWhile(
      scene,
      others.map((other): Way => (outwards ? [place, other] : [other, place])),
      cutFor(chance),
    );
    return true;
  },
};

const flap: Fault = {
  name: 'link on and off',
  weight: 2,
  run: async (scene) => {
    const { network, chance, victims } = scene;
    const { place } = chance.pick(victims);
    const ways = network.places.filter((other) => other !== place).flatMap((other) => bothWays(place, other));
    for (let times = 3 + chance.below(8); times > 0; times--) {
      await cutWhile(scene, ways, between(chance, 50, 600));
      await scene.rest(between(chance, 50, 600));
    }
    return true;
  },
};

const slowLink: Fault = {
  name: 'slow link',
  weight: 6,
  run: (scene) => {
    const { network, chance, rest } = scene;
    return withVictim(
      scene,
      (member) => member.linkSpeed,
      async ({ place }) => {
        const way = chance.pick(['in', 'out'] as const);
        await network.slow(place, way, {
          kilobits: chance.pick([100, 500, 2000]),
          queueMs: chance.pick([50, 400, 1500]),
        });
        await rest(between(chance, 1000, 8000));
        await network.quicken(place, way);
      },
    );
  },
};

const slowDisk: Fault = {
  name: 'slow disk',
  weight: 6,
  run: (scene) => {
    const { chance, rest } = scene;
    return withVictim(
      scene,
      (member) => member.diskSpeed,
      async (member) => {
        member.slowDisk(chance.pick([5, 30, 150, 600, 3000]));
        await rest(between(chance, 500, 8000));
        member.slowDisk(0);
      },
    );
  },
};

const fullDisk: Fault = {
  name: 'full disk',
  weight: 3,
  run: (scene) => {
    const { chance, rest } = scene;
    return withVictim(
      scene,
      (member) => member.diskSpace,
      async (member) => {
        await member.fillDisk(chance.pick([0, 100_000, 3_000_000, 30_000_000]));
        await rest(between(chance, 1000, 7000));
        member.freeDisk();
      },
    );
  },
};

export const faults: readonly Fault[] = [
  kill,
  restart,
  pause,
  blackout,
  isolate,
  split,
  pair,
  oneWay,
  flap,
  slowLink,
  slowDisk,
  fullDisk,
];
