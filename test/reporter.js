/** Ends every run with the plain line `N passed, N failed` that people and CI read. A suite that cannot load is a failure. */
export default class PlainLine {
  onRunComplete(_contexts, results) {
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    process.stdout.write(`\n${results.numPassedTests} passed, ${failed} failed\n`);
  }
}
