import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { bundleForPage, openPage, type OpenPage } from './browser/page.js';
import type { WebGlPage } from './browser/webgl_page.js';

// The first test of a machine unpacks the browser.
jest.setTimeout(120_000);

const wasmFolder = dirname(createRequire(join(process.cwd(), 'package.json')).resolve('@tensorflow/tfjs-backend-wasm'));
const wasmFiles = Object.fromEntries(
  readdirSync(wasmFolder)
    .filter((name) => name.endsWith('.wasm'))
    .map((name) => [name, readFileSync(join(wasmFolder, name))]),
);

let opened: OpenPage;

beforeEach(async () => {
  opened = await openPage({ 'index.js': await bundleForPage('test/browser/webgl_page.ts'), ...wasmFiles });
});

afterEach(() => opened.close());

/** Calls a function of the page. */
const ask = <Name extends keyof WebGlPage>(name: Name): ReturnType<WebGlPage[Name]> =>
  opened.page.evaluate(`${name}()`) as ReturnType<WebGlPage[Name]>;

test('a page that switches between backends gets the same numbers from all of them and leaks nothing', async () => {
  const found = await ask('switching');
  const expected = found.find(({ backend }) => backend === 'cpu');
  expect(found).toHaveLength(6);
  for (const { backend, results, leaked } of found) {
    expect({ backend, leaked }).toEqual({ backend, leaked: 0 });
    for (const [i, result] of results.entries()) {
      const reference = expected?.results[i] ?? [];
      const norm = Math.hypot(...reference);
      const difference = Math.hypot(...result.map((x, j) => x - reference[j]));
      expect(norm).toBeGreaterThan(0.1);
      expect(difference / norm).toBeLessThan(1e-4);
    }
  }
  expect(opened.errors).toEqual([]);
});

test('NaN and infinities come out where they are seen, as on cpu', async () => {
  const [found, expected] = await ask('notNumbers');
  expect(expected).toMatch(/N.*\./);
  expect(found).toBe(expected);
});

test('a texture over the limit of the device is an error that names operator and limit', async () => {
  const { message, leaked, mean } = await ask('overLimit');
  expect(message).toMatch(
    /^softmaxAttention: .* at most 80 x 80 texels \(MAX_TEXTURE_SIZE\); 400 keys would take 1 x 100$/,
  );
  expect(leaked).toBe(0);
  expect(Number.isFinite(mean)).toBe(true);
});

test('a lost context is an error that names the operator', async () => {
  const { message, leaked } = await ask('lost');
  expect(message).toMatch(/^localLinearAttention: the WebGL context of backend webgl is lost/);
  expect(leaked).toBe(0);
});

test('a device of float16 textures gets one warning and composed kernels', async () => {
  const { warnings, isOwn, difference } = await ask('float16');
  expect(warnings.filter((text) => text.startsWith('tfjs-lla'))).toEqual([
    expect.stringMatching(/backend webgl gets kernels composed .* float16 textures only/),
  ]);
  expect(isOwn).toBe(false);
  expect(difference).toBeLessThan(0.05);
});
