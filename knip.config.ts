import type { KnipConfig } from 'knip';
import { ENTRIES } from './scripts/build/entries.js';

const config: KnipConfig = {
  entry: [
    ...Object.values(ENTRIES).map((module) => `${module}.ts`),
    'src/cli/main.ts',
    'scripts/*/main.ts',
    'scripts/with_swiftshader.mjs',
    'jest.tensorflow.config.js',
    'jest.webgpu.config.js',
    'test/browser/operators*.ts',
    'test/browser/device_worker.ts',
    'models/*/main.ts',
    'demos/worker.ts',
    'test/native_environment.ts',
    // Run by a test, in a process of its own.
    'test/layers/continue_training.ts',
  ],
  // The types in an exported function's signature are exported with it.
  ignoreExportsUsedInFile: { interface: true, type: true },
  // Their files are read; their code is never imported.
  ignoreDependencies: ['@sparticuz/chromium'],
  project: ['{src,kernels,demos,models,scripts,test}/**/*.{ts,tsx,js,mjs}', '!demos/dist/**'],
};

export default config;
