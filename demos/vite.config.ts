/** The demo site: built into `demos/dist`, with relative paths only, so that it can be hosted anywhere. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** The package exports its program only; the data lie beside it. */
const DATASETS = join(dirname(createRequire(import.meta.url).resolve('vega-datasets')), '..', 'data');

/** package.json lists the built files that register something; here it is their sources, which the bundler must not drop. */
const sourcesRegister: Plugin = {
  name: 'sources-register',
  transform(code, id) {
    const isSource = id.startsWith(ROOT) && !id.includes('/node_modules/');
    return isSource && /\.tsx?$/.test(id) ? { code, map: null, moduleSideEffects: true } : null;
  },
};

export default defineConfig({
  root: join(ROOT, 'demos'),
  base: './',
  cacheDir: join(ROOT, 'node_modules/.cache/vite'),
  plugins: [sourcesRegister],
  worker: { format: 'es', plugins: () => [sourcesRegister] },
  resolve: {
    alias: [
      { find: /^vega-datasets\/data/, replacement: DATASETS },
      { find: 'csv-parse/sync', replacement: 'csv-parse/browser/esm/sync' },
    ],
  },
  // All pages and their jobs: a dependency that is first met when a page is opened makes the local server load it anew.
  optimizeDeps: { entries: ['index.html', 'worker.ts', 'measure/*.ts*', '../models/*/demo/*.ts*'] },
  server: { fs: { allow: [ROOT] } },
  build: {
    target: 'es2022',
    // The backends of tfjs are large, and each is loaded only when it is taken.
    chunkSizeWarningLimit: 2000,
  },
});
