import { describe, expect, test } from '@jest/globals';
import { Tracker, terminationMessage } from '../../src/jobs/report.ts';
import { type ArchiveResult, parseOutcome, parseProgress } from '../../src/jobs/result.ts';

const result: ArchiveResult = {
  key: 'ns/a.tar.gz',
  index: 17,
  term: 2,
  sizeBytes: 100,
  checksum: 'sha-256=x',
  revision: 12,
  keys: 9,
  hash: '00c0ffee',
  engine: 'Embedded',
  engineVersion: '0.1.0',
  clusterId: 'cd',
  cluster: 'demo',
};

describe('what a job tells', () => {
  test('every outcome is read back from its termination message', () => {
    const foreign: ArchiveResult = { key: 'k', index: 1, term: 1, sizeBytes: 1, checksum: 'c' };
    for (const outcome of [result, foreign, { key: 'k' }, { error: { code: 'X', message: 'why', permanent: true } }]) {
      expect(parseOutcome(terminationMessage(outcome))).toEqual(outcome);
    }
  });

  test('what is no outcome is none', () => {
    for (const message of [
      undefined,
      '',
      'Killed',
      '{',
      '[]',
      '5',
      '{}',
      '{"error":{}}',
      '{"key":"k","checksum":"c"}',
    ]) {
      expect(parseOutcome(message)).toBeUndefined();
    }
  });

  test('a message of any length and any characters fits, and stays readable', () => {
    for (const letter of ['x', 'é', '"', '\u0001', '😀']) {
      const text = terminationMessage({ error: { code: 'X', message: letter.repeat(5000), permanent: false } });
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4096);
      expect(Buffer.byteLength(text)).toBeGreaterThan(3000);
      expect(parseOutcome(text)).toMatchObject({ error: { code: 'X' } });
    }
  });

  test('percent is whole, 100 only at the end, absent without a total', () => {
    const tracker = new Tracker();
    expect(tracker.progress).toEqual({ phase: 'Starting', bytes: 0 });
    tracker.at('Saving', 10);
    expect(tracker.progress).toEqual({ phase: 'Saving', bytes: 10 });
    tracker.at('Saving', 1, 3);
    expect(tracker.progress).toEqual({ phase: 'Saving', bytes: 1, totalBytes: 3, percent: 33 });
    tracker.at('Checking', 3, 3);
    expect(tracker.progress.percent).toBe(99);
    tracker.done();
    expect(tracker.progress).toEqual({ phase: 'Done', bytes: 3, totalBytes: 3, percent: 100 });
    expect(parseProgress(JSON.stringify(tracker.progress))).toEqual(tracker.progress);
    expect(parseProgress('no')).toBeUndefined();
  });
});
