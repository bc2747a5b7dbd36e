import { extname } from 'node:path';
import { build } from 'esbuild';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { findBrowser } from '../../scripts/chromium/browser.js';

/** A page in a headless browser of its own. */
export interface OpenPage {
  /** See https://playwright.dev/docs/api/class-page; `page.reload()` keeps what the page stored. */
  readonly page: Page;
  /** What went wrong in the page and was not caught there: errors, rejections, failed requests. */
  readonly errors: readonly string[];
  /** What the page, or a worker of it, wrote to the console as an error or a warning. */
  readonly complaints: readonly string[];
  /** Ends the browser; what the page stored is gone. */
  close(): Promise<void>;
}

/** The page's origin. Nothing listens there: requests are answered from memory. Browsers trust it with WebGPU. */
const ORIGIN = 'http://localhost/';

export interface PageOptions {
  /** Behind the origin in the address, where it is not the root: a file's path, or a folder's with a slash at its end. */
  readonly address?: string;
  /** Such as `viewport` and `colorScheme`. */
  readonly context?: BrowserContextOptions;
  /** Runs in the page before anything of its own. */
  readonly script?: string;
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.css': 'text/css',
  '.wasm': 'application/wasm',
};

/**
 * Opens a page in a headless Chrome or Chromium, on SwiftShader: WebGPU, WebGL2 and IndexedDB work in it.
 *
 * @param files Contents by path. `index.html` is the page; without it the page is empty and runs `index.js`, if any.
 */
export async function openPage(
  files: Readonly<Record<string, string | Buffer>> = {},
  { address = '', context, script: first }: PageOptions = {},
): Promise<OpenPage> {
  const browser = await launchBrowser();
  try {
    const page = await browser.newPage(context);
    const errors: string[] = [];
    const complaints: string[] = [];
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
    });
    page.on('pageerror', ({ message }) => errors.push(message));
    page.on('requestfailed', (request) => errors.push(`${request.url()}: ${request.failure()?.errorText ?? 'failed'}`));
    const script = 'index.js' in files ? '<script type="module" src="index.js"></script>' : '';
    const all: typeof files = { 'index.html': `<!doctype html><title>Test</title>${script}`, ...files };
    await page.route('**/*', (route) => {
      const { pathname, origin } = new URL(route.request().url());
      const path = decodeURIComponent(pathname.slice(1)).replace(/(^|\/)$/, '$1index.html');
      // A page under test asks no one else, and no browser's habit counts as its error.
      if (path === 'favicon.ico') return route.fulfill({ status: 204 });
      if (`${origin}/` !== ORIGIN || !(path in all)) return route.abort('addressunreachable');
      return route.fulfill({ body: all[path], contentType: TYPES[extname(path)] ?? 'application/octet-stream' });
    });
    if (first !== undefined) await page.addInitScript(first);
    await page.goto(ORIGIN + address);
    return { page, errors, complaints, close: () => browser.close() };
  } catch (error) {
    await browser.close();
    throw error;
  }
}

/** A headless Chrome or Chromium, on SwiftShader or, with `gpu`, on the machine's own GPU. */
export async function launchBrowser(options?: { readonly gpu?: boolean }): Promise<Browser> {
  const { executable, flags, env } = await findBrowser(options);
  return chromium.launch({
    executablePath: executable,
    args: [...flags],
    // The flags name the way to be headless that this browser has.
    ignoreDefaultArgs: ['--headless'],
    env: { ...process.env, ...env },
  });
}

/** One script of a module of this repository and everything it imports, for a page. */
export async function bundleForPage(entry: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    // package.json lists the built files that register something; here it is their sources.
    ignoreAnnotations: true,
  });
  return outputFiles[0].text;
}
