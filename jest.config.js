/** @type {import('jest').Config} */
export default {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  transform: {
    '\\.ts$': [
      '@swc/jest',
      {
        jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
        module: { type: 'commonjs' },
      },
    ],
  },
  // Sources name the emitted file (`./dims.js`), as Node's own resolution wants; here the TypeScript beside it is meant.
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  modulePathIgnorePatterns: ['<rootDir>/dist/'],
  // Jest's sandbox looks every global up through an interceptor, which makes `Math.exp` in a kernel's loop slow.
  sandboxInjectedGlobals: ['Math'],
  maxWorkers: '100%',
};
