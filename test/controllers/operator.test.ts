import { describe, expect, test } from '@jest/globals';
import { OperatorUsageError, parseOperatorFlags } from '../../src/controllers/operator.ts';

const env = { RAFTSMAN_IMAGE: 'raftsman:dev' };

describe('the operator’s command line', () => {
  test('has defaults that suit a pod', () => {
    expect(parseOperatorFlags([], env)).toEqual({
      elect: true,
      httpAddress: ':8080',
      logFormat: 'json',
      logLevel: 'info',
      workers: 4,
      settings: { image: 'raftsman:dev', imagePullPolicy: 'IfNotPresent' },
    });
  });

  test('takes flags with = and with a space', () => {
    const argv = [
      '--watch-namespace',
      'team',
      '--leader-elect=false',
      '--http-address=',
      '--log-format',
      'text',
      '--workers=8',
    ];
    expect(parseOperatorFlags(argv, { ...env, RAFTSMAN_IMAGE_PULL_POLICY: 'Never' })).toEqual({
      namespace: 'team',
      elect: false,
      logFormat: 'text',
      logLevel: 'info',
      workers: 8,
      settings: { image: 'raftsman:dev', imagePullPolicy: 'Never' },
    });
    expect(parseOperatorFlags(['--leader-elect'], env)).toMatchObject({ elect: true });
  });

  test.each([
    [['--foo'], env, "Unknown option '--foo'"],
    [['foo'], env, "Unexpected argument 'foo'"],
    [['--workers=0'], env, '--workers: "0"'],
    [['--leader-elect=maybe'], env, '--leader-elect: "maybe" is not one of true, false'],
    [['--log-format=xml'], env, '--log-format: "xml"'],
    [['--http-address=8080'], env, '--http-address: "8080" is not HOST:PORT'],
    [['--watch-namespace=A_B'], env, '--watch-namespace: "A_B"'],
    [[], {}, 'RAFTSMAN_IMAGE is not set'],
    [[], { ...env, RAFTSMAN_IMAGE_PULL_POLICY: 'Sometimes' }, 'RAFTSMAN_IMAGE_PULL_POLICY: "Sometimes"'],
    [[], { ...env, RAFTSMAN_ETCD_REPOSITORY: 'etcd:v3.6.8' }, 'RAFTSMAN_ETCD_REPOSITORY: "etcd:v3.6.8"'],
  ])('%j is refused in one line', (argv, environment, words) => {
    const parse = () => parseOperatorFlags(argv, environment as Record<string, string>);
    expect(parse).toThrow(OperatorUsageError);
    expect(parse).toThrow(words);
    try {
      parse();
    } catch (error) {
      expect((error as Error).message).not.toContain('\n');
    }
  });
});
