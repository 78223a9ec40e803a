import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { moduleFolder } from './etcd-raft.ts';

/**
 * Which of our stories tells the situation that etcd's Raft tells in a file of its own. The files are those of the version that
 * we pin: when a newer one brings a situation, this fails until there is a story of it.
 */
const told: Readonly<Record<string, readonly string[]>> = {
  async_storage_writes: ['write_pipeline', 'own_disk_last'],
  async_storage_writes_append_aba_race: ['append_aba_race'],
  campaign: ['first_election'],
  campaign_learner_must_vote: ['learner_votes'],
  checkquorum: ['check_quorum', 'leader_stickiness'],
  // There it can be switched off that the leader checks a change; here it cannot.
  confchange_disable_validation: ['one_change_at_a_time'],
  confchange_v1_add_single: ['add_voter'],
  // There a removed leader may go on leading; here it always hands over.
  confchange_v1_remove_leader: ['remove_leader'],
  confchange_v1_remove_leader_stepdown: ['remove_leader', 'demote_leader'],
  confchange_v2_add_double_auto: ['joint_left_by_itself'],
  confchange_v2_add_double_implicit: ['joint_left_by_itself', 'joint_left_by_the_next_leader'],
  confchange_v2_add_single_auto: ['add_voter'],
  confchange_v2_add_single_explicit: ['joint_left_when_told'],
  confchange_v2_replace_leader: ['replace_leader'],
  confchange_v2_replace_leader_stepdown: ['replace_leader_without_transfer'],
  // Nobody can be told to forget its leader here; a restart makes it forget.
  forget_leader: ['restart_forgets_the_leader'],
  forget_leader_prevote_checkquorum: ['restart_forgets_the_leader', 'pre_vote_near_a_leader'],
  forget_leader_read_only_lease_based: ['lease_restarted_voter'],
  heartbeat_resp_recovers_from_probing: ['unreachable_member_recovers'],
  lagging_commit: ['lagging_commit'],
  prevote: ['pre_vote_needs_the_log'],
  prevote_checkquorum: ['pre_vote_near_a_leader', 'rejoining_member'],
  probe_and_replicate: ['figure_7', 'conflicting_logs'],
  replicate_pause: ['full_window_lost', 'window_of_unanswered_appends'],
  single_node: ['single_member'],
  slow_follower_after_compaction: ['snapshot_after_a_full_window'],
  snapshot_succeed_via_app_resp: ['snapshot_at_the_last_entry'],
  snapshot_succeed_via_app_resp_behind: ['snapshot_older_than_asked'],
};

const ours = join(import.meta.dirname, '..', 'raft', 'testdata');
let theirs: string[];

beforeAll(async () => {
  theirs = readdirSync(join(await moduleFolder(), 'testdata')).map((name) => name.replace('.txt', ''));
}, 300_000);

describe('situations', () => {
  test('every situation that etcd’s Raft tells is told by a story of ours', () => {
    expect(theirs.filter((name) => told[name] === undefined)).toEqual([]);
    expect(theirs.length).toBeGreaterThan(20);
  });

  test('none of these names is of a situation that is gone, or of a story that is', () => {
    expect(Object.keys(told).filter((name) => !theirs.includes(name))).toEqual([]);
    const stories = Object.values(told).flat();
    expect(stories.filter((name) => !existsSync(join(ours, `${name}.txt`)))).toEqual([]);
  });
});
