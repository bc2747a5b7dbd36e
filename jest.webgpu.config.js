import shared from './jest.config.js';

const isFullRun = process.env.TFJS_LLA_TEST === 'full';

/**
 * Suites beside the case table. Those that compile many shaders or take many steps are left to the full run; of caches npm
 * test runs what the page of test/browser/switching.ts does.
 */
const sweeping = [
  'layers/layer_normalization',
  'layers/rotary',
  'models/losses',
  'weights',
  ...(isFullRun
    ? ['caches', 'extremes', 'fixtures', 'inputs', 'layers/generate', 'layers/steps', 'memory', 'nan', 'properties']
    : []),
];

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
    ...sweeping.map((name) => `<rootDir>/test/${name}.test.ts`),
  ],
  testPathIgnorePatterns: isFullRun ? [] : ['/test/webgpu/(training|default_limits|many_rows|correlated_keys)'],
  // Compiling a shader for SwiftShader may take seconds.
  testTimeout: 180_000,
  globals: { testedBackends: ['webgpu'] },
};
