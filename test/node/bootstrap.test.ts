/** A member's data directory on a disk in memory: made, read again, damaged. */
import { describe, expect, test } from '@jest/globals';
import { createLog } from '../../src/log.ts';
import { type DataOptions, makeDataDir, readDataDir } from '../../src/node/bootstrap.ts';
import { parseFlags } from '../../src/node/flags.ts';
import { identityOf } from '../../src/node/identity.ts';
import { dataPaths } from '../../src/storage/data-dir.ts';
import { MemoryDisk } from '../storage/memory-disk.ts';

const parsed = parseFlags(['--name=m1', '--initial-cluster=m1=http://m1:2380,m2=http://m2:2380'], {});
if (parsed.help) throw new Error('no help was asked for');
const { options } = parsed;
const paths = dataPaths('/data');

async function newDataDir(): Promise<{ disk: MemoryDisk; open: DataOptions }> {
  const disk = new MemoryDisk();
  const log = createLog({ write: () => {} });
  const open = {
    options,
    log,
    requestTimeoutMs: 1000,
    onDiskFailure: () => {},
    onDiskWrite: () => {},
    ground: { disk, segmentBytes: 4096, allocationBytes: 1024 },
  };
  await disk.makeFolder('/data');
  await makeDataDir(paths, identityOf(options), open);
  return { disk, open };
}

describe('the data directory', () => {
  test('tells the next process who it is and how the cluster began', async () => {
    const { open } = await newDataDir();
    const { identity, restored, wal } = await readDataDir(paths, open);
    expect(identity).toEqual(identityOf(options));
    expect(restored.snapshot.configuration.voters).toEqual(identity.genesis.members.map(({ id }) => id));
    await wal.close();
  });

  test('with an address that is not the one it was made with is refused: it would become part of this member’s state', async () => {
    const { disk, open } = await newDataDir();
    const at = (await disk.read(paths.genesis)).indexOf('http://m2') + 'http://'.length;
    // m2 becomes M2, which is an address as well.
    disk.flip(paths.genesis, at, 0x20);
    expect((await disk.read(paths.genesis)).toString()).toContain('http://M2:2380');
    await expect(readDataDir(paths, open)).rejects.toMatchObject({ code: 'NODE_DATA_UNUSABLE' });
  });
});
