import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { transform } from 'esbuild';

/** Compiles what the entries reach, and nothing else, to ES modules with declarations. */
export function buildEsModules(root: string): void {
  const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  const { status } = spawnSync(process.execPath, [compiler, '--project', join(root, 'tsconfig.build.json')], {
    stdio: 'inherit',
  });
  // The compiler has said why.
  if (status !== 0) process.exit(1);
}

/** Turns `dist/esm` into `dist/cjs`: module by module, under the same names, with the same declarations. */
export async function buildCommonJs(dist: string): Promise<void> {
  const from = join(dist, 'esm');
  const to = join(dist, 'cjs');
  const files = readdirSync(from, { recursive: true, encoding: 'utf8' });
  for (const file of files) {
    const source = join(from, file);
    const target = join(to, file);
    mkdirSync(dirname(target), { recursive: true });
    if (file.endsWith('.d.ts')) {
      copyFileSync(source, target);
    } else if (file.endsWith('.js')) {
      // `import()` stays as it is: Node's CommonJS has it, and it also loads packages that are ES modules only.
      const { code } = await transform(readFileSync(source, 'utf8'), {
        format: 'cjs',
        platform: 'node',
        target: 'node20',
      });
      writeFileSync(target, code);
    }
  }
}
