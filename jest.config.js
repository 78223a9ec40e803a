/** One run, three projects: unit (seconds, no cluster), integration (a real kube-apiserver), e2e (a real node). */
const project = (displayName, testMatch, extra = {}) => ({
  displayName,
  rootDir: import.meta.dirname,
  testMatch,
  extensionsToTreatAsEsm: ['.ts'],
  testEnvironment: 'node',
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: { target: 'es2024', parser: { syntax: 'typescript' }, experimental: { keepImportAttributes: true } },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },
  ...extra,
});

export default {
  testTimeout: 60_000,
  reporters: ['default', '<rootDir>/test/reporter.ts'],
  projects: [
    project('unit', ['<rootDir>/test/**/*.test.ts', '!**/*.integration.test.ts', '!**/test/e2e/**']),
    project('integration', ['<rootDir>/test/**/*.integration.test.ts']),
    project('e2e', ['<rootDir>/test/e2e/**/*.test.ts'], {
      globalSetup: '<rootDir>/test/e2e/setup.ts',
      globalTeardown: '<rootDir>/test/e2e/teardown.ts',
    }),
  ],
};
