import { join } from 'node:path';
import { transform } from 'esbuild';
import { rollup, type Plugin } from 'rollup';
import { UMD_MODULES } from './entries.js';

/** The global name of the UMD file. */
const GLOBAL_NAME = 'tfjsLla';

const ENTRY = 'umd-entry';

/** A module in memory that exports everything the UMD file offers. */
function umdEntry(esm: string): Plugin {
  return {
    name: ENTRY,
    resolveId: (id) => (id === ENTRY ? id : null),
    load: (id) =>
      id === ENTRY ? UMD_MODULES.map((module) => `export * from '${join(esm, module)}.js';`).join('\n') : null,
  };
}

const minify: Plugin = {
  name: 'minify',
  renderChunk: (code) => transform(code, { minify: true, target: 'es2020' }),
};

/** Bundles the modules for `<script>` users, on top of a global `tf`. */
export async function buildUmd(dist: string): Promise<void> {
  const bundle = await rollup({
    input: ENTRY,
    external: /^@tensorflow\//,
    plugins: [umdEntry(join(dist, 'esm'))],
  });
  await bundle.write({
    file: join(dist, 'umd/tfjs-lla.min.js'),
    format: 'umd',
    name: GLOBAL_NAME,
    // Every tfjs package adds to the one global object.
    globals: () => 'tf',
    plugins: [minify],
  });
  await bundle.close();
}
