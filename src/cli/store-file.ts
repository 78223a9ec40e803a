import { readFile } from 'node:fs/promises';
import { parseAllDocuments } from 'yaml';
import { credentialsFrom, openStore, parseStoreSpec } from '../stores/open.ts';
import { type Store, StoreError } from '../stores/store.ts';

const kind = 'RaftSnapshotStore';

/** Opens the store of a manifest: the first RaftSnapshotStore in the file. System errors pass unchanged. */
export async function openStoreFile(
  place: { readonly manifest: string; readonly mount: string | undefined },
  env: Readonly<Record<string, string | undefined>>,
): Promise<Store> {
  const { manifest, mount } = place;
  const documents = parseAllDocuments(await readFile(manifest, 'utf8'));
  if (!Array.isArray(documents)) throw new StoreError('STORE_SPEC_INVALID', `${manifest} is empty`);
  for (const { errors } of documents) {
    const [problem] = errors;
    if (problem !== undefined) throw new StoreError('STORE_SPEC_INVALID', `${manifest}: ${problem.message}`);
  }
  const found = documents
    .map((document) => document.toJS() as unknown)
    .find((value): value is { spec?: unknown } => (value as { kind?: unknown } | null)?.kind === kind);
  if (found === undefined) throw new StoreError('STORE_SPEC_INVALID', `${manifest} has no ${kind}`);
  const credentials = credentialsFrom(env);
  return openStore(parseStoreSpec(found.spec), {
    ...(credentials === undefined ? {} : { credentials }),
    ...(mount === undefined ? {} : { volumeMount: mount }),
  });
}
