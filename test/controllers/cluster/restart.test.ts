import { describe, expect, test } from '@jest/globals';
import { observeMembers } from '../../../src/controllers/cluster/members.ts';
import { planRestart } from '../../../src/controllers/cluster/restart.ts';
import { profileOf } from '../../../src/engines/open.ts';
import { clusterOf, memberPod, viewsOf } from '../objects.ts';

const { crash } = profileOf('Etcd');
const cut = 'Error: data-dir "/var/lib/raftsman/restored" not empty or could not be read';

function restart(message: string | undefined, { formed = false, running = false, deleting = false } = {}) {
  const ended = { exitCode: message === undefined ? 0 : 1, ...(message === undefined ? {} : { message }) };
  const pods = [0, 1, 2].map((ordinal) => {
    const pod = memberPod('c', ordinal, { ready: false, deleting: deleting && ordinal === 1 });
    if (ordinal !== 1) return pod;
    const state = running ? { running: {} } : { waiting: { reason: 'CrashLoopBackOff' } };
    const restore = { name: 'restore', restartCount: 1, state, lastState: { terminated: ended } };
    return { ...pod, status: { ...pod.status, initContainerStatuses: [restore] } };
  });
  const views = viewsOf('c', 0, 0);
  const members = observeMembers({ cluster: clusterOf(), size: 3, pods, views, formed, crash });
  return planRestart({ members, formed, crash });
}

describe('a restore that was cut short', () => {
  test('begins anew with the pod of its member', () => {
    expect(restart(cut)).toMatchObject({
      operation: { type: 'Restore', member: 'c-1' },
      step: { kind: 'replaceMember', pod: 'c-1' },
    });
  });

  test.each([
    ['that failed for another reason is tried again as it is', restart('Error: no space left on device')],
    ['that has ended well is done', restart(undefined)],
    ['that runs again is waited for', restart(cut, { running: true })],
    ['whose pod is going away already is waited for', restart(cut, { deleting: true })],
    ['of a member that has data by now is of no interest', restart(cut, { formed: true })],
  ])('%s', (_, matter) => {
    expect(matter).toEqual({});
  });
});
