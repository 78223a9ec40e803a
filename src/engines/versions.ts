/** Versions as engines write them. Pure. */

export interface Version {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
  /** What follows a dash. */
  readonly pre: string;
}

export function parseVersion(text: string): Version | undefined {
  const match = /^v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:-([0-9A-Za-z.-]{1,32}))?$/.exec(text);
  if (!match) return undefined;
  return { major: Number(match[1]), minor: Number(match[2]), patch: Number(match[3]), pre: match[4] ?? '' };
}

/** What is wrong with it, in words. */
export function invalidVersion(text: string): string | undefined {
  return parseVersion(text) ? undefined : `"${text}" is no version: write it as 3.6.8`;
}

/** Negative when `a` is older. A version with a dash is older than that without. */
export function compareVersions(a: Version, b: Version): number {
  const byNumber = a.major - b.major || a.minor - b.minor || a.patch - b.patch;
  if (byNumber !== 0 || a.pre === b.pre) return byNumber;
  if (a.pre === '' || b.pre === '') return a.pre === '' ? 1 : -1;
  return a.pre < b.pre ? -1 : 1;
}
