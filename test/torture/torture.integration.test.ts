/** A short torture, as `make torture` runs long ones. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

test('a minute of faults of many kinds: linearizable, nothing lost, every member back', async () => {
  const main = join(import.meta.dirname, 'torture.ts');
  const argv = ['--disable-warning=ExperimentalWarning', main, '--minutes', '1', '--members', '3', '--seed', '1'];
  // Beside it run tests that wait for processes to start: they come first.
  const child = spawn('nice', ['-n', '10', process.execPath, ...argv], { env: { ...process.env, NODE_OPTIONS: '' } });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
  const [status] = (await once(child, 'close')) as [number | null];
  expect([status, said]).toEqual([
    0,
    expect.stringMatching(/\nlinearizable, and nothing lost: 1 rounds? from seed 1\n$/),
  ]);
}, 420_000);
