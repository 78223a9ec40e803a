/** The day of an engine's cluster, from its first member to its restored successor: the stories on one cluster, in order. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Day, type EngineUnderTest, storyMs } from './day.ts';
import { newNamespace, removeNamespace } from './namespace.ts';
import { compacting } from './stories/compacting.ts';
import { hibernating } from './stories/hibernating.ts';
import { losing } from './stories/losing.ts';
import { archiveEveryMinute, recovering } from './stories/recovering.ts';
import { rotating } from './stories/rotating.ts';
import { scaling } from './stories/scaling.ts';
import { updating, updatingVersions } from './stories/updating.ts';

export function tellDay(engine: EngineUnderTest): void {
  describe(`a day of a cluster of ${engine.type}, with clients writing throughout`, () => {
    let day: Day;
    beforeAll(async () => {
      const kubectl = await newNamespace(`e2e-day-${engine.type.toLowerCase()}`);
      // Drains choose pods by the cluster's name, in all namespaces.
      day = await Day.of(engine, kubectl, `day-${engine.type.toLowerCase()}`);
      await day.begin({ replicas: 1 });
      await archiveEveryMinute(day);
    }, storyMs);
    afterAll(async () => {
      await day?.end();
      if (day) await removeNamespace(day.kubectl);
    }, storyMs);
    const told = () => day;

    scaling(told);
    compacting(told);
    updating(told);
    if (engine.updates.length > 0) updatingVersions(told);
    losing(told);
    hibernating(told);
    rotating(told);

    test(
      'all writes that were acknowledged so far are on every member',
      async () => {
        expect(await day.compare()).toEqual([]);
        day.write();
      },
      storyMs,
    );

    test(
      'scaled down to one member it has everything',
      async () => {
        await day.step('kubectl scale 3 → 1', async () => {
          await day.cluster.scale(1);
          await day.cluster.calm(1);
        });
        expect(await day.compare()).toEqual([]);
        day.write();
      },
      storyMs,
    );

    recovering(told);
  });
}
