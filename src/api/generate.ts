/**
 * Writes `crds/*.yaml` and the chart's copy of them from the schemas of src/api.
 *
 *   node src/api/generate.ts [--check] [--output crds] [--chart charts/raftsman]
 *
 * The chart's files go to `files/crds/` with Helm's `resource-policy: keep`, since they are rendered as templates: so they
 * upgrade with the chart, and stay (with everyone's data) when it is uninstalled. `--check` writes nothing and exits with
 * 1 when a file is missing, differs, or is left over; `--chart ''` leaves the chart out.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { crdFiles } from './crd.ts';
import { kinds } from './kinds.ts';

const root = resolve(import.meta.dirname, '../..');

/** Every file that generation is about: folder to (file name to content). */
export function generatedFiles(output: string, chart: string): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const folders = new Map([[output, crdFiles(kinds)]]);
  if (chart !== '') folders.set(join(chart, 'files', 'crds'), crdFiles(kinds, { 'helm.sh/resource-policy': 'keep' }));
  return folders;
}

async function present(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).filter((file) => file.endsWith('.yaml'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** The paths whose content is not what the schemas say; with `write`, they are made so. */
export async function generate(
  folders: ReadonlyMap<string, ReadonlyMap<string, string>>,
  { write }: { readonly write: boolean },
): Promise<readonly string[]> {
  const stale: string[] = [];
  for (const [folder, files] of folders) {
    const there = await present(folder);
    if (write) await mkdir(folder, { recursive: true });
    for (const file of there.filter((name) => !files.has(name))) {
      stale.push(join(folder, file));
      if (write) await rm(join(folder, file));
    }
    for (const [file, content] of files) {
      const path = join(folder, file);
      if (there.includes(file) && (await readFile(path, 'utf8')) === content) continue;
      stale.push(path);
      if (write) await writeFile(path, content);
    }
  }
  return stale.sort();
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      check: { type: 'boolean', default: false },
      output: { type: 'string', default: join(root, 'crds') },
      chart: { type: 'string', default: join(root, 'charts', 'raftsman') },
    },
  });
  const stale = await generate(generatedFiles(values.output, values.chart), { write: !values.check });
  for (const path of stale) console.log(`${values.check ? 'out of date' : 'wrote'}: ${relative(process.cwd(), path)}`);
  if (values.check && stale.length > 0) {
    console.error('The CRDs differ from the schemas in src/api: run `make generate` and commit the result.');
    process.exitCode = 1;
  }
}
