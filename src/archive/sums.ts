import { ArchiveError } from './types.ts';

/** HashiCorp's readers refuse SHA256SUMS of 8192 bytes and more (NS-22). */
export const sumsLimit = 8192;

/** `<64 hex>  <name>` a line (NS-16). */
export function encodeSums(hashes: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const lines = [...hashes].map(([name, hash]) => `${Buffer.from(hash).toString('hex')}  ${name}\n`);
  return Buffer.from(lines.join(''));
}

/**
 * NS-19. `present` are the files that the archive has; `hashes` those of all files that it must have, a missing one
 * hashing as empty. Throws the first that is wrong.
 */
export function checkSums(
  sums: Uint8Array | undefined,
  hashes: ReadonlyMap<string, Uint8Array>,
  present: ReadonlySet<string>,
): void {
  const listed = new Set<string>();
  const lines = new TextDecoder().decode(sums ?? new Uint8Array(0)).split('\n');
  if (lines.at(-1) === '') lines.pop();
  for (const [at, line] of lines.entries()) {
    const [, hex = '', name = ''] = /^([0-9a-f]{64})[ \t]+(\S+)[ \t]*\r?$/i.exec(line) ?? [];
    if (name === '') throw fail('ARCHIVE_SUMS_INVALID', `line ${at + 1} of SHA256SUMS is no hash and name`);
    const hash = hashes.get(name);
    if (hash === undefined)
      throw fail('ARCHIVE_HASH_MISMATCH', `list missing hash for "${name}": no such file belongs in an archive`);
    if (Buffer.from(hash).toString('hex') !== hex.toLowerCase()) {
      if (!present.has(name))
        throw fail('ARCHIVE_FILE_MISSING', `hash check failed for "${name}": the archive has no such file`);
      throw fail('ARCHIVE_HASH_MISMATCH', `hash check failed for "${name}": its SHA-256 is not the one in SHA256SUMS`);
    }
    listed.add(name);
  }
  for (const name of hashes.keys()) {
    if (listed.has(name)) continue;
    if (sums === undefined)
      throw fail('ARCHIVE_FILE_MISSING', `file missing for "${name}": the archive has no SHA256SUMS`);
    throw fail('ARCHIVE_HASH_MISMATCH', `file missing for "${name}": SHA256SUMS does not list it`);
  }
  // A file that is absent and listed with the hash of nothing passes HashiCorp's check; it is still not there.
  for (const name of hashes.keys()) {
    if (!present.has(name))
      throw fail('ARCHIVE_FILE_MISSING', `file missing for "${name}": the archive has no such file`);
  }
}

function fail(
  code: 'ARCHIVE_SUMS_INVALID' | 'ARCHIVE_HASH_MISMATCH' | 'ARCHIVE_FILE_MISSING',
  problem: string,
): ArchiveError {
  return new ArchiveError(code, `failed checking integrity of snapshot: ${problem}`);
}
