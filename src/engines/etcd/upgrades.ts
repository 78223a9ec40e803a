/** Which versions of etcd may follow which, as etcd's own rules are. Pure. */
import type { VersionChange } from '../profile.ts';
import { compareVersions, invalidVersion, parseVersion, type Version } from '../versions.ts';

/**
 * The first whose list of members 3.6 can take over. Every member here was a learner once, and members go: up to 3.5.19 a
 * promotion, up to 3.5.25 a removal may be missing where 3.6 reads the list, so that voters come back as learners and the
 * removed come back at all (etcd issues 19557 and 20793; etcd's blog of 2025-12-21, "Avoiding Zombie Cluster Members").
 * Since 3.5.26 a start repairs that.
 *
 * It also has all that members are given here. By CHANGELOG-3.5: etcdutl's --bump-revision since 3.5.10 (PR 16165), /livez
 * and /readyz since 3.5.11 (PR 17039). By its source alone: --experimental-snapshot-catchup-entries since 3.5.14 (PR 17808).
 */
const oldest = '3.5.26';

export function versionChange(from: string, to: string, running: readonly string[] = [from]): VersionChange {
  const refuse = (reason: string): VersionChange => ({ kind: 'refused', reason });
  const wrong = invalidVersion(to);
  if (wrong !== undefined) return refuse(wrong);
  const target = parseVersion(to)!;
  if (isTooOld(target))
    return refuse(`etcd ${to} is too old: ${oldest} is the first that a later minor version can follow`);
  const source = parseVersion(from);
  if (source === undefined) return refuse(`the members say that they run "${from}", which is no version`);
  // A cluster speaks the version of its oldest member until all have left it, and until then the others can go back.
  const oldestRunning = running
    .flatMap((text) => parseVersion(text) ?? [])
    .reduce((a, b) => (compareVersions(a, b) <= 0 ? a : b), source);
  if (target.major !== oldestRunning.major)
    return refuse(`etcd ${minorOf(oldestRunning)} cannot become ${to}: ${elsewhere}`);
  if (target.minor < oldestRunning.minor)
    return refuse(`etcd ${minorOf(oldestRunning)} cannot go back to ${to}, which does not read its data: ${elsewhere}`);
  if (target.minor > oldestRunning.minor + 1)
    return refuse(
      `etcd goes up one minor version at a time: update to ${target.major}.${oldestRunning.minor + 1} before ${to}`,
    );
  if (target.minor > oldestRunning.minor && isTooOld(oldestRunning))
    return refuse(`etcd may lose members on its way to ${to}: update to ${oldest} before ${to}`);
  if (compareVersions(source, target) === 0) return { kind: 'same' };
  return { kind: source.minor === target.minor ? 'patch' : 'minor' };
}

const isTooOld = (version: Version) => compareVersions(version, parseVersion(oldest)!) < 0;

const elsewhere = 'restore a snapshot into a new cluster instead';

const minorOf = ({ major, minor }: Version) => `${major}.${minor}`;
