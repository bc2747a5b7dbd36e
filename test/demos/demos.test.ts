/** The demo site in a browser: all pages load; with `--full` each does its work on WebGPU and on WebGL. */
import type { OpenPage } from '../browser/page.js';
import { ALL_LOOKS, flawsOf, SOME_LOOKS } from './looks.js';
import { PAGES } from './pages.js';
import { buildSite, type Files, visit, type Visit } from './site.js';

const isFull = process.env.TFJS_LLA_TEST === 'full';
const looks = isFull ? ALL_LOOKS : SOME_LOOKS;

jest.setTimeout(600_000);

let files: Files;
let opened: OpenPage | undefined;

beforeAll(async () => {
  files = await buildSite();
});

afterEach(async () => {
  await opened?.close();
  opened = undefined;
});

async function open(what: Visit): Promise<OpenPage> {
  opened = await visit(files, what);
  return opened;
}

/** Nothing failed, nothing was asked of another origin (such requests fail), nothing was complained of. */
function expectClean({ errors, complaints }: OpenPage): void {
  expect([...errors, ...complaints]).toEqual([]);
}

/** Tells of everything that keeps the page from answering for longer than a twentieth of a second. */
const WATCH = `globalThis.longest = 0;
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) globalThis.longest = Math.max(globalThis.longest, duration);
}).observe({ type: 'longtask', buffered: true });`;

/** Milliseconds: the machine is slow and shared, and a computation of this software GPU takes many seconds. */
const LONGEST = 1500;

const everywhere = ['webgpu', 'webgl'].flatMap((backend) => Object.keys(PAGES).map((path) => [path, backend] as const));
/** Those that take software a few seconds. */
const quick = [['see', 'webgl'], ['forecast', 'webgl']] as const; // prettier-ignore

test.each(isFull ? everywhere : quick)('page %s does its work on %s', async (path, backend) => {
  const now = await open({ path, backend, script: WATCH });
  await PAGES[path](now.page);
  expect(await now.page.evaluate('longest')).toBeLessThan(LONGEST);
  expect(await flawsOf(now.page, `${path} ${backend}`, looks)).toEqual([]);
  expectClean(now);
});

const waiting = Object.keys(PAGES).filter((path) => isFull || !quick.some(([done]) => done === path));

test.each(['', ...waiting])('page "%s" loads, and has no serious flaw before anything was done', async (path) => {
  const now = await open({ path, backend: 'wasm' });
  if (path !== '') await now.page.locator('[data-state=ready]').waitFor();
  expect(await now.page.title()).toMatch(/ · tfjs-lla$/);
  expect(await flawsOf(now.page, path === '' ? 'front' : path, looks)).toEqual([]);
  expectClean(now);
});

/** A browser without a GPU. */
const NO_GPU = `Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined });
OffscreenCanvas.prototype.getContext = () => null;`;

test('a missing backend is named, and the next one taken', async () => {
  const { page } = await open({ path: 'see', script: NO_GPU });
  await page.getByText('WebGPU is missing: this browser has no WebGPU').waitFor();
  await page.getByText('WebGL is missing: this browser gave no WebGL 2 context').waitFor();
  await page.getByText('Computed by WebAssembly').waitFor();
  expect(await page.getByLabel('Compute with').inputValue()).toBe('wasm');
});

test('a backend that the address asks for in vain is not replaced in silence', async () => {
  const { page } = await open({ path: 'see', backend: 'webgpu', script: NO_GPU });
  await page.getByText('The address of this page asks for it: choose another one above.').waitFor();
  expect(await page.locator('[data-state]').count()).toBe(0);
  await page.getByLabel('Compute with').selectOption('cpu');
  await page.getByText('Computed by JavaScript').waitFor();
  expect(page.url()).toContain('?backend=cpu');
});

test('the keyboard leads from page to page, and a chosen theme stays', async () => {
  const { page } = await open({ path: '', backend: 'cpu', context: { colorScheme: 'light' } });
  await page.getByRole('navigation').getByRole('link', { name: 'See it' }).press('Enter');
  // A screen reader goes on at the heading.
  await page.waitForFunction(() => document.activeElement?.tagName === 'H1' && document.title.startsWith('See it'));
  await page.getByLabel('Theme').selectOption('dark');
  await page.reload();
  expect(await page.getByLabel('Theme').inputValue()).toBe('dark');
  expect(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme)).toBe('dark');
});
