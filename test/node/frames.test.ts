import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decodeMessage, encodeMessage, type WireMessage } from '../../src/node/codec.ts';
import { FrameError, FrameReader, frameHeaderBytes, frameOf, maxFrameBytes } from '../../src/node/frames.ts';
import { asIndex, asMemberId, asTerm, type ConfigurationChange, type Proposal } from '../../src/raft/types.ts';

const seeded = { seed: 20261122, numRuns: 300 };
const from = asMemberId('a1');
const to = asMemberId('b2');

function read(chunks: Iterable<Buffer>): Buffer[] {
  const payloads: Buffer[] = [];
  const reader = new FrameReader((payload) => payloads.push(Buffer.from(payload)));
  for (const chunk of chunks) reader.push(Buffer.from(chunk));
  return payloads;
}

describe('frames', () => {
  test('come out as they went in, however the stream is cut', () => {
    const payloads = fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 8 });
    fc.assert(
      fc.property(payloads, fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1 }), (list, cuts) => {
        const stream = Buffer.concat(list.map(frameOf));
        const chunks: Buffer[] = [];
        for (let at = 0, i = 0; at < stream.length; i++) {
          const size = cuts[i % cuts.length]!;
          chunks.push(stream.subarray(at, at + size));
          at += size;
        }
        expect(read(chunks).map((payload) => [...payload])).toEqual(list.map((payload) => [...payload]));
      }),
      seeded,
    );
  });

  test('a changed byte anywhere is noticed or swallows the rest, and never yields another payload', () => {
    const stream = Buffer.concat([frameOf(Buffer.from('first')), frameOf(Buffer.from('second'))]);
    for (let at = 0; at < stream.length; at++) {
      const damaged = Buffer.from(stream);
      damaged[at]! ^= 0x40;
      let payloads: string[] = [];
      try {
        payloads = read([damaged]).map(String);
      } catch (error) {
        expect(error).toBeInstanceOf(FrameError);
      }
      for (const payload of payloads) expect(['first', 'second']).toContain(payload);
    }
  });

  test('a length beyond the limit, and an empty frame, are refused before memory is taken', () => {
    for (const length of [0, maxFrameBytes + 1, 0xffffffff]) {
      const header = Buffer.alloc(frameHeaderBytes);
      header.writeUInt32LE(length);
      expect(() => read([header])).toThrow(FrameError);
    }
  });
});

const u53 = fc.oneof(fc.integer({ min: 0, max: 1000 }), fc.maxSafeNat());
const index = u53.map(asIndex);
const term = u53.map(asTerm);
const ids = fc.array(u53, { maxLength: 5 });
const data = fc.uint8Array({ maxLength: 40 });
const position = fc.option(fc.integer({ min: 1 }).map(asIndex), { nil: null });
const envelope = { from: fc.constant(from), to: fc.constant(to), term };

const member = fc.constantFrom('1', '8e9e05c52164694d').map(asMemberId);
const suffrage = fc.constantFrom('voter' as const, 'learner' as const, 'none' as const);
const change: fc.Arbitrary<ConfigurationChange> = fc.oneof(
  fc.record({ type: fc.constant('single' as const), member, suffrage }),
  fc.record({
    type: fc.constant('joint' as const),
    changes: fc.array(fc.record({ member, suffrage }), { maxLength: 3 }),
    autoLeave: fc.boolean(),
  }),
  fc.constant({ type: 'leaveJoint' as const }),
);
const proposal: fc.Arbitrary<Proposal> = fc.oneof(
  fc.record({ kind: fc.constant('normal' as const), id: u53, data }),
  fc.record({ kind: fc.constant('change' as const), id: u53, change, context: fc.string() }),
);

const append = fc
  .record({
    ...envelope,
    type: fc.constant('append' as const),
    prevIndex: fc.nat().map(asIndex),
    prevTerm: term,
    commit: index,
    bodies: fc.array(
      fc.record({ term, kind: fc.constantFrom('normal' as const, 'noop' as const, 'configuration' as const), data }),
      { maxLength: 5 },
    ),
  })
  .map(({ bodies, ...message }) => ({
    ...message,
    entries: bodies.map((body, i) => ({ ...body, index: asIndex(message.prevIndex + 1 + i) })),
  }));

const message: fc.Arbitrary<WireMessage> = fc.oneof(
  append,
  fc.record({
    ...envelope,
    type: fc.constant('appendResponse' as const),
    accepted: fc.boolean(),
    index,
    hintIndex: index,
    hintTerm: term,
  }),
  fc.record({ ...envelope, type: fc.constant('heartbeat' as const), commit: index, round: u53 }),
  fc.record({ ...envelope, type: fc.constant('heartbeatResponse' as const), round: u53 }),
  fc.record({ ...envelope, type: fc.constant('commit' as const), commit: index }),
  fc.record({
    ...envelope,
    type: fc.constant('vote' as const),
    preVote: fc.boolean(),
    transfer: fc.boolean(),
    lastIndex: index,
    lastTerm: term,
  }),
  fc.record({ ...envelope, type: fc.constant('voteResponse' as const), preVote: fc.boolean(), granted: fc.boolean() }),
  fc.record({
    ...envelope,
    type: fc.constant('propose' as const),
    proposals: fc.array(proposal, { maxLength: 4 }),
  }),
  fc.record({
    ...envelope,
    type: fc.constant('proposeResponse' as const),
    ids,
    firstIndex: position,
    reason: fc.constantFrom(null, 'noLeader' as const, 'notLeader' as const, 'changePending' as const),
  }),
  fc.record({ ...envelope, type: fc.constant('timeoutNow' as const) }),
  fc.record({ ...envelope, type: fc.constant('readIndex' as const), ids }),
  fc.record({ ...envelope, type: fc.constant('readIndexResponse' as const), ids, index: position }),
);

/** Bytes as arrays, whatever class they come in. */
function plain(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return [...(value as Uint8Array)];
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plain(one)]));
}

describe('messages', () => {
  test('of every kind come out as they went in', () => {
    fc.assert(
      fc.property(message, (one) => {
        const [payload] = read([encodeMessage(one)]);
        expect(plain(decodeMessage(payload!, from, to))).toEqual(plain(one));
      }),
      seeded,
    );
  });

  test('random bytes, and messages cut or lengthened, are refused and nothing else happens', () => {
    const refused = (payload: Buffer): void => {
      try {
        decodeMessage(payload, from, to);
      } catch (error) {
        expect(error).toBeInstanceOf(FrameError);
      }
    };
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 80 }), (bytes) => refused(Buffer.from(bytes))),
      seeded,
    );
    fc.assert(
      fc.property(message, fc.nat(), (one, cut) => {
        const [payload] = read([encodeMessage(one)]);
        const shorter = payload!.subarray(0, cut % payload!.length);
        if (shorter.length > 0) expect(() => decodeMessage(Buffer.from(shorter), from, to)).toThrow(FrameError);
        expect(() => decodeMessage(Buffer.concat([payload!, Buffer.of(0)]), from, to)).toThrow(FrameError);
      }),
      seeded,
    );
  });
});
