/**
 * Builds the package into `dist/`:
 *
 * - `esm/`  one file per source file, with declarations; modules stay apart so that bundlers can drop what is unused
 * - `cjs/`  the same as CommonJS
 * - `umd/`  one minified file on top of a global `tf`
 * - `cli/`  the program `tfjs-lla`, with the libraries it needs inside
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildCli } from './cli.js';
import { updateManifest } from './manifest.js';
import { buildCommonJs, buildEsModules } from './modules.js';
import { buildUmd } from './umd.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const dist = join(root, 'dist');

rmSync(dist, { recursive: true, force: true });
for (const folder of ['cjs', 'umd']) {
  mkdirSync(join(dist, folder), { recursive: true });
  // The package is `"type": "module"`; these two folders are not.
  writeFileSync(join(dist, folder, 'package.json'), '{ "type": "commonjs" }\n');
}
updateManifest(join(root, 'package.json'));
buildEsModules(root);
await Promise.all([buildCommonJs(dist), buildCli(root), buildUmd(dist)]);
