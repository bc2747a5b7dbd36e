import type { KnipConfig } from 'knip';
import { ENTRIES } from './scripts/build/entries.js';

const config: KnipConfig = {
  entry: [
    ...Object.values(ENTRIES).map((module) => `${module}.ts`),
    'src/cli/main.ts',
    'scripts/run-tests.ts',
    'scripts/*/main.ts',
    'models/*/main.ts',
  ],
  project: ['{src,kernels,models,scripts,test}/**/*.{ts,js}'],
};

export default config;
