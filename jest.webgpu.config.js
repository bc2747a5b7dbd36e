import shared from './jest.config.js';

/**
 * The tests that sweep the backends, on `webgpu` in Node; run it by `npm run test:webgpu`.
 *
 * @type {import('jest').Config}
 */
export default {
  ...shared,
  testMatch: [
    '<rootDir>/test/webgpu/*.test.ts',
    '<rootDir>/test/*_attention.test.ts',
    ...['extremes', 'fixtures', 'inputs', 'memory', 'nan', 'properties', 'weights'].map(
      (name) => `<rootDir>/test/${name}.test.ts`,
    ),
  ],
  testPathIgnorePatterns: [],
  // Compiling a shader for SwiftShader may take seconds.
  testTimeout: 180_000,
  globals: { testedBackends: ['webgpu'] },
};
