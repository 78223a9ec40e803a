import { describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { controlOf } from '../../src/node/channel.ts';
import { decodeMessage, encodeMessage, type WireMessage } from '../../src/node/codec.ts';
import { FrameError, FrameReader, frameHeaderBytes, frameOf, maxFrameBytes } from '../../src/node/frames.ts';
import { parseHello } from '../../src/node/hello.ts';
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

  test('a length claims little memory before its bytes have come, and what has come costs at most double', () => {
    const sizes: number[] = [];
    const allocate = jest.spyOn(Buffer, 'allocUnsafe');
    try {
      const header = Buffer.alloc(frameHeaderBytes);
      header.writeUInt32LE(maxFrameBytes);
      const reader = new FrameReader(() => {});
      let arrived = header.length;
      reader.push(header);
      for (let i = 0; i < 40; i++) {
        const chunk = Buffer.alloc(256 << 10);
        arrived += chunk.length;
        allocate.mockClear();
        reader.push(chunk);
        for (const [size] of allocate.mock.calls) {
          sizes.push(size);
          expect(size).toBeLessThanOrEqual(Math.max(2 << 20, 2 * arrived));
        }
      }
      expect(sizes.length).toBeGreaterThan(2);
    } finally {
      allocate.mockRestore();
    }
  });

  test('any bytes in any pieces, and good frames with any bytes changed: whole payloads that were sent, then at most a FrameError', () => {
    const frames = fc.array(fc.uint8Array({ minLength: 1, maxLength: 60 }), { maxLength: 4 });
    const change = fc.tuple(fc.nat(400), fc.integer({ min: 1, max: 255 }));
    const cuts = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(
        frames,
        fc.array(change, { maxLength: 3 }),
        fc.uint8Array({ maxLength: 40 }),
        cuts,
        (list, changes, more, pieces) => {
          const stream = Buffer.concat([...list.map(frameOf), more]);
          for (const [at, by] of changes) if (at < stream.length) stream[at]! ^= by;
          const sent = list.map((payload) => Buffer.from(payload).toString('hex'));
          const reader = new FrameReader((payload) => got.push(payload.toString('hex')));
          const got: string[] = [];
          try {
            for (let at = 0, i = 0; at < stream.length; at += pieces[i++ % pieces.length]!) {
              reader.push(Buffer.from(stream.subarray(at, at + pieces[i % pieces.length]!)));
            }
          } catch (error) {
            expect(error).toBeInstanceOf(FrameError);
          }
          expect(sent.slice(0, got.length)).toEqual(got);
        },
      ),
      { ...seeded, numRuns: 2000 },
    );
  });

  test('before a greeting only what a greeting needs is taken', () => {
    const reader = new FrameReader(() => {}, 100);
    reader.push(frameOf(new Uint8Array(100)));
    expect(() => reader.push(frameOf(new Uint8Array(101)))).toThrow(FrameError);
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
  fc.record(
    { kind: fc.constant('change' as const), id: u53, change, context: fc.string(), basedOn: u53.map(asIndex) },
    { requiredKeys: ['kind', 'id', 'change', 'context'] },
  ),
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

/** Whether these bytes decode; anything but a FrameError is a failure. */
function decodes(payload: Buffer): boolean {
  try {
    decodeMessage(payload, from, to);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(FrameError);
    return false;
  }
}

describe('messages', () => {
  test('with any bytes changed are refused, or say something that can be said: what was decoded encodes to the same bytes', () => {
    const change = fc.tuple(fc.nat(200), fc.integer({ min: 1, max: 255 }));
    fc.assert(
      fc.property(message, fc.array(change, { minLength: 1, maxLength: 3 }), (one, changes) => {
        const payload = Buffer.from(read([encodeMessage(one)])[0]!);
        for (const [at, by] of changes) payload[at % payload.length]! ^= by;
        if (!decodes(payload)) return;
        const said = decodeMessage(payload, from, to);
        const again = read([encodeMessage(said)])[0]!;
        // A configuration change is JSON, which has many forms.
        if (!('proposals' in said)) expect(again.equals(payload)).toBe(true);
        expect(plain(decodeMessage(again, from, to))).toEqual(plain(said));
      }),
      { ...seeded, numRuns: 3000 },
    );
  });

  test('a configuration change that is no JSON object, or no change, is refused', () => {
    const good = encodeMessage({
      type: 'propose',
      from,
      to,
      term: asTerm(1),
      proposals: [{ kind: 'normal', id: 1, data: Buffer.from('') }],
    });
    const asChange = (body: string): Buffer => {
      const bytes = Buffer.from(body);
      const payload = Buffer.concat([good.subarray(frameHeaderBytes), bytes]);
      payload[payload.length - bytes.length - 5] = 1;
      payload.writeUInt32LE(bytes.length, payload.length - bytes.length - 4);
      return payload;
    };
    expect(decodes(asChange('{"change":{"type":"leaveJoint"},"context":""}'))).toBe(true);
    for (const body of [
      'null',
      '1',
      '"x"',
      '[]',
      '{',
      '{}',
      '{"change":null,"context":""}',
      '{"change":{"type":"leaveJoint"}}',
      '{"change":{"type":"leaveJoint"},"context":"","basedOn":-1}',
      '{"change":{"type":"leaveJoint"},"context":"","basedOn":null}',
    ])
      expect([body, decodes(asChange(body))]).toEqual([body, false]);
    fc.assert(
      fc.property(fc.json(), (body) => expect(decodes(asChange(body))).toBe(false)),
      seeded,
    );
  });

  test('data that would fit into no frame or log record on its way onward is refused', () => {
    const size = maxFrameBytes - 1024;
    const sent = (length: number): Buffer =>
      encodeMessage({
        type: 'propose',
        from,
        to,
        term: asTerm(1),
        proposals: [{ kind: 'normal', id: 1, data: new Uint8Array(length) }],
      });
    expect(decodes(sent(size).subarray(frameHeaderBytes))).toBe(true);
    expect(decodes(sent(size + 1).subarray(frameHeaderBytes))).toBe(false);
    const entry = { term: asTerm(1), index: asIndex(1), kind: 'normal' as const, data: new Uint8Array(size) };
    const onward = encodeMessage({
      type: 'append',
      from,
      to,
      term: asTerm(1),
      prevIndex: asIndex(0),
      prevTerm: asTerm(0),
      commit: asIndex(0),
      entries: [entry],
    });
    expect(onward.length - frameHeaderBytes).toBeLessThanOrEqual(maxFrameBytes);
  });

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

describe('greetings', () => {
  const good = {
    protocol: 1,
    version: '1',
    clusterId: 'c1',
    from: 'a1',
    to: 'b2',
    purpose: 'messages',
    name: 'n',
    peerUrls: ['http://h:1'],
  };

  test('anything else is refused with a FrameError, and what is taken is short and plain', () => {
    const value = fc.oneof(
      fc.anything(),
      fc.string({ maxLength: 300 }),
      fc.constantFrom(...Object.values(good), 'join'),
    );
    const control = fc.oneof(
      fc.dictionary(fc.constantFrom(...Object.keys(good)), value),
      fc.tuple(fc.constantFrom(...Object.keys(good)), value).map(([key, one]) => ({ ...good, [key]: one })),
    );
    fc.assert(
      fc.property(control, (one) => {
        try {
          const hello = parseHello(one as Record<string, unknown>);
          const names = hello.purpose === 'join' ? [] : [hello.clusterId, hello.from, hello.to];
          expect(names.every((id) => /^[0-9a-f]{1,16}$/.test(id))).toBe(true);
          expect(JSON.stringify(hello).length).toBeLessThan(3000);
          expect(hello.version.length).toBeLessThanOrEqual(100);
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError);
        }
      }),
      { ...seeded, numRuns: 2000 },
    );
    const { name, ...meeting } = good;
    expect(parseHello(good)).toEqual(meeting);
  });

  test('a control frame of any bytes is an object or refused', () => {
    const opened = fc
      .oneof(
        fc.uint8Array({ maxLength: 60 }),
        fc.json().map((json) => Buffer.from(json)),
      )
      .map((bytes) => Buffer.concat([Buffer.from('{'), bytes]));
    const deep = Buffer.from(`${'{"a":'.repeat(12_000)}1${'}'.repeat(12_000)}`);
    fc.assert(
      fc.property(opened, (payload) => {
        try {
          expect(typeof controlOf(payload)).toBe('object');
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError);
        }
      }),
      { ...seeded, examples: [[deep]] },
    );
    expect(controlOf(Buffer.from([1, 2]))).toBeUndefined();
  });
});
