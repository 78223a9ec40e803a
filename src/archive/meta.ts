import { exactJson, JsonFields, parseJson, uint64Limit } from './json.ts';
import { ArchiveError, type ArchiveFacts, type ArchiveMeta, type ArchiveServer, type Suffrage } from './types.ts';

/** `meta.json` and back. HashiCorp's readers refuse one of 8192 bytes and more (NS-22), so none is written. */
export const metaLimit = 8192;

const suffrages: readonly Suffrage[] = ['voter', 'nonvoter', 'staging'];

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
    parsed = parseJson(bytes);
  } catch (cause) {
    throw new ArchiveError('ARCHIVE_META_INVALID', `meta.json is not JSON: ${(cause as Error).message}`, { cause });
  }
  return metaOf(new JsonFields(parsed, 'meta.json', invalid));
}

/** HashiCorp's snapshot metadata, wherever it was found. */
export function metaOf(fields: JsonFields): ArchiveMeta {
  const version = Number(fields.uint64('Version'));
  if (version > 1) throw unsupported(version);
  const peers = fields.base64('Peers');
  const facts = fields.get('Raftsman');
  return {
    version,
    id: fields.string('ID'),
    index: fields.uint64('Index'),
    term: fields.uint64('Term'),
    ...(peers === undefined ? {} : { peers }),
    configuration: { servers: decodeServers(fields.get('Configuration')) },
    configurationIndex: fields.uint64('ConfigurationIndex'),
    size: fields.safe('Size'),
    ...(facts === undefined ? {} : { raftsman: decodeFacts(facts) }),
  };
}

function decodeServers(configuration: unknown): ArchiveServer[] {
  if (configuration === undefined) return [];
  return new JsonFields(configuration, 'Configuration', invalid).list('Servers').map((item) => {
    const server = new JsonFields(item, 'Configuration.Servers', invalid);
    const suffrage = suffrages[Number(server.uint64('Suffrage'))];
    if (suffrage === undefined) throw invalid('Suffrage is none of 0, 1 and 2');
    return { suffrage, id: server.string('ID'), address: server.string('Address') };
  });
}

function decodeFacts(value: unknown): ArchiveFacts {
  const facts = new JsonFields(value, 'Raftsman', invalid);
  const engine = facts.string('engine');
  if (facts.get('convertedFrom') !== undefined) {
    return { engine, convertedFrom: facts.string('convertedFrom'), convertedAt: facts.string('convertedAt') };
  }
  return {
    engine,
    engineVersion: facts.string('engineVersion'),
    clusterId: facts.string('clusterId'),
    cluster: facts.string('cluster'),
    revision: facts.safe('revision'),
    keys: facts.safe('keys'),
    hash: facts.string('hash'),
    createdAt: facts.string('createdAt'),
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

/** The peers of version 0, which has no configuration: voters all, whose addresses are their ids. */
export function decodePeers(bytes: Uint8Array): ArchiveServer[] {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (size: number): number => {
    at += size;
    if (at > view.length) throw invalid('Peers ends in the middle');
    return at - size;
  };
  const length = (sizes: Readonly<Record<number, number>>, small: number, smallLimit: number): number => {
    const head = view.readUInt8(take(1));
    if (head >= small && head < small + smallLimit) return head - small;
    const wide = sizes[head];
    if (wide === undefined) throw invalid('Peers is not a list of addresses');
    return view.readUIntBE(take(wide), wide);
  };
  const servers: ArchiveServer[] = [];
  for (let left = length({ 220: 2, 221: 4, 192: 0 }, 0x90, 16); left > 0; left--) {
    const size = length({ 217: 1, 218: 2, 219: 4, 196: 1, 197: 2, 198: 4 }, 0xa0, 32);
    const from = take(size);
    const address = view.toString('utf8', from, at);
    servers.push({ suffrage: 'voter', id: address, address });
  }
  if (at < view.length) throw invalid('bytes follow the end of Peers');
  return servers;
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
