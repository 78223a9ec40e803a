import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { PodTemplate } from '../../../src/api/cluster.ts';
import { placement } from '../../../src/controllers/cluster/placement.ts';
import { mayBeEvicted, networkPolicySpec } from '../../../src/controllers/cluster/protection.ts';

const quorum = (voters: number) => Math.floor(voters / 2) + 1;

describe('how many members may be evicted at once', () => {
  test.each([
    [1, 1],
    [2, 1],
    [3, 1],
    [4, 1],
    [5, 2],
    [7, 3],
    [9, 4],
  ])('of %i at rest: %i', (voters, evicted) => {
    expect(mayBeEvicted(voters, voters)).toBe(evicted);
  });

  test('a hibernated cluster keeps its budget, so that it has one the moment it wakes', () => {
    expect(mayBeEvicted(5, 0)).toBe(2);
  });

  test('while members come and go, never so many that the voters of now or of the next step lose their quorum', () => {
    const sizes = fc.integer({ min: 1, max: 9 });
    fc.assert(
      fc.property(sizes, sizes, (voters, asked) => {
        fc.pre(voters !== asked);
        const next = voters + Math.sign(asked - voters);
        const evicted = mayBeEvicted(voters, asked);
        expect(voters - evicted).toBeGreaterThanOrEqual(quorum(voters));
        expect(next - evicted).toBeGreaterThanOrEqual(quorum(next));
      }),
      { seed: 20261122 },
    );
  });

  test.each([
    [3, 1, 0],
    [1, 3, 0],
    [5, 3, 1],
    [3, 5, 1],
  ])('on the way from %i to %i: %i', (voters, asked, evicted) => {
    expect(mayBeEvicted(voters, asked)).toBe(evicted);
  });
});

describe('the NetworkPolicy of the members', () => {
  const rules = (...given: Parameters<typeof networkPolicySpec>) =>
    networkPolicySpec(...given)['ingress'] as { from?: unknown[]; ports: { port: number }[] }[];
  const fromOf = (port: number, ...given: Parameters<typeof networkPolicySpec>) =>
    rules(...given).find(({ ports }) => ports.some((one) => one.port === port))?.from;

  test('peers come from members of the same cluster alone, whatever clients are allowed', () => {
    const everyone = [{ namespaceSelector: {} }];
    for (const clients of [undefined, [], everyone])
      expect(fromOf(2380, 'c', clients, 'system')).toEqual([
        {
          podSelector: {
            matchLabels: {
              'app.kubernetes.io/name': 'raftsman',
              'app.kubernetes.io/instance': 'c',
              'app.kubernetes.io/component': 'member',
            },
          },
        },
      ]);
  });

  const own = { podSelector: { matchLabels: { 'raftsman.dev/cluster': 'c' } } };
  const operator = {
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'system' } },
    podSelector: { matchLabels: { 'app.kubernetes.io/name': 'raftsman', 'app.kubernetes.io/component': 'operator' } },
  };

  test('clients are the namespace unless told, and the operator and the Jobs of the cluster always', () => {
    expect(fromOf(2379, 'c', undefined, 'system')).toEqual([own, operator, { podSelector: {} }]);
    expect(fromOf(2379, 'c', [], 'system')).toEqual([own, operator]);
    const given = [{ namespaceSelector: { matchLabels: { team: 'a' } } }];
    expect(fromOf(2379, 'c', given, 'system')).toEqual([own, operator, ...given]);
  });

  test('an operator outside of Kubernetes is no pod that could be selected', () => {
    expect(fromOf(2379, 'c', [], undefined)).toEqual([own]);
  });

  test('metrics may be read from anywhere, and nothing else may come in', () => {
    expect(rules('c', [], 'system').flatMap(({ ports }) => ports.map(({ port }) => port))).toEqual([2380, 2379, 2381]);
    expect(fromOf(2381, 'c', [], 'system')).toBeUndefined();
  });
});

describe('where members run', () => {
  const of = (template?: PodTemplate) =>
    placement('c', template) as {
      affinity: { podAntiAffinity?: unknown; nodeAffinity?: unknown };
      topologySpreadConstraints: { topologyKey: string; labelSelector: unknown; whenUnsatisfiable: string }[];
    };

  test('on different nodes and evenly over zones, as wishes: no member stays away for want of a node', () => {
    const { affinity, topologySpreadConstraints } = of();
    expect(JSON.stringify(affinity)).toContain('preferredDuringScheduling');
    expect(JSON.stringify(affinity)).not.toContain('requiredDuringScheduling');
    expect(topologySpreadConstraints).toMatchObject([
      { topologyKey: 'topology.kubernetes.io/zone', whenUnsatisfiable: 'ScheduleAnyway' },
    ]);
  });

  test('an affinity to nodes leaves members apart from each other', () => {
    const nodeAffinity = { preferredDuringSchedulingIgnoredDuringExecution: [] };
    expect(of({ affinity: { nodeAffinity } }).affinity).toEqual({
      podAntiAffinity: of().affinity.podAntiAffinity,
      nodeAffinity,
    });
  });

  test('what the spec says of anti-affinity or of spreading counts alone, nothing included', () => {
    const { affinity, topologySpreadConstraints } = of({
      affinity: { podAntiAffinity: {} },
      topologySpreadConstraints: [],
    });
    expect(affinity).toEqual({ podAntiAffinity: {} });
    expect(topologySpreadConstraints).toEqual([]);
  });

  test('a constraint of the spec counts the members of this cluster unless it names others', () => {
    const rack = { maxSkew: 1, topologyKey: 'rack', whenUnsatisfiable: 'DoNotSchedule' as const };
    const others = { matchLabels: { app: 'x' } };
    const { topologySpreadConstraints } = of({
      topologySpreadConstraints: [rack, { ...rack, topologyKey: 'row', labelSelector: others }],
    });
    expect(topologySpreadConstraints.map(({ labelSelector }) => labelSelector)).toEqual([
      { matchLabels: expect.objectContaining({ 'app.kubernetes.io/instance': 'c' }) },
      others,
    ]);
  });
});
