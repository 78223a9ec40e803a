/** What the membership service allows, against a driver that the test plays. */
import { describe, expect, test } from '@jest/globals';
import { type EtcdError, etcdError } from '../../src/etcd/errors.ts';
import { decimalId } from '../../src/etcd/ids.ts';
import { createLog } from '../../src/log.ts';
import { encodeContext } from '../../src/node/book.ts';
import { KeyValues } from '../../src/node/kv.ts';
import { type MemberDriver, Membership } from '../../src/node/membership.ts';
import { configurationOf } from '../../src/raft/configuration.ts';
import { changed, encodeConfiguration } from '../../src/raft/membership.ts';
import {
  asIndex,
  asMemberId,
  type ConfigurationChange,
  type MemberId,
  type ProgressStatus,
  type TransferFailure,
} from '../../src/raft/types.ts';

const self = asMemberId('a');
const [b, c] = [asMemberId('b'), asMemberId('c')];
const urlOf = (id: string): string => `http://${id}:1`;

/** Every change is committed and applied at once, unless the next one is to be refused. */
function newService(members: readonly MemberId[] = [self], started: readonly MemberId[] = members) {
  const keyValues = new KeyValues({ genesis: members.map((id) => ({ id, name: id, peerUrls: [urlOf(id)] })) });
  const world = {
    configuration: configurationOf(members),
    index: 0,
    connected: members.filter((id) => id !== self) as readonly MemberId[],
    progress: [] as ProgressStatus[],
    leader: self as string | undefined,
    failure: null as TransferFailure | null,
    transfers: [] as MemberId[],
    /** What the leader says to the next changes, and what happens meanwhile. */
    refusals: [] as { readonly error: EtcdError; readonly meanwhile?: () => void }[],
    changes: [] as ConfigurationChange[],
    onRead: () => {},
  };
  const apply = (change: ConfigurationChange, context: string): void => {
    world.configuration = changed(world.configuration, change);
    world.index = keyValues.appliedIndex + 1;
    keyValues.apply(world.index, 1, encodeConfiguration(world.configuration, context), 'configuration');
  };
  const driver: MemberDriver = {
    clusterId: 'ff',
    memberId: self,
    term: () => 1,
    commitIndex: () => keyValues.appliedIndex,
    leaderId: () => world.leader,
    configuration: () => world.configuration,
    status: () => ({
      configurationIndex: asIndex(world.index),
      committedConfiguration: world.configuration,
      committedConfigurationIndex: asIndex(world.index),
      progress: world.progress,
    }),
    takeSnapshot: () => Promise.resolve(),
    propose: (data) => keyValues.apply(keyValues.appliedIndex + 1, 1, data),
    change: ({ change, context, basedOn }, lost) => {
      world.changes.push(change);
      if (basedOn !== world.index) {
        lost(overtaken());
        return;
      }
      const refusal = world.refusals.shift();
      refusal?.meanwhile?.();
      if (refusal) lost(refusal.error);
      else apply(change, context);
    },
    linearize: () => Promise.resolve(world.onRead()),
    transferLeadership: (to) => {
      world.transfers.push(to);
      return Promise.resolve(world.failure);
    },
    connected: () => world.connected,
  };
  const log = createLog({ write: () => {} });
  const options = { driver, keyValues, log, token: 't', maxLearners: 1, timeoutMs: 1000, retryMs: 1 };
  const membership = new Membership(options);
  const start = (id: MemberId): Promise<void> =>
    keyValues.publish(driver, { memberId: id, name: `name of ${id}`, clientUrls: [] });
  const ready = Promise.all(started.map(start));
  return { world, keyValues, driver, membership, apply, start, ready };
}

const pending = () => etcdError('ETCD_CHANGE_PENDING');
const overtaken = () => etcdError('ETCD_CHANGE_OVERTAKEN');

describe('a change of the membership', () => {
  test('waits for the one before it, and is looked at again when somebody was faster', async () => {
    const { world, membership, ready } = newService();
    await ready;
    world.refusals.push({ error: pending() }, { error: overtaken() });
    const id = await membership.add([urlOf('x')], true);
    expect(world.changes).toHaveLength(3);
    expect(world.configuration.learners).toEqual([id]);
  });

  test('GR-04 GR-21 two who add the same member at once mean the same one; the second hears that it is there', async () => {
    const { world, membership, ready } = newService();
    await ready;
    const other = new Promise<MemberId>((resolve) => {
      world.refusals.push({ error: overtaken(), meanwhile: () => resolve(membership.add([urlOf('x')], true)) });
    });
    await expect(membership.add([urlOf('x')], true)).rejects.toMatchObject({ code: 'ETCD_PEER_URL_EXISTS' });
    const [first, second] = world.changes;
    expect(first).toEqual(second);
    // Gone and added again, it is another one: whoever still has the old one's disk is not taken for it.
    await membership.remove(await other);
    expect(await membership.add([urlOf('x')], true)).not.toBe(await other);
  });

  test('RS-13 GR-21 is not checked against a list that its own log is ahead of: what is about to be there is seen', async () => {
    const { world, keyValues, membership, driver, ready } = newService();
    await ready;
    // Somebody else's addition has come into the log here, and is not applied yet.
    world.configuration = { ...world.configuration, learners: [c] };
    world.index = keyValues.appliedIndex + 1;
    const context = encodeContext({
      process: 1,
      sequence: 1,
      action: { type: 'add', id: c, peerUrls: [urlOf('x')], toVote: true },
    });
    const entry = encodeConfiguration(world.configuration, context);
    let reads = 0;
    world.onRead = () => {
      reads++;
      if (reads === 2) keyValues.apply(driver.status().configurationIndex, 1, entry, 'configuration');
    };
    await expect(membership.add([urlOf('x')], false)).rejects.toMatchObject({ code: 'ETCD_PEER_URL_EXISTS' });
    expect([reads, world.changes]).toEqual([2, []]);
  });

  test('does not wait for ever', async () => {
    const { world, keyValues, driver } = newService();
    const log = createLog({ write: () => {} });
    const hasty = new Membership({ driver, keyValues, log, token: 't', maxLearners: 1, timeoutMs: 0, retryMs: 1 });
    world.refusals.push({ error: pending() });
    await expect(hasty.add([urlOf('x')], true)).rejects.toMatchObject({ code: 'ETCD_CHANGE_PENDING' });
    expect(world.changes).toHaveLength(1);
  });

  test.each([
    ['promoted by hand', false],
    ['promoted by itself', true],
  ])('a learner that has caught up is %s when it was added so', async (_, toVote) => {
    const { world, membership, start, ready } = newService();
    await ready;
    const id = await membership.add([urlOf('x')], !toVote);
    const progress = (match: number, recentlyActive: boolean): ProgressStatus[] => [
      { member: id, state: 'replicate', match: asIndex(match), next: asIndex(9), inflight: 0, recentlyActive },
    ];
    const promotes = async (): Promise<boolean> => {
      membership.promoteReady();
      await new Promise((resolve) => setImmediate(resolve));
      return world.configuration.voters.includes(id);
    };
    world.progress = progress(2, true);
    // Nobody can vote who has never started.
    expect(await promotes()).toBe(false);
    await start(id);
    world.progress = progress(2, false);
    expect(await promotes()).toBe(false);
    world.progress = progress(2, true);
    world.leader = b;
    expect(await promotes()).toBe(false);
    world.leader = self;
    expect(await promotes()).toBe(toVote);
    if (!toVote) await membership.promote(id);
    expect(world.configuration).toEqual(configurationOf([self, id]));
    expect(membership.list().map(({ isLearner }) => isLearner)).toEqual([false, false]);
  });

  test('keeps a quorum of those who have started and can be reached', async () => {
    const three = newService([self, b, c]);
    await three.ready;
    three.world.connected = [b];
    await expect(three.membership.remove(b)).rejects.toMatchObject({ code: 'ETCD_UNHEALTHY' });
    await expect(three.membership.add([urlOf('x')], true)).rejects.toMatchObject({ code: 'ETCD_UNHEALTHY' });
    await three.membership.remove(c);
    await three.membership.remove(b);
    await expect(three.membership.remove(self)).rejects.toMatchObject({ code: 'ETCD_NOT_ENOUGH_STARTED' });

    const unstarted = newService([self, b, c], [self, b]);
    await unstarted.ready;
    await expect(unstarted.membership.remove(b)).rejects.toMatchObject({ code: 'ETCD_NOT_ENOUGH_STARTED' });
    await expect(unstarted.membership.add([urlOf('x')], false)).rejects.toMatchObject({
      code: 'ETCD_NOT_ENOUGH_STARTED',
    });
  });
});

describe('leadership', () => {
  test.each([
    ['notLeader', 'ETCD_NOT_LEADER'],
    ['notVoter', 'ETCD_BAD_LEADER_TRANSFEREE'],
    ['busy', 'ETCD_TRANSFER_BUSY'],
    ['timedOut', 'ETCD_TRANSFER_TIMEOUT'],
    ['deposed', 'ETCD_TRANSFER_TIMEOUT'],
  ] as const)('that was not handed over (%s) is told as %s', async (failure, code) => {
    const { world, membership } = newService([self, b]);
    world.failure = failure;
    await expect(membership.moveLeader(b)).rejects.toMatchObject({ code });
  });

  test('goes to the voter that is furthest along and can be reached, before a leader stops', async () => {
    const { world, membership } = newService([self, b, c]);
    const at = (member: MemberId, match: number): ProgressStatus => ({
      member,
      state: 'replicate',
      match: asIndex(match),
      next: asIndex(match + 1),
      inflight: 0,
      recentlyActive: true,
    });
    world.progress = [at(b, 7), at(c, 9)];
    await membership.handOver();
    world.connected = [b];
    await membership.handOver();
    world.connected = [];
    await membership.handOver();
    world.leader = b;
    await membership.handOver();
    expect(world.transfers).toEqual([c, b]);
  });
});

test('members are listed in the order of ids, with names once they have started', async () => {
  const { membership, ready } = newService([self, c, b], [c]);
  await ready;
  expect(membership.list().map(({ ID, name }) => [ID, name])).toEqual([
    [decimalId('a'), ''],
    [decimalId('b'), ''],
    [decimalId('c'), 'name of c'],
  ]);
});
