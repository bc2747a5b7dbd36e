import shared from './jest.config.js';

/** Suites beside the case table. */
const sweeping = ['caches', 'extremes', 'fixtures', 'inputs', 'memory', 'nan', 'properties', 'weights'];

/**
 * The tests that sweep the backends, on `tensorflow`, which has to be set up; run it by `npm run test:tensorflow`.
 *
 * @type {import('jest').Config}
 */
export default {
  ...shared,
  testEnvironment: '<rootDir>/test/native_environment.ts',
  testMatch: [
    '<rootDir>/test/*_attention.test.ts',
    '<rootDir>/test/tensorflow/*.test.ts',
    ...sweeping.map((name) => `<rootDir>/test/${name}.test.ts`),
  ],
  testPathIgnorePatterns: [],
  // TensorFlow uses all cores by itself.
  maxWorkers: 1,
  globals: { testedBackends: ['tensorflow'] },
};
