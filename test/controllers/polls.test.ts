import { describe, expect, test } from '@jest/globals';
import { type Answer, Polls, type Question } from '../../src/controllers/polls.ts';
import { manualClock, settle } from '../kube/manual-clock.ts';

function setup({ concurrency = 4, everyMs = (_: Answer<string>): number | undefined => 1_000 } = {}) {
  const clock = manualClock();
  const woken: string[] = [];
  const polls = new Polls<string>({ clock, everyMs, timeoutMs: 500, concurrency, wake: (group) => woken.push(group) });
  return { clock, woken, polls };
}

function question(id: string, ask: Question<string>['ask'], more: Partial<Question<string>> = {}): Question<string> {
  return { id, of: id, ask, ...more };
}

describe('questions beside the reconciles', () => {
  test('are asked at once and then at their interval; only news wakes', async () => {
    const { clock, woken, polls } = setup();
    let asked = 0;
    polls.ask('g', [question('a', async () => `answer ${Math.ceil(++asked / 2)}`)]);
    await settle();
    expect(polls.answers('g').get('a')).toEqual({ value: 'answer 1', at: 0, failures: 0 });
    await clock.advance(1_000);
    expect([asked, woken]).toEqual([2, ['g']]);
    await clock.advance(1_000);
    expect([asked, woken]).toEqual([3, ['g', 'g']]);
    polls.close();
    expect(clock.pending).toBe(0);
  });

  test('one that hangs ends after its time and holds up no other group', async () => {
    const { clock, polls } = setup({ concurrency: 2 });
    const hang: Question<string>['ask'] = (signal) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    polls.ask('hung', [question('a', hang)]);
    polls.ask('well', [question('b', async () => 'here')]);
    await settle();
    expect(polls.answers('well').get('b')?.value).toBe('here');
    await clock.advance(500);
    expect(polls.answers('hung').get('a')).toMatchObject({ failures: 1, error: new Error('no answer within 500 ms') });
    polls.close();
  });

  test('a silence keeps the last answer, counts, and is news twice', async () => {
    const { clock, woken, polls } = setup();
    let well = true;
    const ask = async () => {
      if (well) return 'here';
      throw new Error('gone');
    };
    polls.ask('g', [question('a', ask)]);
    await settle();
    well = false;
    await clock.advance(5_000);
    expect(polls.answers('g').get('a')).toMatchObject({ value: 'here', failures: 5 });
    expect(woken).toEqual(['g', 'g', 'g']);
    polls.close();
  });

  test('a group is asked again at once when something was done, and again after an answer that may be of before', async () => {
    const { polls } = setup();
    const answers: (() => void)[] = [];
    polls.ask('g', [question('a', () => new Promise((done) => answers.push(() => done('here'))))]);
    await settle();
    polls.refresh('g');
    expect(answers).toHaveLength(1);
    answers[0]?.();
    await settle();
    expect(answers).toHaveLength(2);
    answers[1]?.();
    await settle();
    polls.refresh('g');
    await settle();
    expect(answers).toHaveLength(3);
    polls.close();
  });

  test('another question of the same name forgets the answer; the same one keeps it', async () => {
    const { polls } = setup();
    let asked = 0;
    const ask = async () => `answer ${++asked}`;
    polls.ask('g', [question('a', ask)]);
    await settle();
    polls.ask('g', [question('a', ask)]);
    await settle();
    expect(polls.answers('g').get('a')?.value).toBe('answer 1');
    polls.ask('g', [question('a', ask, { again: 'the pod became ready' })]);
    await settle();
    expect(polls.answers('g').get('a')?.value).toBe('answer 2');
    polls.ask('g', [question('a', ask, { of: 'another pod' })]);
    expect(polls.answers('g').get('a')).toEqual({ failures: 0 });
    polls.close();
  });

  test('no more run at a time than may', async () => {
    const { polls } = setup({ concurrency: 2 });
    let running = 0;
    let most = 0;
    const waiting: (() => void)[] = [];
    const ask = () =>
      new Promise<string>((resolve) => {
        most = Math.max(most, ++running);
        waiting.push(() => {
          running -= 1;
          resolve('done');
        });
      });
    polls.ask(
      'g',
      ['a', 'b', 'c', 'd', 'e'].map((id) => question(id, ask)),
    );
    for (let left = 5; left > 0; left -= 1) {
      await settle();
      waiting.shift()?.();
    }
    await settle();
    expect([...polls.answers('g').values()].every(({ value }) => value === 'done')).toBe(true);
    expect(most).toBe(2);
    polls.close();
  });

  test('an answer that holds for good is asked for once', async () => {
    const { clock, polls } = setup({ everyMs: ({ failures }) => (failures > 0 ? 100 : undefined) });
    let asked = 0;
    const ask = async () => {
      if (++asked < 3) throw new Error('not yet');
      return 'for good';
    };
    polls.ask('g', [question('a', ask)]);
    await clock.advance(60_000);
    expect([asked, polls.answers('g').get('a')?.value]).toEqual([3, 'for good']);
    expect(clock.pending).toBe(0);
  });

  test('a group that is forgotten is asked no more', async () => {
    const { clock, woken, polls } = setup();
    polls.ask('g', [question('a', async () => 'x')]);
    polls.ask('g', []);
    await clock.advance(5_000);
    expect([woken, clock.pending, polls.answers('g').size]).toEqual([[], 0, 0]);
  });
});
