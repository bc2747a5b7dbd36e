/** The built site in a headless browser. */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'vite';
import { openPage, type OpenPage, type PageOptions } from '../browser/page.js';

/** A folder that is not the root of its origin, as many hosts have it. */
const FOLDER = 'somewhere/below/';

export type Files = Readonly<Record<string, Buffer>>;

/** The files of the site, by their paths. */
export async function buildSite(): Promise<Files> {
  const folder = await mkdtemp(join(tmpdir(), 'tfjs-lla-site-'));
  try {
    await build({
      configFile: 'demos/vite.config.ts',
      logLevel: 'error',
      build: { outDir: folder, emptyOutDir: true },
    });
    const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
    return Object.fromEntries(
      files.map((file) => [FOLDER + file.slice(folder.length + 1).replaceAll('\\', '/'), readFileSync(file)]),
    );
  } finally {
    await rm(folder, { recursive: true });
  }
}

export interface Visit {
  /** A page of the site, such as `see`. */
  readonly path: string;
  readonly backend?: string;
  readonly context?: PageOptions['context'];
}

/** Software in place of a GPU takes its time: a shader's compilation may take half a minute. */
const PATIENCE = 240_000;

/** Opens a page of the site. */
export async function visit(files: Files, { path, backend, context }: Visit): Promise<OpenPage> {
  const query = backend === undefined ? '' : `?backend=${backend}`;
  const opened = await openPage(files, { address: `${FOLDER}${query}#/${path}`, context });
  opened.page.setDefaultTimeout(PATIENCE);
  return opened;
}
