/** The built site in a headless browser. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { openPage, type OpenPage, type PageOptions } from '../browser/page.js';

/** A folder that is not the root of its origin, as many hosts have it. */
const FOLDER = 'somewhere/below/';

export type Files = Readonly<Record<string, Buffer>>;

/** The files of the site, by their paths; built as `npm run demo:build` does. */
export async function buildSite(): Promise<Files> {
  const folder = await mkdtemp(join(tmpdir(), 'tfjs-lla-site-'));
  try {
    const vite = join(dirname(createRequire(__filename).resolve('vite/package.json')), 'bin', 'vite.js');
    const args = [
      'build',
      '--config',
      'demos/vite.config.ts',
      '--logLevel',
      'warn',
      '--outDir',
      folder,
      '--emptyOutDir',
    ];
    const { status, stdout, stderr } = spawnSync(process.execPath, [vite, ...args], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`the site was not built:\n${stdout}${stderr}`);
    const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
    return Object.fromEntries(
      files.map((file) => [FOLDER + file.slice(folder.length + 1).replaceAll('\\', '/'), readFileSync(file)]),
    );
  } finally {
    await rm(folder, { recursive: true });
  }
}

export interface Visit extends Omit<PageOptions, 'address'> {
  /** A page of the site, such as `see`. */
  readonly path: string;
  readonly backend?: string;
}

/** Software in place of a GPU takes its time: a shader's compilation may take half a minute. */
const PATIENCE = 240_000;

/** Opens a page of the site. */
export async function visit(files: Files, { path, backend, ...options }: Visit): Promise<OpenPage> {
  const query = backend === undefined ? '' : `?backend=${backend}`;
  const opened = await openPage(files, { address: `${FOLDER}${query}#/${path}`, ...options });
  opened.page.setDefaultTimeout(PATIENCE);
  return opened;
}
