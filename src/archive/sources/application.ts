/** Bytes that `applicationOf` looks at. */
export const applicationBytes = 32;

/**
 * Whose state it is, where its head proves it. Both begin with a header in MessagePack: Consul's a map with LastIndex
 * alone; Nomad's an empty map, then record type 5, its time table, a list of maps of two that begin with Index. Anything
 * else could be anybody's.
 */
export function applicationOf(head: Uint8Array): 'Consul' | 'Nomad' | 'HashicorpRaft' {
  const text = Buffer.from(head).toString('latin1');
  if (text.startsWith('\x81\xa9LastIndex')) return 'Consul';
  if (text.startsWith('\x80\x05') && text.startsWith('\x82\xa5Index', 2 + listHead(head[2] ?? 0))) return 'Nomad';
  return 'HashicorpRaft';
}

/** Bytes of a list's head in MessagePack; of what is no list, the shortest's. */
function listHead(byte: number): number {
  if (byte === 0xdc) return 3;
  return byte === 0xdd ? 5 : 1;
}
