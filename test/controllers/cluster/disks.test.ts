import { describe, expect, test } from '@jest/globals';
import { classesToGrow, type DisksInput, planDisks } from '../../../src/controllers/cluster/disks.ts';
import type { PersistentVolumeClaim, StatefulSet } from '../../../src/kube/kinds.ts';
import type { Live } from '../../../src/kube/objects.ts';
import { clusterOf, diskOf, meta } from '../objects.ts';

interface Look {
  readonly request?: string;
  readonly capacity?: string;
  readonly className?: string | null;
  readonly conditions?: { type: string; status: string; message?: string }[];
  readonly states?: Record<string, string>;
}

function disk(ordinal: number, look: Look = {}): Live<PersistentVolumeClaim> {
  const { request = '1Gi', capacity = request, className = 'fast', conditions, states } = look;
  return {
    ...diskOf('c', ordinal, 'token', true),
    spec: {
      resources: { requests: { storage: request } },
      ...(className === null ? {} : { storageClassName: className }),
    },
    status: {
      phase: 'Bound',
      capacity: { storage: capacity },
      ...(conditions ? { conditions } : {}),
      ...(states ? { allocatedResourceStatuses: states } : {}),
    },
  };
}

const statefulSet = (size: string) =>
  ({
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: meta('c'),
    spec: { volumeClaimTemplates: [{ spec: { resources: { requests: { storage: size } } } }] },
  }) as unknown as Live<StatefulSet>;

function input(size: string, disks: readonly Live<PersistentVolumeClaim>[], more: Partial<DisksInput> = {}) {
  return {
    cluster: clusterOf('c', { storage: { size } }),
    disks,
    size: 3,
    statefulSet: statefulSet('1Gi'),
    renewable: true,
    mayGrow: new Map([['fast', true]]),
    ...more,
  } satisfies DisksInput;
}

const three = (...looks: readonly Look[]) => [0, 1, 2].map((ordinal) => disk(ordinal, looks[ordinal]));
const grown: Look = { request: '2Gi' };
const growing: Look = { request: '2Gi', capacity: '1Gi' };

describe('disks that should be larger', () => {
  test('of the size that spec says, however it is written, need nothing', () => {
    expect(planDisks(input('1Gi', three()))).toEqual({});
    expect(planDisks(input('1024Mi', three()))).toEqual({});
  });

  test('grow one after another, each only when the one before has grown', () => {
    const stepOf = (...looks: readonly Look[]) => {
      const { step } = planDisks(input('2Gi', three(...looks)));
      return step?.kind === 'growDisk' ? step.disk : step?.kind;
    };
    expect(stepOf()).toBe('data-c-0');
    expect(stepOf(growing)).toBeUndefined();
    expect(stepOf(grown)).toBe('data-c-1');
    expect(stepOf(grown, grown, growing)).toBeUndefined();
    expect(stepOf(grown, grown, grown)).toBe('renewStatefulSet');
  });

  test('are told of while they grow, with what kubelet and the driver say', () => {
    const look = {
      ...growing,
      conditions: [{ type: 'FileSystemResizePending', status: 'True', message: 'waiting for kubelet' }],
      states: { storage: 'NodeResizeInfeasible' },
    };
    expect(planDisks(input('2Gi', three(look))).operation).toEqual({
      type: 'GrowDisk',
      member: 'c-0',
      message: 'data-c-0 grows to 2Gi (NodeResizeInfeasible; FileSystemResizePending: waiting for kubelet)',
    });
  });

  test('stay as they are, all of them, when the class of any forbids it: nothing is tried and the reason said', () => {
    const disks = [disk(0), disk(1), disk(2, { className: 'slow' })];
    const plan = planDisks(input('2Gi', disks, { mayGrow: new Map([['slow', false]]) }));
    expect(plan.step).toBeUndefined();
    expect(plan.operation).toBeUndefined();
    expect(plan.held).toMatchObject({
      reason: 'DiskCannotGrow',
      message: expect.stringContaining('StorageClass slow'),
    });
    expect(plan.recheckMs).toBeGreaterThan(0);
    expect(planDisks(input('2Gi', three({ className: null }))).held?.message).toContain('data-c-0 has no StorageClass');
  });

  test('of a class that could not be read are left to the API server, which refuses by itself', () => {
    expect(planDisks(input('2Gi', three(), { mayGrow: new Map() })).step).toMatchObject({ kind: 'growDisk' });
  });

  test('that removed members left grow when they are taken again, not before', () => {
    const disks = [...three(grown, grown, grown), disk(3)];
    const after = { statefulSet: statefulSet('2Gi') };
    expect(planDisks(input('2Gi', disks, after))).toEqual({});
    expect(planDisks(input('2Gi', disks, { ...after, size: 4 })).step).toMatchObject({ disk: 'data-c-3' });
    expect(classesToGrow(input('2Gi', disks))).toEqual([]);
    expect(classesToGrow(input('2Gi', disks, { size: 4 }))).toEqual(['fast']);
  });

  test('of a hibernated cluster grow as far as they can without a pod', () => {
    const asleep = { cluster: clusterOf('c', { replicas: 0, storage: { size: '2Gi' } }) };
    const pending = { ...growing, conditions: [{ type: 'FileSystemResizePending', status: 'True' }] };
    expect(planDisks(input('2Gi', three(pending), asleep)).step).toMatchObject({ disk: 'data-c-1' });
    expect(planDisks(input('2Gi', three(pending))).step).toBeUndefined();
  });

  test('for later members wait while the StatefulSet keeps something that spec no longer says', () => {
    const disks = three(grown, grown, grown);
    expect(planDisks(input('2Gi', disks, { renewable: false }))).toEqual({});
    const { metadata, ...rest } = statefulSet('1Gi');
    const going = { ...rest, metadata: { ...metadata, deletionTimestamp: '2026-11-22T02:13:00Z' } };
    const plan = planDisks(input('2Gi', disks, { statefulSet: going }));
    expect(plan.step).toBeUndefined();
    expect(plan.operation).toMatchObject({ type: 'GrowDisk' });
  });
});
