import base from './jest.config.js';

/** @type {import('jest').Config} */
export default { ...base, testEnvironment: '<rootDir>/test/native_environment.ts' };
