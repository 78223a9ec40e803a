/**
 * Bundles the image's program. Splitting keeps each command's libraries in chunks of their own, so that a member's
 * process loads neither Kubernetes nor S3: resident memory and start time are what an operator's users pay for.
 */
import { readFileSync } from 'node:fs';
import { build } from 'esbuild';

const { version } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));

await build({
  entryPoints: ['src/main.ts'],
  outdir: 'dist',
  outExtension: { '.js': '.mjs' },
  bundle: true,
  splitting: true,
  minifyWhitespace: true,
  minifySyntax: true,
  platform: 'node',
  // ES modules where a package has them: smaller chunks, and names that survive a lazy import.
  mainFields: ['module', 'main'],
  target: 'node26',
  format: 'esm',
  sourcemap: false,
  legalComments: 'linked',
  define: { RAFTSMAN_VERSION: JSON.stringify(version) },
  // CommonJS packages in an ES module bundle still call require for Node's own modules.
  banner: {
    js: "import { createRequire as raftsmanRequire } from 'node:module'; const require = raftsmanRequire(import.meta.url);",
  },
  logLevel: 'warning',
});
