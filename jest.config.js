/**
 * The tests that need no device, and all of what sweeps the backends on `cpu` and `wasm`.
 *
 * @type {import('jest').Config}
 */
export default {
  testEnvironment: '<rootDir>/test/environment.js',
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  testPathIgnorePatterns: ['/test/webgpu/', '/test/tensorflow/'],
  globals: { testedBackends: ['cpu', 'wasm'] },
  transform: {
    '\\.ts$': [
      '@swc/jest',
      {
        jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
        module: { type: 'commonjs' },
      },
    ],
  },
  moduleNameMapper: {
    // Sources name the emitted file (`./dims.js`), as Node's own resolution wants; here the TypeScript beside it is meant.
    '^(\\.{1,2}/.*)\\.js$': '$1',
    '^webgpu$': '<rootDir>/test/dawn.ts',
  },
  modulePathIgnorePatterns: ['<rootDir>/dist/'],
  // Jest's sandbox looks every global up through an interceptor, which makes `Math.exp` in a kernel's loop slow.
  sandboxInjectedGlobals: ['Math'],
  maxWorkers: '100%',
  // A hang must fail, a busy machine must not.
  testTimeout: 60_000,
};
