/**
 * How a member without data comes into a cluster that exists (`--initial-cluster-state existing`): somebody has added it by
 * its addresses (`etcdctl member add`), and any member tells it who it is. Log and state then come from the leader.
 */
import type { Log } from '../log.ts';
import { isVoter } from '../raft/configuration.ts';
import type { Certificates } from './certificates.ts';
import { NodeError } from './errors.ts';
import type { NodeOptions } from './flags.ts';
import { askToJoin, type JoinAnswer, type JoinRequest, RefusedError } from './hello.ts';
import type { MemberIdentity } from './identity.ts';
import type { KeyValues } from './kv.ts';
import type { MemberDriver } from './membership.ts';

const answerWithinMs = 3000;
const askEveryMs = 250;
/** Names of pods that have just been created may not resolve yet. */
const askForMs = 60_000;

export const lostMember = (why: string, dataDir: string): NodeError =>
  new NodeError(
    'NODE_DATA_LOST',
    `${why}, but ${dataDir} holds no data: this member's data is gone. Starting empty could forget acknowledged writes; replace it by a new member`,
  );

export const removedMember = (id: string, dataDir: string): NodeError =>
  new NodeError(
    'NODE_REMOVED',
    `member ${id} was removed from its cluster and can never come back: to use this machine again, delete ${dataDir} and add a new member`,
  );

/** Rejects with NODE_NOT_A_MEMBER, NODE_DATA_LOST or NODE_NO_ANSWER. */
export async function joinCluster(
  options: NodeOptions,
  certificates: Certificates | undefined,
  log: Log,
): Promise<MemberIdentity> {
  const { name, dataDir, initialAdvertisePeerUrls } = options;
  const peerUrls = [...initialAdvertisePeerUrls].sort();
  const urls = options.initialCluster.flatMap((member) => member.peerUrls).filter((url) => !peerUrls.includes(url));
  if (urls.length === 0) throw lostMember('the cluster exists', dataDir);
  const until = performance.now() + askForMs;
  for (let said = ''; ; ) {
    const found = await firstToKnow(urls, { purpose: 'join', name, peerUrls }, certificates);
    if (!(found instanceof Error)) return found;
    if (found instanceof RefusedError && found.why === 'started') throw lostMember(found.message, dataDir);
    if (found instanceof RefusedError && found.why === 'unknown') {
      throw new NodeError(
        'NODE_NOT_A_MEMBER',
        `${found.message}: add it first (etcdctl member add ${name} --peer-urls=${peerUrls.join(',')}), then start it again`,
      );
    }
    if (performance.now() > until) {
      throw new NodeError(
        'NODE_NO_ANSWER',
        `none of ${urls.join(', ')} could tell who this member is (${found.message}): check --initial-cluster, and that a quorum runs`,
        1,
        found,
      );
    }
    if (said !== found.message) log.info('asking the members of the cluster who this one is', { urls, error: found });
    said = found.message;
    await new Promise((resolve) => setTimeout(resolve, askEveryMs));
  }
}

/** Whoever knows first decides; an error when nobody does. */
async function firstToKnow(
  urls: readonly string[],
  request: JoinRequest,
  certificates: Certificates | undefined,
): Promise<MemberIdentity | Error> {
  const asked = urls.map(async (url) => {
    try {
      return await askToJoin(url, request, answerWithinMs, certificates);
    } catch (error) {
      if (error instanceof RefusedError && error.why !== undefined) return error;
      throw error;
    }
  });
  try {
    return await Promise.any(asked);
  } catch (error) {
    return (error as AggregateError).errors[0] as Error;
  }
}

/**
 * The other side. What it says is as new as every change of the membership that was acknowledged before. A voter may have
 * acknowledged what it has lost, even if nobody heard its name yet.
 */
export async function answerJoin(
  { name, peerUrls }: JoinRequest,
  identity: Omit<MemberIdentity, 'memberId'>,
  keyValues: Pick<KeyValues, 'book'>,
  driver: Pick<MemberDriver, 'linearize' | 'configuration'>,
): Promise<JoinAnswer> {
  try {
    await driver.linearize();
  } catch (error) {
    return { ok: false, reason: `not known right now: ${(error as Error).message}` };
  }
  const { clusterId, genesis } = identity;
  const where = peerUrls.join(',');
  const memberId = keyValues.book.withUrls(peerUrls);
  if (memberId === undefined)
    return { ok: false, why: 'unknown', reason: `${where} (${name}) is not a member of cluster ${clusterId}` };
  if (keyValues.book.hasStarted(memberId) || isVoter(driver.configuration(), memberId))
    return {
      ok: false,
      why: 'started',
      reason: `member ${memberId} at ${where} has taken part in cluster ${clusterId}`,
    };
  return { ok: true, clusterId, memberId, genesis };
}
