/** Golden manifests: `UPDATE_GOLDEN=1` rewrites them. Commit a change only when you understand what caused it. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from '@jest/globals';
import { stringify } from 'yaml';
import { version } from '../../src/version.ts';

export function expectGolden(file: string, objects: readonly unknown[]): void {
  const path = join(import.meta.dirname, 'testdata', file);
  const text = objects
    .map((object) => stringify(object, { version: '1.1', lineWidth: 0, aliasDuplicateObjects: false }))
    .join('---\n')
    // A release changes no manifest but this label.
    .replaceAll(`app.kubernetes.io/version: ${version}`, 'app.kubernetes.io/version: VERSION');
  if (process.env['UPDATE_GOLDEN']) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  expect(text).toBe(readFileSync(path, 'utf8'));
}
