import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, jest, test } from '@jest/globals';
import Reporter from '../reporter.ts';
import { ids, idsIn, isKnown, placesOf, proofs, report, testFiles } from './conformance.ts';
import { isWhole, type Run, unproven } from './coverage.ts';

const root = resolve(import.meta.dirname, '../..');

describe('every statement and the tests', () => {
  const all = proofs();

  test('each has a test that names it', () => {
    const named = new Set(all.flatMap((proof) => proof.ids));
    expect(ids.filter((id) => !named.has(id))).toEqual([]);
  });

  test('no title names one that does not exist', () => {
    const unknown = all.flatMap(({ file, title, ids: named }) =>
      named.filter((id) => !isKnown(id)).map((id) => `${file}: ${id} in ${title}`),
    );
    expect(unknown).toEqual([]);
  });

  test('each lives in a file that exists', () => {
    const places = placesOf();
    expect(ids.filter((id) => places.get(id)!.length === 0)).toEqual([]);
    expect([...new Set([...places.values()].flat())].filter((file) => !existsSync(join(root, file)))).toEqual([]);
  });

  test('the divergences name none that does not exist', () => {
    expect(idsIn(readFileSync(join(root, 'docs/divergence.md'), 'utf8')).filter((id) => !isKnown(id))).toEqual([]);
  });

  test('the document has a row for each, with what proves it', () => {
    const text = report([{ file: 'test/raft/x.test.ts', title: 'a | b › GR-08 D3 <c>', ids: ['GR-08', 'D3'] }]);
    for (const id of ids) expect(text).toContain(`\n| ${id} | `);
    expect(
      text.match(/\[raft\/x\.test\.ts\]\(\.\.\/test\/raft\/x\.test\.ts\): a \\\| b › GR-08 D3 &lt;c>/g),
    ).toHaveLength(2);
  });
});

test.each([
  ['HR-12 D12: at the threshold', ['HR-12', 'D12']],
  ['a leader (D1 D3), RS-01; NS-05, NS-05', ['D1', 'D3', 'RS-01', 'NS-05']],
  ['HR-99 is an id as well', ['HR-99']],
  ['SHA-256, UTF-8, CRC-32, D, 3D8, XD4 and HR- are none', []],
])('ids of %j', (title, expected) => {
  expect(idsIn(title)).toEqual(expected);
});

const result = (fullName: string, status = 'passed', testFilePath = '/a.test.ts') => ({
  testFilePath,
  testResults: [{ fullName, status }],
});

/** A run in which each statement has a test of its own. */
const complete: Run = { testResults: ids.map((id) => result(`something ${id} does`)) };
const without = (id: string, ...more: Run['testResults']): Run => ({
  testResults: [
    ...complete.testResults.filter(({ testResults: [only] }) => !idsIn(only!.fullName).includes(id)),
    ...more,
  ],
});

describe('what a run proves', () => {
  test('is what its passed tests name', () => {
    expect(unproven(complete)).toEqual([]);
    expect(unproven(without('GR-08', result('GR-08', 'pending'), result('GR-08', 'failed')))).toEqual(['GR-08']);
    expect(unproven(without('GR-08', result('GR-08', 'failed'), result('D3 GR-08')))).toEqual([]);
  });

  test('has a meaning only when every file ran and no test was left out by its name', () => {
    const run = { testResults: [result('', 'passed', '/a'), result('', 'passed', '/b')] };
    expect(isWhole(run, ['/b', '/a'], undefined)).toBe(true);
    expect(isWhole(run, ['/a', '/b', '/c'], undefined)).toBe(false);
    expect(isWhole(run, ['/a'], 'HR-12')).toBe(false);
  });
});

describe('the last line of a run', () => {
  function lines(run: Run, config: object = {}): { readonly printed: string; readonly failed: boolean } {
    const printed: string[] = [];
    const write = jest.spyOn(process.stdout, 'write').mockImplementation((text) => printed.push(String(text)) > 0);
    try {
      const reporter = new Reporter({ rootDir: root, ...config });
      reporter.onRunComplete(new Set(), { ...run, numPassedTests: 7, numFailedTests: 1, numRuntimeErrorTestSuites: 1 });
      return { printed: printed.join(''), failed: reporter.getLastError() !== undefined };
    } finally {
      write.mockRestore();
    }
  }

  const everyFile = testFiles().map((file) => result('', 'passed', join(root, file)));

  test('of a part of the suite is the plain count', () => {
    expect(lines(complete)).toEqual({ printed: '\n7 passed, 2 failed\n', failed: false });
    expect(lines(without('D3', ...everyFile), { testNamePattern: 'D1' }).failed).toBe(false);
  });

  test('of the whole suite comes after how many statements were proven', () => {
    const total = ids.length;
    expect(lines({ testResults: [...complete.testResults, ...everyFile] })).toEqual({
      printed: `\nconformance: ${total} of ${total} statements proven\n\n7 passed, 2 failed\n`,
      failed: false,
    });
  });

  test('counts a statement that was not proven as a failure, and names it', () => {
    const { printed, failed } = lines(without('GR-08', ...everyFile, result('GR-08', 'pending')));
    expect(failed).toBe(true);
    expect(printed).toContain(`conformance: ${ids.length - 1} of ${ids.length} statements proven\n`);
    expect(printed).toContain('No test that names them passed: GR-08\n');
    expect(printed.endsWith('\n7 passed, 3 failed\n')).toBe(true);
  });
});
