/**
 * Generates `gen/` from `proto/`: `node src/etcd/generate.ts`. The result is committed, and a test proves that
 * it is what this script makes.
 */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { resolve } from 'node:path';

const room = import.meta.dirname;
const root = resolve(room, '../..');

/** What ts-proto is asked for; every option is one that the rest of the room relies on. */
const options = [
  'importSuffix=.ts',
  'esModuleInterop=true',
  // Bytes are Uint8Array, never Buffer, in every type that we export.
  'env=both',
  // 64-bit integers are numbers, apart from ids, which proto/ marks as strings.
  'forceLong=number',
  'useJsTypeOverride=true',
  // Node strips types: no TypeScript enums.
  'enumsAsLiterals=true',
  'unrecognizedEnum=false',
  // A oneof is a discriminated union, so that a switch over it can be checked.
  'oneof=unions-value',
  'outputServices=grpc-js',
  'outputJsonMethods=false',
  'useExactTypes=false',
  'annotateFilesWithVersion=false',
  'lowerCaseServiceMethods=true',
];

/** Writes the generated files into `folder`, which is emptied first. */
export function generate(folder: string): void {
  const template = {
    version: 'v2',
    plugins: [
      { local: resolve(root, 'node_modules/.bin/protoc-gen-ts_proto'), out: folder, opt: options, strategy: 'all' },
    ],
  };
  rmSync(folder, { recursive: true, force: true });
  execFileSync(
    resolve(root, 'node_modules/.bin/buf'),
    ['generate', resolve(room, 'proto'), '--template', JSON.stringify(template)],
    { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] },
  );
}

if (import.meta.main) generate(resolve(room, 'gen'));
