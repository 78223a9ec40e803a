import { describe, expect, test } from '@jest/globals';
import { type EtcdError, etcdError } from '../../src/etcd/errors.ts';
import { DiskSpace, logReserveBytes } from '../../src/node/disk-space.ts';
import { KeyValues } from '../../src/node/kv.ts';
import { asMemberId } from '../../src/raft/types.ts';
import { memoryLog } from './memory-log.ts';

const mebibyte = 1 << 20;
const id = asMemberId('a');

function watch(free: number | undefined) {
  const keyValues = new KeyValues();
  const { log, messages } = memoryLog();
  const disk = {
    free,
    total: 1e15,
    looks: 0,
    broken: undefined as Error | undefined,
    lose: undefined as EtcdError | undefined,
  };
  const wal = { isFull: false, isStuck: false };
  const driver = {
    memberId: id,
    propose: (data: Uint8Array, lost: (error: EtcdError) => void) => {
      if (disk.lose) lost(disk.lose);
      else setImmediate(() => keyValues.apply(keyValues.appliedIndex + 1, 1, data));
    },
  };
  const look = async () => {
    disk.looks++;
    if (disk.broken) throw disk.broken;
    return disk.free === undefined ? undefined : { free: disk.free, total: disk.total };
  };
  const space = new DiskSpace({ keyValues, driver, wal, log, look });
  return { space, wal, keyValues, driver, disk, messages };
}

describe('the room on the disk', () => {
  test('RS-24 the floor is what may come before the alarm stands, a segment with the zeros ahead of it, and a snapshot', () => {
    const { space, keyValues } = watch(0);
    expect(logReserveBytes).toBe((64 + 16 + 1) * mebibyte);
    expect(space.floorBytes).toBe(logReserveBytes + keyValues.sizeBytes);
    expect(space.liftBytes).toBe(Math.ceil(space.floorBytes * 1.25));
  });

  test('RS-24 of a small disk a quarter is kept back for the log', async () => {
    const { space, keyValues, disk } = watch(5 * mebibyte);
    disk.total = 16 * mebibyte;
    await space.check();
    expect([space.floorBytes, keyValues.alarms.areRaised]).toEqual([4 * mebibyte + keyValues.sizeBytes, false]);
    disk.free = 3 * mebibyte;
    await space.check();
    expect(keyValues.alarms.areRaised).toBe(true);
  });

  test('RS-24 at the floor there is none, below it the alarm is raised, once; well above it is lifted by itself', async () => {
    const { space, keyValues, disk, messages } = watch(0);
    disk.free = space.floorBytes;
    await space.check();
    expect(keyValues.alarms.areRaised).toBe(false);
    disk.free = space.floorBytes - 1;
    await space.check();
    await space.check();
    expect(keyValues.alarms.has(id, 'disk')).toBe(true);
    disk.free = space.liftBytes;
    await space.check();
    expect(keyValues.alarms.areRaised).toBe(true);
    disk.free++;
    await space.check();
    expect(keyValues.alarms.areRaised).toBe(false);
    expect(messages()).toEqual(['the disk runs out of space', 'the disk has space again']);
  });

  test('RS-24 room on the disk does not end the alarm of the quota', async () => {
    const { space, keyValues, driver, disk } = watch(0);
    await space.check();
    await keyValues.alarm(driver, { type: 'raise', memberId: id, cause: 'quota' });
    disk.free = 1e15;
    await space.check();
    expect([keyValues.alarms.has(id, 'disk'), keyValues.alarms.members]).toEqual([false, [id]]);
  });

  test('RS-24 one that was disarmed while there is no room comes again', async () => {
    const { space, keyValues, driver } = watch(0);
    await space.check();
    await keyValues.alarm(driver, { type: 'disarm', memberId: id });
    await space.check();
    expect(keyValues.alarms.has(id, 'disk')).toBe(true);
  });

  test('RS-24 it is looked at after every mebibyte of the log, and looks under way serve all', async () => {
    const { space, disk } = watch(1e15);
    for (let i = 0; i < 4; i++) space.onWritten(mebibyte / 4 - 1);
    expect(disk.looks).toBe(0);
    space.onWritten(4);
    space.onWritten(10 * mebibyte);
    await space.check();
    expect(disk.looks).toBe(1);
    space.stop();
    await space.check();
    expect(disk.looks).toBe(1);
  });

  test('RS-24 a log that finds no room raises it, whatever the file system tells, and tells of waiting and going on once each', async () => {
    const { space, wal, keyValues, disk, messages } = watch(1e15);
    wal.isFull = true;
    space.onFull(new Error('ENOSPC'));
    await space.check();
    expect([keyValues.alarms.has(id, 'disk'), space.isStuck]).toEqual([true, false]);
    wal.isStuck = true;
    space.onFull(new Error('ENOSPC'));
    space.onFull(new Error('ENOSPC'));
    await space.check();
    disk.free = undefined;
    await space.check();
    wal.isFull = wal.isStuck = false;
    disk.free = 1e15;
    await space.check();
    expect(keyValues.alarms.areRaised).toBe(false);
    expect(messages()).toEqual([
      'the disk runs out of space',
      'the disk is full: the log waits for room',
      'the log goes on',
      'the disk has space again',
    ]);
  });

  test('a file system that does not tell, or fails to, changes nothing, and is logged once', async () => {
    const { space, keyValues, disk, messages } = watch(undefined);
    await space.check();
    disk.broken = new Error('EIO: i/o error, statfs');
    await space.check();
    await space.check();
    expect(keyValues.alarms.areRaised).toBe(false);
    expect(messages()).toEqual(['could not see to the disk’s space']);
  });

  test('RS-24 an alarm that could not be raised is raised by a later look', async () => {
    const { space, keyValues, disk } = watch(0);
    disk.lose = etcdError('ETCD_NO_LEADER');
    await space.check();
    expect(keyValues.alarms.areRaised).toBe(false);
    disk.lose = undefined;
    await space.check();
    expect(keyValues.alarms.areRaised).toBe(true);
  });
});
