import { join } from 'node:path';
import { transform } from 'esbuild';
import { rollup, type Plugin } from 'rollup';
import { UMD_MODULES } from './entries.js';

/** The global name of the UMD file. */
const GLOBAL_NAME = 'tfjsLla';

const isTfjs = (id: string) => id.startsWith('@tensorflow/');

const ENTRY = 'umd-entry';

/** A module in memory that exports everything the UMD file offers. */
function umdEntry(esm: string): Plugin {
  const exportAll = (module: string) => `export * from ${JSON.stringify(join(esm, `${module}.js`))};`;
  return {
    name: ENTRY,
    resolveId: (id) => (id === ENTRY ? id : null),
    load: (id) => (id === ENTRY ? UMD_MODULES.map(exportAll).join('\n') : null),
  };
}

const LAYERS = '@tensorflow/tfjs-layers';
const LAYERS_HOST = 'layers-host';

/**
 * Stands before tfjs-layers. A page may have loaded tfjs-core and a backend only: there the operators have to work all
 * the same, and a layer is an error when it is made, not when this file is loaded.
 */
const layersHost: Plugin = {
  name: LAYERS_HOST,
  resolveId(id, importer) {
    if (id === LAYERS) return importer === LAYERS_HOST ? { id, external: true } : LAYERS_HOST;
    return id === LAYERS_HOST ? id : null;
  },
  load: (id) =>
    id === LAYERS_HOST
      ? `import * as host from ${JSON.stringify(LAYERS)};
        class Missing {
          constructor() {
            throw new Error('tfjs-lla: layers need tf.layers, which this page has not loaded (@tensorflow/tfjs-layers)');
          }
        }
        export const layers = host.layers ?? { Layer: Missing };
        export const SymbolicTensor = host.SymbolicTensor ?? Missing;
        export const LayersModel = host.LayersModel ?? Missing;
        export const { initializers, input } = host;`
      : null,
};

const minify: Plugin = {
  name: 'minify',
  // The compiler's own target: lowering the syntax here would add helpers in front of the wrapper, as global variables.
  renderChunk: (code) => transform(code, { minify: true, target: 'es2022' }),
};

/** Bundles the modules for `<script>` users, on top of a global `tf`. */
export async function buildUmd(dist: string): Promise<void> {
  const bundle = await rollup({
    input: ENTRY,
    external: (id) => isTfjs(id) && id !== LAYERS,
    plugins: [umdEntry(join(dist, 'esm')), layersHost],
  });
  await bundle.write({
    file: join(dist, 'umd/tfjs-lla.min.js'),
    format: 'umd',
    name: GLOBAL_NAME,
    // Every tfjs package adds to the one global object. Rollup asks for this file's own name, too.
    globals: (id) => (isTfjs(id) ? 'tf' : id),
    plugins: [minify],
  });
  await bundle.close();
}
