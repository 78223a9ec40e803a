/**
 * The answer to the one call that is made tens of thousands of times a second, encoded by hand: the generated code
 * takes every 64-bit number through a BigInt, and the ids through a string as well.
 */
import { PutResponse } from './gen/rpc.ts';

const tag = { header: 10, revision: 24, raftTerm: 32 } as const;
const longestVarint = 8;

let encodedIds = { clusterId: '', memberId: '', bytes: new Uint8Array(0) };

/** Cluster and member id as protobuf: the same for every answer of a process. */
function idBytes(clusterId: string, memberId: string): Uint8Array {
  if (clusterId !== encodedIds.clusterId || memberId !== encodedIds.memberId) {
    const header = { clusterId, memberId, revision: 0, raftTerm: 0 };
    // The two bytes before are the field's tag and length.
    const bytes = PutResponse.encode({ header, prevKv: undefined }).finish().slice(2);
    encodedIds = { clusterId, memberId, bytes };
  }
  return encodedIds.bytes;
}

function writeVarint(bytes: Buffer, at: number, value: number): number {
  let rest = value;
  while (rest > 0x7fffffff) {
    bytes[at++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  while (rest > 127) {
    bytes[at++] = (rest & 127) | 128;
    rest >>>= 7;
  }
  bytes[at++] = rest;
  return at;
}

export function encodePutResponse(response: PutResponse): Uint8Array {
  const { header } = response;
  if (response.prevKv !== undefined || header === undefined || header.revision <= 0 || header.raftTerm <= 0) {
    return PutResponse.encode(response).finish();
  }
  const ids = idBytes(header.clusterId, header.memberId);
  const bytes = Buffer.allocUnsafe(2 + ids.length + 2 * (1 + longestVarint));
  bytes.set(ids, 2);
  let at = 2 + ids.length;
  bytes[at++] = tag.revision;
  at = writeVarint(bytes, at, header.revision);
  bytes[at++] = tag.raftTerm;
  at = writeVarint(bytes, at, header.raftTerm);
  bytes[0] = tag.header;
  // Two ids and two numbers are at most 40 bytes: the length is one byte.
  bytes[1] = at - 2;
  return bytes.subarray(0, at);
}
