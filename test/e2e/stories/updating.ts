import { expect, test } from '@jest/globals';
import { findCondition } from '../../../src/api/conditions.ts';
import { podReady } from '../../../src/controllers/cluster/members.ts';
import { type Day, storyMs } from '../day.ts';
import { condition } from '../kubectl.ts';
import { patienceMs } from '../live-cluster.ts';

/** Pods by name, with when each was made; those of a finished update are all made after its begin. */
async function made(day: Day): Promise<Map<string, { uid: string; at: string }>> {
  const pods = await day.cluster.pods();
  return new Map(
    pods.map(({ metadata }) => [metadata.name, { uid: metadata.uid, at: String(metadata.creationTimestamp) }]),
  );
}

/**
 * Edits the spec and waits until every member has been replaced, the leader of the beginning last, and never one before the
 * one before it is back.
 */
async function rolled(day: Day, title: string, spec: object): Promise<void> {
  const before = await made(day);
  const leader = await day.cluster.leader();
  const order: string[] = [];
  let fewest = before.size;
  await day.step(title, async () => {
    await day.cluster.edit(spec);
    await day.cluster.until('to have replaced every member', patienceMs, async () => {
      const pods = await day.cluster.pods();
      for (const { metadata } of pods) {
        const { name, uid } = metadata;
        if (before.get(name)?.uid !== uid && !order.includes(name)) order.push(name);
      }
      fewest = Math.min(fewest, pods.filter(podReady).length);
      return order.length === before.size;
    });
    await day.cluster.calm(before.size);
  });
  expect(order.at(-1)).toBe(leader);
  expect(fewest).toBe(before.size - 1);
}

/** What holds for either engine. */
export function updating(day: () => Day): void {
  test(
    'a change of resources and flags replaces one member at a time, the leader last',
    async () => {
      const { flags } = day().engine;
      await rolled(day(), 'update of resources and flags', {
        engine: { flags },
        podTemplate: { resources: { requests: { cpu: '15m', memory: '48Mi' } } },
      });
    },
    storyMs,
  );

  test(
    'an image that does not exist stops after one member, says so, and editing it back heals',
    async () => {
      const before = await made(day());
      const { spec } = await day().cluster.get();
      await day().step('update to an image that does not exist, and back', async () => {
        await day().cluster.edit({ engine: { image: 'raftsman.invalid/no/such:image' } });
        const replaced = async () =>
          [...(await made(day()))].filter(([name, { uid }]) => before.get(name)?.uid !== uid);
        const held = await day().cluster.until(
          'to say what is wrong with the image',
          patienceMs,
          async ({ status }) => {
            const words = (status?.conditions ?? []).map(({ message }) => message).join('\n');
            return (await replaced()).length > 0 && /no\/such:image|ImagePull|ErrImage/.test(words);
          },
        );
        expect(findCondition(held.status?.conditions, 'Available')?.status).toBe('True');
        await day().clients.more(500, patienceMs);
        expect(await replaced()).toHaveLength(1);
        await day().cluster.edit({ engine: { image: spec.engine.image ?? null } });
        await day().cluster.calm(before.size);
      });
      const after = await made(day());
      const untouched = [...after].filter(([name, { uid }]) => before.get(name)?.uid === uid);
      expect(untouched).toHaveLength(before.size - 1);
    },
    storyMs,
  );
}

/** For engines whose members have versions of their own. */
export function updatingVersions(day: () => Day): void {
  test(
    'a new version, be it minor or patch, comes after a snapshot, and neither loses a write',
    async () => {
      for (const version of day().engine.updates) {
        const known = new Set((await day().kubectl.list('raftsnapshots')).map(({ metadata }) => metadata.uid));
        await rolled(day(), `update to ${version}`, { engine: { version } });
        const { status } = await day().cluster.get();
        expect(status?.version).toBe(version);
        const fresh = (await day().kubectl.list('raftsnapshots')).filter(
          ({ metadata }) => !known.has(metadata.uid) && !/-\d{8}$/.test(metadata.name),
        );
        expect(fresh.map((one) => condition(one, 'Complete')?.status)).toEqual(['True']);
        const first = Math.min(...[...(await made(day())).values()].map(({ at }) => Date.parse(at)));
        // Both are told in whole seconds.
        expect(Date.parse(String(fresh[0]!.status?.['completionTime']))).toBeLessThanOrEqual(first);
      }
    },
    storyMs,
  );

  test(
    'a downgrade, a skipped minor and a version that is none are refused with the reason, and nothing is replaced',
    async () => {
      const before = await made(day());
      const { spec } = await day().cluster.get();
      await day().step('versions that are refused', async () => {
        for (const version of ['3.5.35', '3.99.0', 'latest']) {
          const refused = await day()
            .cluster.edit({ engine: { version } })
            .then(() => undefined)
            .catch((error: Error) => error.message);
          // What the API server does not refuse, a condition does.
          if (refused === undefined)
            await day().cluster.until(`to refuse ${version}`, patienceMs, ({ status, metadata }) => {
              const words = (status?.conditions ?? []).map(({ message }) => message).join('\n');
              return status?.observedGeneration === metadata.generation && words.includes(version);
            });
          else expect(refused).toMatch(/version/);
        }
        await day().cluster.edit({ engine: { version: spec.engine.version ?? null } });
        await day().cluster.calm(before.size);
      });
      expect(await made(day())).toEqual(before);
    },
    storyMs,
  );
}
