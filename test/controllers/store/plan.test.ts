import { describe, expect, test } from '@jest/globals';
import { findCondition } from '../../../src/api/conditions.ts';
import { planStore, type StoreFinding } from '../../../src/controllers/store/plan.ts';
import { now, storeOf } from '../objects.ts';

const ready: StoreFinding = { kind: 'ready', location: 's3://snaps' };
const plan = (finding: StoreFinding, failures = 0, store = storeOf('s', null)) =>
  planStore(store, finding, failures, now);
const conditionOf = (finding: StoreFinding) => {
  const status = plan(finding).actions.find((action) => action.kind === 'status')?.status;
  return findCondition(status?.conditions, 'Ready');
};

describe('a RaftSnapshotStore', () => {
  test.each<[StoreFinding, string, string]>([
    [{ kind: 'claimMissing', claim: 'pvc' }, 'ClaimNotFound', 'spec.volume.claimName: PersistentVolumeClaim pvc'],
    [{ kind: 'claimLost', claim: 'pvc' }, 'ClaimLost', 'has lost its volume'],
    [{ kind: 'secretMissing', secret: 'cred' }, 'SecretNotFound', 'spec.s3.credentialsSecret.name: Secret cred'],
    [{ kind: 'secretKeyMissing', secret: 'cred', key: 'K' }, 'SecretKeyNotFound', 'Secret cred has no key K'],
    [{ kind: 'refused', code: 'STORE_BUCKET_MISSING', message: 'create it' }, 'BucketNotFound', 'create it'],
    [{ kind: 'refused', code: 'STORE_ACCESS_DENIED', message: 'no' }, 'AccessDenied', 'no'],
    [{ kind: 'refused', code: 'SOMETHING', message: 'odd' }, 'CheckFailed', 'odd'],
  ])('%j says what to do', (finding, reason, words) => {
    expect(conditionOf(finding)).toMatchObject({ status: 'False', reason, message: expect.stringContaining(words) });
    expect(plan(finding).actions.at(-1)).toMatchObject({ event: { type: 'Warning', reason: 'StoreUnavailable' } });
  });

  test('that works is looked at now and then, one that does not less and less often', () => {
    expect(plan(ready).requeueAfterMs).toBe(300_000);
    const missing: StoreFinding = { kind: 'secretMissing', secret: 'cred' };
    expect([0, 1, 2, 3, 9, 99].map((failures) => plan(missing, failures).requeueAfterMs)).toEqual([
      1_000, 2_000, 4_000, 8_000, 10_000, 10_000,
    ]);
  });

  test('that stays as it is makes no request and tells nothing', () => {
    const status = plan(ready).actions.find((action) => action.kind === 'status')!.status;
    const same = { ...storeOf('s', null), status };
    expect(plan(ready, 0, same).actions).toEqual([]);
  });
});
