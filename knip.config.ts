import type { KnipConfig } from 'knip';
import { ENTRIES } from './scripts/build/entries.js';

const config: KnipConfig = {
  entry: [
    ...Object.values(ENTRIES).map((module) => `${module}.ts`),
    'src/cli/main.ts',
    'scripts/*/main.ts',
    'models/*/main.ts',
    'test/native_environment.ts',
  ],
  // The types in an exported function's signature are exported with it.
  ignoreExportsUsedInFile: { interface: true, type: true },
  // vega-datasets: its data files are read; its code is never imported.
  ignoreDependencies: ['vega-datasets', '@tensorflow/tfjs-layers', '@jest/environment', 'jest-environment-node'],
  project: ['{src,kernels,models,scripts,test}/**/*.{ts,js}'],
};

export default config;
