import { describe, expect, test } from '@jest/globals';
import { Addresses, Book, decodeContext, encodeContext, type MembershipAction } from '../../src/node/book.ts';
import { configurationOf } from '../../src/raft/configuration.ts';
import { encodeConfiguration } from '../../src/raft/membership.ts';
import { asIndex, asMemberId, asTerm } from '../../src/raft/types.ts';

const [a, b, c] = ['a', 'b', 'c'].map(asMemberId) as [
  ReturnType<typeof asMemberId>,
  ...ReturnType<typeof asMemberId>[],
];
const genesis = [
  { id: a, name: 'm0', peerUrls: ['http://a:1'] },
  { id: b!, name: 'm1', peerUrls: ['http://b:1'] },
];
const add: MembershipAction = { type: 'add', id: c!, peerUrls: ['http://c:1', 'http://c:2'], toVote: false };

describe('the book of members', () => {
  test('begins with the members of the cluster’s beginning, none of which has started', () => {
    const book = Book.of(genesis);
    expect([...book.members]).toEqual([
      ['a', { name: '', peerUrls: ['http://a:1'], clientUrls: [], toVote: true }],
      ['b', { name: '', peerUrls: ['http://b:1'], clientUrls: [], toVote: true }],
    ]);
    expect([book.hasStarted(a), book.hasStarted(c!)]).toEqual([false, false]);
  });

  test('follows what is done to members, and is the same after a snapshot', () => {
    const book = Book.of(genesis);
    book.perform(add);
    book.publish(c!, 'm2', ['http://c:3']);
    book.perform({ type: 'promote', id: c! });
    book.move(a, ['http://a:9']);
    book.perform({ type: 'remove', id: b! });
    // Too late: it must not come back.
    book.publish(b!, 'm1', []);
    const copy = Book.from(JSON.parse(JSON.stringify(book.attachment)), genesis);
    for (const one of [book, copy]) {
      expect(Object.fromEntries(one.members)).toEqual({
        a: { name: '', peerUrls: ['http://a:9'], clientUrls: [], toVote: true },
        c: { name: 'm2', peerUrls: ['http://c:1', 'http://c:2'], clientUrls: ['http://c:3'], toVote: true },
      });
      expect([one.wasRemoved(b!), one.wasRemoved(a), one.hasStarted(c!)]).toEqual([true, false, true]);
    }
  });

  test('GR-21 finds members by their addresses, and lets none move to another’s or come from nowhere', () => {
    const book = Book.of(genesis);
    book.perform(add);
    expect(book.withUrls(['http://c:2', 'http://c:1'])).toBe('c');
    expect(book.withUrls(['http://c:1'])).toBeUndefined();
    expect([book.sharesUrls(['http://c:1']), book.sharesUrls(['http://c:1'], c)]).toEqual([true, false]);
    expect(() => book.move(a, ['http://b:1'])).toThrow(expect.objectContaining({ code: 'ETCD_PEER_URL_EXISTS' }));
    expect(() => book.move(asMemberId('d'), ['http://d:1'])).toThrow(
      expect.objectContaining({ code: 'ETCD_MEMBER_NOT_FOUND' }),
    );
  });

  test('of an earlier version, which kept only names, is completed by the cluster’s beginning', () => {
    const book = Book.from({ members: { a: { name: 'm0', clientUrls: ['http://a:2'] } } }, genesis);
    expect(Object.fromEntries(book.members)).toEqual({
      a: { name: 'm0', peerUrls: ['http://a:1'], clientUrls: ['http://a:2'], toVote: true },
      b: { name: '', peerUrls: ['http://b:1'], clientUrls: [], toVote: true },
    });
    for (const attachment of [undefined, {}, { members: { 'not an id': {} } }])
      expect(() => Book.from(attachment, genesis)).toThrow(expect.objectContaining({ code: 'KV_SNAPSHOT_ATTACHMENT' }));
  });
});

describe('the context of a configuration entry', () => {
  test('comes back as it was, and what no member writes is nothing', () => {
    const context = { process: 7, sequence: 9, action: add };
    expect(decodeContext(encodeContext(context))).toEqual(context);
    for (const text of [
      '',
      '{',
      'null',
      '{"process":1,"sequence":2}',
      '{"process":1,"sequence":2,"action":{"type":"x","id":"a"}}',
    ])
      expect(decodeContext(text)).toBeUndefined();
    expect(decodeContext(encodeContext({ ...context, action: { ...add, peerUrls: ['nowhere'] } }))).toBeUndefined();
  });

  test('says where a new member is reached before its addition is applied', () => {
    const addresses = new Addresses();
    const data = encodeConfiguration(configurationOf([a]), encodeContext({ process: 1, sequence: 1, action: add }));
    addresses.learn([{ index: asIndex(1), term: asTerm(1), kind: 'configuration', data }]);
    expect(addresses.of(c!)).toEqual(['http://c:1', 'http://c:2']);
    expect(addresses.of(a)).toBeUndefined();
  });
});
