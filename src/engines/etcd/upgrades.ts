/** Which versions of etcd may follow which, as etcd's own rules are. Pure. */
import type { VersionChange } from '../profile.ts';
import { compareVersions, invalidVersion, parseVersion, type Version } from '../versions.ts';

/** The first with /livez and /readyz. */
const oldest = '3.5.11';

export function versionChange(from: string, to: string, running: readonly string[] = [from]): VersionChange {
  const refuse = (reason: string): VersionChange => ({ kind: 'refused', reason });
  const wrong = invalidVersion(to);
  if (wrong !== undefined) return refuse(wrong);
  const target = parseVersion(to)!;
  if (compareVersions(target, parseVersion(oldest)!) < 0)
    return refuse(`etcd ${to} is too old: ${oldest} is the first that says whether it is ready`);
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
  if (compareVersions(source, target) === 0) return { kind: 'same' };
  return { kind: source.minor === target.minor ? 'patch' : 'minor' };
}

const elsewhere = 'restore a snapshot into a new cluster instead';

const minorOf = ({ major, minor }: Version) => `${major}.${minor}`;
