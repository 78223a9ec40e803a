import { describe, expect, test } from '@jest/globals';
import { titlesIn } from './titles.ts';

const flat = (source: string) => titlesIn(source).map(({ within, title }) => [...within, title].join(' > '));

describe('titles of tests are read from their source', () => {
  test('with the titles of the describes around them', () => {
    expect(
      flat(`
        test('first', () => {});
        describe("outer", () => {
          describe('inner', () => { it('deep', async () => {}); });
          for (const n of [1, 2]) test('in a loop', () => n);
        });
        test('last', () => {});
      `),
    ).toEqual(['first', 'outer > inner > deep', 'outer > in a loop', 'last']);
  });

  test('from templates and sums, with a mark for what is computed', () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the source of one
    const templates = 'test(`${a}: D1, ${b} members`, f);';
    expect(flat(`${templates} test('one ' + 'two', f); test('n ' + n, f); test(name, f);`)).toEqual([
      '…: D1, … members',
      'one two',
      'n …',
    ]);
  });

  test('from tables, one for each row where the row names the test', () => {
    expect(flat("test.each([[1, 2]] as const)('HR-12 %i', f); test.each<Row>(rows)('%s', f);")).toEqual([
      'HR-12 %i',
      '%s',
    ]);
    expect(flat("test.each([['HR-21 a', 1], [`b`, 2], [c, 3]] as const)('%s fails', f)")).toEqual([
      'HR-21 a fails',
      'b fails',
      '… fails',
    ]);
    expect(flat("describe.each(['a', 'b'])('%s', () => test('c', f))")).toEqual(['a > c', 'b > c']);
  });

  test('but not those of tests that are skipped', () => {
    expect(
      flat(`
        test.skip('D1', f); test.todo('D2'); test.skip.each([1])('D3', f);
        describe.skip('D4', () => { test('D5', f); });
        test.only('kept', f);
      `),
    ).toEqual(['kept']);
  });

  test('and from nothing that only looks like one', () => {
    expect(
      flat(`
      // test('in a comment', f)
      const text = "test('in a string', f)";
      regex.test('not a test'); it.next('neither');
      contest('nor this');
    `),
    ).toEqual([]);
  });
});
