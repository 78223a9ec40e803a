import { describe, expect, test } from '@jest/globals';
import { needsApply } from '../../src/kube/needs-apply.ts';
import type { Live, ManagedFieldsEntry, Manifest } from '../../src/kube/objects.ts';

/** A live object whose `fieldsV1` say what our apply contained. */
function live(
  content: Record<string, unknown>,
  fieldsV1: Record<string, unknown>,
  more: ManagedFieldsEntry[] = [],
): Live {
  const { metadata, ...rest } = content as { metadata?: Record<string, unknown> };
  return {
    apiVersion: 'v1',
    kind: 'Thing',
    ...rest,
    metadata: {
      name: 'a',
      namespace: 'ns',
      uid: 'u',
      resourceVersion: '5',
      creationTimestamp: '2030-01-01T00:00:00Z',
      ...metadata,
      managedFields: [
        { manager: 'raftsman', operation: 'Apply', apiVersion: 'v1', fieldsType: 'FieldsV1', fieldsV1 },
        ...more,
      ],
    },
  };
}

const desired = (content: Record<string, unknown>): Manifest => {
  const { metadata, ...rest } = content as { metadata?: Record<string, unknown> };
  return { apiVersion: 'v1', kind: 'Thing', ...rest, metadata: { name: 'a', namespace: 'ns', ...metadata } };
};

const owned = (...fields: string[]) => Object.fromEntries(fields.map((field) => [`f:${field}`, {}]));

describe('needsApply', () => {
  test('nothing there: yes', () => {
    expect(needsApply(desired({}), undefined)).toBe(true);
  });

  test('all as desired and ours: no, whatever the server and others added beside it', () => {
    const there = live(
      {
        metadata: { labels: { ours: '1', theirs: '2' } },
        spec: { replicas: 3, revisionHistoryLimit: 10 },
        status: { ready: 3 },
      },
      { 'f:metadata': { 'f:labels': { 'f:ours': {} } }, 'f:spec': owned('replicas') },
    );
    expect(needsApply(desired({ metadata: { labels: { ours: '1' } }, spec: { replicas: 3 } }), there)).toBe(false);
  });

  test('another value: yes', () => {
    const there = live({ spec: { replicas: 3 } }, { 'f:spec': owned('replicas') });
    expect(needsApply(desired({ spec: { replicas: 5 } }), there)).toBe(true);
  });

  test('a field of ours that is no longer desired: yes, so that it is removed', () => {
    const there = live(
      { metadata: { labels: { a: '1', b: '2' } } },
      { 'f:metadata': { 'f:labels': { '.': {}, ...owned('a', 'b') } } },
    );
    expect(needsApply(desired({ metadata: { labels: { a: '1' } } }), there)).toBe(true);
    expect(needsApply(desired({ metadata: { labels: { a: '1', b: undefined } } }), there)).toBe(true);
    expect(needsApply(desired({}), there)).toBe(true);
  });

  test('the right value that belongs to somebody else: yes, so that it becomes ours', () => {
    const other: ManagedFieldsEntry = {
      manager: 'kubectl',
      operation: 'Update',
      fieldsV1: { 'f:spec': owned('replicas') },
    };
    const there = live({ spec: { replicas: 3, paused: true } }, { 'f:spec': owned('paused') }, [other]);
    expect(needsApply(desired({ spec: { replicas: 3, paused: true } }), there)).toBe(true);
  });

  test('an object that we never applied: yes', () => {
    const there = live({ spec: { replicas: 3 } }, { 'f:spec': owned('replicas') });
    expect(needsApply(desired({ spec: { replicas: 3 } }), there, { fieldManager: 'raftsman-other' })).toBe(true);
  });

  const containers = (...items: Record<string, unknown>[]) => ({ spec: { containers: items } });
  const container = (name: string, ...fields: string[]) => ({
    [`k:{"name":"${name}"}`]: { '.': {}, ...owned('name', ...fields) },
  });

  test('list items are found by their key; defaults and items of others beside them do not matter', () => {
    const there = live(
      containers({ name: 'injected', image: 'x' }, { name: 'node', image: 'i', imagePullPolicy: 'IfNotPresent' }),
      { 'f:spec': { 'f:containers': container('node', 'image') } },
    );
    expect(needsApply(desired(containers({ name: 'node', image: 'i' })), there)).toBe(false);
    expect(needsApply(desired(containers({ name: 'node', image: 'j' })), there)).toBe(true);
  });

  test('a list item of ours that is no longer desired, or a new one: yes', () => {
    const there = live(containers({ name: 'a' }, { name: 'b' }), {
      'f:spec': { 'f:containers': { ...container('a'), ...container('b') } },
    });
    expect(needsApply(desired(containers({ name: 'a' })), there)).toBe(true);
    expect(needsApply(desired(containers({ name: 'a' }, { name: 'b' }, { name: 'c' })), there)).toBe(true);
  });

  test('the order of our list items counts', () => {
    const there = live(containers({ name: 'a' }, { name: 'b' }), {
      'f:spec': { 'f:containers': { ...container('a'), ...container('b') } },
    });
    expect(needsApply(desired(containers({ name: 'a' }, { name: 'b' })), there)).toBe(false);
    expect(needsApply(desired(containers({ name: 'b' }, { name: 'a' })), there)).toBe(true);
  });

  test('a key field that the server defaulted (protocol of a port) still finds the item', () => {
    const there = live(
      { spec: { ports: [{ containerPort: 2379, protocol: 'TCP' }] } },
      {
        'f:spec': {
          'f:ports': { 'k:{"containerPort":2379,"protocol":"TCP"}': { '.': {}, ...owned('containerPort') } },
        },
      },
    );
    expect(needsApply(desired({ spec: { ports: [{ containerPort: 2379 }] } }), there)).toBe(false);
    expect(needsApply(desired({ spec: { ports: [{ containerPort: 2380 }] } }), there)).toBe(true);
  });

  test('sets (finalizers) compare by value', () => {
    const there = live(
      { metadata: { finalizers: ['theirs', 'ours'] } },
      { 'f:metadata': { 'f:finalizers': { '.': {}, 'v:"ours"': {} } } },
    );
    expect(needsApply(desired({ metadata: { finalizers: ['ours'] } }), there)).toBe(false);
    expect(needsApply(desired({ metadata: { finalizers: ['ours', 'more'] } }), there)).toBe(true);
    expect(needsApply(desired({ metadata: { finalizers: [] } }), there)).toBe(true);
  });

  test('atomic values compare whole: an extra key (nodeSelector) is a difference, a known default is not', () => {
    const selector = live({ spec: { nodeSelector: { a: '1', b: '2' } } }, { 'f:spec': owned('nodeSelector') });
    expect(needsApply(desired({ spec: { nodeSelector: { a: '1' } } }), selector)).toBe(true);
    expect(needsApply(desired({ spec: { nodeSelector: { a: '1', b: '2' } } }), selector)).toBe(false);
    const claims = [
      {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: 'data' },
        spec: { resources: { requests: { storage: '1Gi' } }, volumeMode: 'Filesystem' },
        status: { phase: 'Pending' },
      },
    ];
    const template = live({ spec: { volumeClaimTemplates: claims } }, { 'f:spec': owned('volumeClaimTemplates') });
    const ours = (storage: string) => ({
      spec: { volumeClaimTemplates: [{ metadata: { name: 'data' }, spec: { resources: { requests: { storage } } } }] },
    });
    expect(needsApply(desired(ours('1024Mi')), template)).toBe(false);
    expect(needsApply(desired(ours('2Gi')), template)).toBe(true);
  });

  test('quantities compare by amount, but only where quantities are', () => {
    const fields = { 'f:spec': { 'f:resources': { 'f:limits': owned('cpu', 'memory') }, ...owned('title') } };
    const there = live({ spec: { resources: { limits: { cpu: '500m', memory: '1Gi' } }, title: '1' } }, fields);
    const with_ = (cpu: unknown, memory: string, title: string) =>
      desired({ spec: { resources: { limits: { cpu, memory } }, title } });
    expect(needsApply(with_('0.5', '1024Mi', '1'), there)).toBe(false);
    expect(needsApply(with_('0.6', '1024Mi', '1'), there)).toBe(true);
    expect(needsApply(with_('0.5', '1G', '1'), there)).toBe(true);
    expect(needsApply(with_('0.5', '1Gi', '1000m'), there)).toBe(true);
  });

  test('an empty value that the server leaves out is no difference', () => {
    const there = live({ spec: { volume: { name: 'a' } } }, { 'f:spec': { 'f:volume': owned('name', 'readOnly') } });
    expect(needsApply(desired({ spec: { volume: { name: 'a', readOnly: false } } }), there)).toBe(false);
    expect(needsApply(desired({ spec: { volume: { name: 'a', readOnly: true } } }), there)).toBe(true);
  });

  test('status is looked at only for the status subresource, and only our entry of it', () => {
    const entry: ManagedFieldsEntry = {
      manager: 'raftsman',
      operation: 'Apply',
      subresource: 'status',
      fieldsV1: {
        'f:status': { 'f:conditions': { 'k:{"type":"Ready"}': { '.': {}, ...owned('type', 'status') } } },
      },
    };
    const there = live(
      { spec: { n: 1 }, status: { conditions: [{ type: 'Ready', status: 'True' }] } },
      { 'f:spec': owned('n') },
      [entry],
    );
    const status = (value: string) => desired({ status: { conditions: [{ type: 'Ready', status: value }] } });
    expect(needsApply(status('True'), there, { subresource: 'status' })).toBe(false);
    expect(needsApply(status('False'), there, { subresource: 'status' })).toBe(true);
    expect(needsApply(desired({ spec: { n: 1 }, status: { anything: 1 } }), there)).toBe(false);
    expect(needsApply(desired({ status: {} }), there, { subresource: 'status' })).toBe(true);
  });
});
