/**
 * The package's entry points: the one place to add one.
 *
 * The build compiles what these files reach and writes `exports`, `typesVersions` and `sideEffects` of package.json
 * from this list.
 */
export const ENTRIES: Readonly<Record<string, string>> = {
  '.': 'src/index',
  './chained': 'src/chained',
  './layers': 'src/layers/index',
  './node': 'src/node',
  './safetensors': 'src/safetensors/index',
  './tensorflow': 'src/tensorflow',
  './webgl': 'src/backends/webgl',
  './webgpu': 'src/backends/webgpu',
};

/** Modules, besides the entries, that register something when they are imported (package.json's `sideEffects`). */
export const REGISTERING = ['src/backends/*', 'src/gradients'];

/** What the UMD file holds; it exports what these export. */
export const UMD_MODULES = ['src/index', 'src/chained', 'src/layers/index', 'src/safetensors/index'];
