/**
 * A day in the life of a cluster, as one script: from one member to five by learners, a leader that moves, a snapshot, a
 * member that falls behind, down to three without the leader, and a restart of all. Somebody writes all the while.
 */
import { afterEach, expect, test } from '@jest/globals';
import { bytes, idOf, TestCluster, type TestMember, textOf, until } from './members.ts';

/** Long, so that a busy machine is not taken for a dead leader. */
const heartbeatMs = 100;
const electionMs = 1000;
/** One election at its slowest: the longest timeout that is drawn, and a round of pre-votes and one of votes. */
const longestPauseMs = 2 * electionMs + 2 * heartbeatMs;

let cluster: TestCluster | undefined;
let day: Writing | undefined;
afterEach(async () => {
  await day?.stop();
  await cluster?.end();
});

/** Writes through whoever serves, one key at a time and writer, and remembers what was acknowledged and when. */
class Writing {
  readonly acknowledged = new Map<string, string>();
  /** Milliseconds between two acknowledgements. */
  longestPause = 0;
  /** What the others know of who is there; changed as the day goes on. */
  serving: readonly TestMember[];
  #lastAt = performance.now();
  #stopped = false;
  readonly #writers: Promise<void>[];

  constructor(serving: readonly TestMember[]) {
    this.serving = serving;
    this.#writers = [0, 1, 2].map((writer) => this.#write(writer));
  }

  async #write(writer: number): Promise<void> {
    for (let i = 0; !this.#stopped; i++) {
      const [key, value] = [`w${writer}-${i}`, `${i * 7919}`];
      const { client } = this.serving[(writer + i) % this.serving.length]!;
      try {
        await client.put({ key: bytes(key), value: bytes(value) }, { deadlineMs: longestPauseMs });
      } catch {
        // Its outcome is unknown, or the member is going: the next key goes elsewhere.
        await new Promise((resolve) => setTimeout(resolve, 5));
        continue;
      }
      this.acknowledged.set(key, value);
      const now = performance.now();
      this.longestPause = Math.max(this.longestPause, now - this.#lastAt);
      this.#lastAt = now;
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#writers);
  }
}

const voters = async (via: TestMember): Promise<string[]> => {
  const { members } = await via.client.memberList();
  return members.flatMap(({ name, isLearner }) => (isLearner ? [] : [name])).sort();
};

/** What was acknowledged and is not there. */
async function missing(member: TestMember, wanted: ReadonlyMap<string, string>, serializable: boolean) {
  const { kvs } = await member.client.range({ key: bytes('w'), rangeEnd: bytes('x'), serializable });
  const found = new Map(kvs.map(({ key, value }) => [textOf(key), textOf(value)]));
  return [...wanted].filter(([key, value]) => found.get(key) !== value);
}

test('D1 D10 a scripted day: every acknowledged write is there at its end, and no pause was longer than one election', async () => {
  cluster = await TestCluster.create(1, [
    `--heartbeat-interval=${heartbeatMs}`,
    `--election-timeout=${electionMs}`,
    '--snapshot-count=300',
    '--snapshot-catchup-entries=20',
  ]);
  await cluster.start();
  const [first] = cluster.members as [TestMember];
  day = new Writing([first]);

  // Growing to five.
  for (let size = 2; size <= 5; size++) {
    const learner = await cluster.grow(first);
    await until('promoted', async () => {
      await first.client.memberPromote(await idOf(learner, first));
      return true;
    });
    day.serving = [...day.serving, learner];
    expect(await voters(first)).toHaveLength(size);
  }

  // The leader moves.
  const next = cluster.members[3]!;
  await first.client.moveLeader(await idOf(next));
  expect(await cluster.leader()).toBe(next);

  // A snapshot, and a member that misses what comes after it.
  const late = cluster.members[2]!;
  day.serving = day.serving.filter((member) => member !== late);
  const seen = await late.metric('raftsman_raft_last_index');
  await late.stop('SIGKILL');
  await until('more was written than the log keeps', async () => {
    return (await next.metric('etcd_server_proposals_committed_total')) > seen + 100;
  });
  expect((await fetch(`${next.httpUrl}/snapshot`, { method: 'POST' })).status).toBe(200);
  expect(await next.metric('raftsman_raft_first_index')).toBeGreaterThan(seen + 1);
  late.start();
  await late.ready();
  expect(await late.metric('raftsman_snapshots_received_total')).toBeGreaterThanOrEqual(1);
  day.serving = [...day.serving, late];

  // Down to three: the leader itself goes first, then one that follows.
  await next.client.memberRemove(await idOf(next));
  day.serving = day.serving.filter((member) => member !== next);
  expect(await next.ended()).toBe(1);
  const leader = await cluster.leader();
  expect(leader).not.toBe(next);
  const leaving = (await cluster.followers())[0]!;
  await leader.client.memberRemove(await idOf(leaving));
  day.serving = day.serving.filter((member) => member !== leaving);
  expect(await leaving.ended()).toBe(1);
  const staying = [...day.serving];
  expect(await voters(leader)).toEqual(staying.map(({ name }) => name).sort());

  const before = day.acknowledged.size;
  await until('it goes on', async () => day!.acknowledged.size > before + 50);
  await day.stop();
  expect(day.longestPause).toBeLessThanOrEqual(longestPauseMs);

  // All stop, and start again.
  await Promise.all(staying.map((member) => member.stop()));
  for (const member of staying) member.start();
  await Promise.all(staying.map((member) => member.ready()));
  for (const member of staying) {
    expect(await missing(member, day.acknowledged, true)).toEqual([]);
    expect(await missing(member, day.acknowledged, false)).toEqual([]);
  }
  const { header } = await staying[0]!.client.hashKv();
  const hashes = await Promise.all(staying.map(({ client }) => client.hashKv(header!.revision)));
  expect(new Set(hashes.map(({ hash }) => hash)).size).toBe(1);
  expect(day.acknowledged.size).toBeGreaterThan(500);
}, 180_000);
