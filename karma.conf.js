/**
 * The case table of every operator in a headless Chrome or Chromium. `npx karma start` runs it by itself; `npm test` runs
 * it among the other tests. TFJS_LLA_TEST=full takes more of the table, TFJS_LLA_TEST=all takes all of it on `webgl` (hours), TFJS_LLA_GPU=1 the machine's own GPU.
 */
import { build } from 'esbuild';

const ENTRY = 'test/browser/operators.ts';
const WASM_FILES = 'node_modules/@tensorflow/tfjs-backend-wasm/dist/*.wasm';
const { TFJS_LLA_TEST = '', TFJS_LLA_GPU } = process.env;

/** Bundles a file of tests, TypeScript and packages, into one script. */
function bundler() {
  /**
   * @param {string} _
   * @param {{ originalPath: string, path: string }} file
   */
  return async (_, file) => {
    const { outputFiles } = await build({
      entryPoints: [file.originalPath],
      bundle: true,
      write: false,
      format: 'iife',
      target: 'es2022',
      // package.json lists the built files that register something; here it is their sources.
      ignoreAnnotations: true,
      define: { 'process.env.TFJS_LLA_TEST': JSON.stringify(TFJS_LLA_TEST) },
    });
    file.path = file.path.replace(/\.ts$/, '.js');
    return outputFiles[0].text;
  };
}

/** For jasmine's adapter; the solvers of one combination, which follow each other, share their float64 results. */
const clientOptions = { clearContext: false, jasmine: { random: false, timeoutInterval: 120_000 } };

/** @param {import('karma').Config} config */
export default async function configure(config) {
  const { register } = await import('tsx/esm/api');
  register();
  const { findBrowser } = await import('./scripts/chromium/browser.js');
  const { executable, flags, env } = await findBrowser({ gpu: TFJS_LLA_GPU === '1' });
  Object.assign(process.env, env, { CHROME_BIN: executable });
  config.set({
    frameworks: ['jasmine'],
    files: [ENTRY, { pattern: WASM_FILES, included: false }],
    preprocessors: { [ENTRY]: ['bundle'] },
    plugins: ['karma-jasmine', 'karma-chrome-launcher', { 'preprocessor:bundle': ['factory', bundler] }],
    browsers: ['HeadlessChrome'],
    customLaunchers: { HeadlessChrome: { base: 'Chrome', flags: [...flags] } },
    reporters: ['dots'],
    singleRun: true,
    autoWatch: false,
    // Software is slow: a case may take half a minute, during which the page says nothing.
    browserNoActivityTimeout: 120_000,
    client: clientOptions,
  });
}
