/** Asks running Jobs how far they are, for the controllers that own them. */
import { type Progress, parseProgress } from '../jobs/result.ts';
import type { Job, Pod } from '../kube/kinds.ts';
import type { Key, Live } from '../kube/objects.ts';
import { readJob } from './job.ts';
import { PORTS } from './names.ts';
import { Polls, type Question } from './polls.ts';
import type { World } from './world.ts';

/** How often a running Job is asked; so often at most does a status change for its progress. */
const EVERY_MS = 2_000;
const TIMEOUT_MS = 1_500;

export type ProgressPolls = Polls<Progress>;

export function progressPolls(world: World, controller: string): ProgressPolls {
  return new Polls<Progress>({
    clock: world.clock,
    everyMs: () => EVERY_MS,
    timeoutMs: TIMEOUT_MS,
    concurrency: 32,
    wake: (key) => world.manager.enqueue(controller, key),
  });
}

/** Asks a pod that runs `raftsman job`. An answer that is none counts as silence: progress is only for the eye. */
export function progressOf(world: World, pod: { readonly name: string; readonly ip: string }): Question<Progress> {
  const host = pod.ip.includes(':') ? `[${pod.ip}]` : pod.ip;
  return {
    id: pod.name,
    of: `${pod.name} ${pod.ip}`,
    ask: async (signal) => {
      const progress = parseProgress(await world.fetchProgress(`http://${host}:${PORTS.progress}/progress`, signal));
      if (!progress) throw new Error('the answer is no progress');
      return progress;
    },
  };
}

/** The last answer of the one Job that runs among `jobs`, asking it from now on for as long as it runs. */
export function followJobs(
  world: World,
  polls: ProgressPolls,
  key: Key,
  jobs: readonly Live<Job>[],
  pods: readonly Live<Pod>[],
  now: Date,
): Progress | undefined {
  const running = jobs.map((job) => readJob(job, pods, now)).find((state) => state.kind === 'running');
  const questions =
    running?.kind === 'running' && running.podIP !== undefined
      ? [progressOf(world, { name: running.pod, ip: running.podIP })]
      : [];
  polls.ask(key, questions);
  return [...polls.answers(key).values()][0]?.value;
}
