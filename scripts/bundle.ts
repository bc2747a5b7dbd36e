/**
 * `tsx scripts/bundle.ts ENTRY FILE`: one of the programs here as one CommonJS file, for a machine with nothing but Node and
 * Dawn's addon or an installation of TensorFlow. There: `DAWN_NODE=/path/to/dawn.node node FILE --backend webgpu`, or
 * `TFJS_LLA_INSTALLATION=/path/to/installation.json node FILE --backend tensorflow`.
 */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { build, type Plugin } from 'esbuild';

/** The addon of the npm package `webgpu`, from a path instead of a package. */
const dawnFromEnvironment: Plugin = {
  name: 'dawn-from-environment',
  setup(bundler) {
    bundler.onResolve({ filter: /^webgpu$/ }, () => ({ path: 'dawn', namespace: 'dawn' }));
    bundler.onLoad({ filter: /.*/, namespace: 'dawn' }, () => ({
      contents: [
        "if (!process.env.DAWN_NODE) throw new Error('set DAWN_NODE to the path of dawn.node');",
        'export const { create, globals } = module.require(process.env.DAWN_NODE);',
      ].join('\n'),
    }));
  },
};

/** tfjs' packages as Node itself would load them: tfjs-node's classes can only extend those of that build. */
const tfjsOfNode: Plugin = {
  name: 'tfjs-of-node',
  setup(bundler) {
    bundler.onResolve(
      { filter: /^@tensorflow\/tfjs(-core|-layers|-backend-(cpu|webgl|webgpu))?$/ },
      ({ path, resolveDir }) => ({
        path: createRequire(join(resolveDir, 'package.json')).resolve(path),
      }),
    );
  },
};

/** vega's module for Node looks for a package that draws bitmaps, by an import that CommonJS does not have; SVG needs none. */
const canvasOfBrowsers: Plugin = {
  name: 'canvas-of-browsers',
  setup(bundler) {
    bundler.onLoad({ filter: /vega-canvas\.node\.js$/ }, ({ path }) => ({
      contents: `export * from ${JSON.stringify(path.replace(/\.node\.js$/, '.browser.js'))};`,
      resolveDir: dirname(path),
    }));
  },
};

const [entry, outfile] = process.argv.slice(2) as (string | undefined)[];
if (entry === undefined || outfile === undefined) throw new Error('give the program and the file to write');
await build({
  entryPoints: [entry],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  mainFields: ['module', 'main'],
  // The list of modules with side effects names those of `dist/`, not these.
  ignoreAnnotations: true,
  // Backend wasm reads a file beside its module; the bundle is for the others.
  external: ['@tensorflow/tfjs-backend-wasm'],
  plugins: [dawnFromEnvironment, tfjsOfNode, canvasOfBrowsers],
  logLevel: 'warning',
});
console.log(`written ${outfile}`);
