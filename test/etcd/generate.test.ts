import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { generate } from '../../src/etcd/generate.ts';

const committed = join(import.meta.dirname, '../../src/etcd/gen');

function files(folder: string): Record<string, string> {
  return Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
}

test('what is committed is what the generator makes of the protos', () => {
  const folder = mkdtempSync(join(tmpdir(), 'raftsman-gen-'));
  try {
    generate(folder);
    expect(files(folder)).toEqual(files(committed));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
