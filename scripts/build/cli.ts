import { chmodSync, copyFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative, sep } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { ENTRIES } from './entries.js';

/** Makes the program use the package's own entries and manifest instead of a second copy of them. */
function packageModulesExternal(root: string): Plugin {
  return {
    name: 'package-modules-external',
    setup(bundler) {
      bundler.onResolve({ filter: /^\./ }, ({ path, resolveDir }) => {
        const module = relative(root, join(resolveDir, path)).split(sep).join('/').replace(/\.js$/, '');
        if (module === 'package.json') return { path: '../../package.json', external: true };
        return Object.values(ENTRIES).includes(module) ? { path: `../cjs/${module}.js`, external: true } : undefined;
      });
    },
  };
}

/** Bundles the program `tfjs-lla` so that the package has no dependency at run time. */
export async function buildCli(root: string): Promise<void> {
  const folder = join(root, 'dist/cli');
  const outfile = join(folder, 'main.cjs');
  await build({
    entryPoints: [join(root, 'src/cli/main.ts')],
    outfile,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    external: ['@tensorflow/*'],
    plugins: [packageModulesExternal(root)],
    banner: { js: '#!/usr/bin/env node' },
    logLevel: 'warning',
  });
  chmodSync(outfile, 0o755);
  // The licence of the library inside asks to be passed on.
  const commander = createRequire(import.meta.url).resolve('commander');
  copyFileSync(join(dirname(commander), 'LICENSE'), join(folder, 'commander.LICENSE'));
}
