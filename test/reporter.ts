import { join } from 'node:path';
import { ids, testFiles } from './house/conformance.ts';
import { isWhole, type Run, unproven } from './house/coverage.ts';

interface Results extends Run {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numRuntimeErrorTestSuites: number;
}

/**
 * Ends every run of Jest with the plain line `N passed, N failed` that people and CI read. A suite that cannot load is a
 * failure. A run of the whole suite says before it how many statements were proven by tests that passed in it; when some
 * were not, that is one failure more.
 */
export default class PlainLine {
  readonly #config: { readonly rootDir: string; readonly testNamePattern?: string };
  #error: Error | undefined;

  constructor(config: { readonly rootDir: string; readonly testNamePattern?: string }) {
    this.#config = config;
  }

  onRunComplete(_contexts: unknown, results: Results): void {
    const files = testFiles().map((file) => join(this.#config.rootDir, file));
    if (isWhole(results, files, this.#config.testNamePattern)) {
      const missing = unproven(results);
      process.stdout.write(`\nconformance: ${ids.length - missing.length} of ${ids.length} statements proven\n`);
      if (missing.length > 0) {
        process.stdout.write(`No test that names them passed: ${missing.join(' ')}\n`);
        this.#error = new Error(`statements without a passed test: ${missing.join(' ')}`);
      }
    }
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites + (this.#error ? 1 : 0);
    process.stdout.write(`\n${results.numPassedTests} passed, ${failed} failed\n`);
  }

  /** Makes Jest exit with 1 although every test passed. */
  getLastError(): Error | undefined {
    return this.#error;
  }
}
