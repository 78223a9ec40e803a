import { exactJson } from './json.ts';
import { ArchiveError, type ArchiveFacts, type ArchiveMeta, type ArchiveServer, type Suffrage } from './types.ts';

/** `meta.json` and back. HashiCorp's readers refuse one of 8192 bytes and more (NS-22), so none is written. */
export const metaLimit = 8192;

const suffrages: readonly Suffrage[] = ['voter', 'nonvoter', 'staging'];
const uint64Limit = 2n ** 64n;

/** Compact JSON and a newline (NS-14), the fields in HashiCorp's order. */
export function encodeMeta(meta: ArchiveMeta): Uint8Array {
  const { servers } = meta.configuration;
  const text = JSON.stringify({
    Version: meta.version,
    ID: meta.id,
    Index: digits(meta.index, 'Index'),
    Term: digits(meta.term, 'Term'),
    Peers: Buffer.from(meta.peers ?? encodePeers(servers)).toString('base64'),
    Configuration: {
      Servers: servers.map((s) => ({ Suffrage: suffrages.indexOf(s.suffrage), ID: s.id, Address: s.address })),
    },
    ConfigurationIndex: digits(meta.configurationIndex, 'ConfigurationIndex'),
    Size: meta.size,
    ...(meta.raftsman === undefined ? {} : { Raftsman: meta.raftsman }),
  });
  const bytes = Buffer.from(`${text}\n`);
  if (meta.version !== 1) throw unsupported(meta.version);
  if (!Number.isSafeInteger(meta.size) || meta.size < 0) throw invalid(`Size is ${meta.size}, not a number of bytes`);
  if (bytes.length >= metaLimit) {
    throw new ArchiveError(
      'ARCHIVE_FILE_TOO_LARGE',
      `meta.json would have ${bytes.length} bytes, and readers refuse it from ${metaLimit} on: shorten the names of the ${servers.length} servers`,
    );
  }
  return bytes;
}

export function decodeMeta(bytes: Uint8Array): ArchiveMeta {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes), exactNumbers as () => unknown);
  } catch (cause) {
    throw new ArchiveError('ARCHIVE_META_INVALID', `meta.json is not JSON: ${(cause as Error).message}`, { cause });
  }
  const meta = fields(parsed, 'meta.json');
  const version = Number(uint64(meta, 'Version'));
  if (version > 1) throw unsupported(version);
  const peers = meta.get('peers');
  if (peers !== undefined && peers !== null && typeof peers !== 'string') throw invalid('Peers is not base64');
  const facts = meta.get('raftsman');
  return {
    version,
    id: string(meta, 'ID'),
    index: uint64(meta, 'Index'),
    term: uint64(meta, 'Term'),
    ...(typeof peers === 'string' ? { peers: new Uint8Array(Buffer.from(peers, 'base64')) } : {}),
    configuration: { servers: decodeServers(meta.get('configuration')) },
    configurationIndex: uint64(meta, 'ConfigurationIndex'),
    size: safe(meta, 'Size'),
    ...(facts === undefined || facts === null ? {} : { raftsman: decodeFacts(facts) }),
  };
}

function decodeServers(configuration: unknown): ArchiveServer[] {
  if (configuration === undefined || configuration === null) return [];
  const servers = fields(configuration, 'Configuration').get('servers') ?? [];
  if (!Array.isArray(servers)) throw invalid('Configuration.Servers is not a list');
  return servers.map((item: unknown) => {
    const server = fields(item, 'Configuration.Servers');
    const suffrage = suffrages[Number(uint64(server, 'Suffrage'))];
    if (suffrage === undefined) throw invalid('Suffrage is none of 0, 1 and 2');
    return { suffrage, id: string(server, 'ID'), address: string(server, 'Address') };
  });
}

function decodeFacts(value: unknown): ArchiveFacts {
  const facts = fields(value, 'Raftsman');
  return {
    engine: string(facts, 'engine'),
    engineVersion: string(facts, 'engineVersion'),
    clusterId: string(facts, 'clusterId'),
    cluster: string(facts, 'cluster'),
    revision: safe(facts, 'revision'),
    keys: safe(facts, 'keys'),
    hash: string(facts, 'hash'),
    createdAt: string(facts, 'createdAt'),
  };
}

/** The deprecated peer list (HR-04): MessagePack, an array of the voters' addresses as raw bytes. */
function encodePeers(servers: readonly ArchiveServer[]): Uint8Array {
  const addresses = servers.filter((s) => s.suffrage === 'voter').map((s) => Buffer.from(s.address));
  const head = (size: number, small: number, smallLimit: number, wide: number): Buffer => {
    if (size < smallLimit) return Buffer.from([small | size]);
    return Buffer.from([wide, size >> 8, size & 0xff]);
  };
  return Buffer.concat([
    head(addresses.length, 0x90, 16, 0xdc),
    ...addresses.flatMap((address) => [head(address.length, 0xa0, 32, 0xda), address]),
  ]);
}

/** Keeps integers exact that a double cannot hold. */
function exactNumbers(_key: string, value: unknown, context: { source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
  return context.source !== undefined && /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
}

/** Go decodes field names without regard to case; so do we. */
type Fields = ReadonlyMap<string, unknown>;

function fields(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(`${what} is not an object`);
  return new Map(Object.entries(value).map(([key, field]) => [key.toLowerCase(), field]));
}

function string(from: Fields, name: string): string {
  const value = from.get(name.toLowerCase()) ?? '';
  if (typeof value !== 'string') throw invalid(`${name} is not a string`);
  return value;
}

function uint64(from: Fields, name: string): bigint {
  const value = from.get(name.toLowerCase()) ?? 0;
  const whole = typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value));
  const exact = whole ? BigInt(value) : -1n;
  if (exact < 0n || exact >= uint64Limit) throw invalid(`${name} is ${String(value)}, not an unsigned 64-bit integer`);
  return exact;
}

function safe(from: Fields, name: string): number {
  const value = uint64(from, name);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid(`${name} is ${value}, above 2^53 − 1`);
  return Number(value);
}

function digits(value: bigint, name: string): unknown {
  if (value < 0n || value >= uint64Limit) throw invalid(`${name} is ${value}, not an unsigned 64-bit integer`);
  return exactJson(value);
}

function invalid(problem: string): ArchiveError {
  return new ArchiveError('ARCHIVE_META_INVALID', `meta.json: ${problem}`);
}

function unsupported(version: number): ArchiveError {
  return new ArchiveError(
    'ARCHIVE_VERSION_UNSUPPORTED',
    `unsupported snapshot version ${version}: this reader knows 0 and 1`,
  );
}
