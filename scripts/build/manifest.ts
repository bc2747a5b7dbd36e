import { readFileSync, writeFileSync } from 'node:fs';
import { ENTRIES, REGISTERING } from './entries.js';

/** One entry for both module systems; each has its own declarations, as TypeScript's nodenext resolution wants. */
function exportOf(module: string) {
  const files = (format: 'esm' | 'cjs') => ({
    types: `./dist/${format}/${module}.d.ts`,
    default: `./dist/${format}/${module}.js`,
  });
  return { import: files('esm'), require: files('cjs') };
}

/** The fields of package.json that follow from the list of entries. */
function generatedFields() {
  const entries = Object.entries(ENTRIES);
  const subpaths = entries.filter(([subpath]) => subpath !== '.');
  const registering = [...Object.values(ENTRIES), ...REGISTERING];
  return {
    exports: {
      ...Object.fromEntries(entries.map(([subpath, module]) => [subpath, exportOf(module)])),
      './package.json': './package.json',
    },
    // For resolvers that do not read `exports` (TypeScript's node10).
    typesVersions: {
      '*': Object.fromEntries(
        subpaths.map(([subpath, module]) => [subpath.slice('./'.length), [`./dist/cjs/${module}.d.ts`]]),
      ),
    },
    sideEffects: ['./dist/umd/*', './dist/cli/*', ...registering.map((module) => `./dist/*/${module}.js`)],
  };
}

/** Brings package.json in line with the entries; leaves the file alone where it already is. */
export function updateManifest(file: string): void {
  const before = readFileSync(file, 'utf8');
  const manifest = JSON.parse(before) as Record<string, unknown>;
  const after = `${JSON.stringify({ ...manifest, ...generatedFields() }, null, 2)}\n`;
  if (after !== before) writeFileSync(file, after);
}
