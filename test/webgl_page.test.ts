import { bundleForPage, openPage, type OpenPage } from './browser/page.js';
import type { WebGlPage } from './browser/webgl_page.js';

// The first test of a machine unpacks the browser.
jest.setTimeout(120_000);

let opened: OpenPage;

beforeEach(async () => {
  opened = await openPage({ 'index.js': await bundleForPage('test/browser/webgl_page.ts') });
});

afterEach(() => opened.close());

/** Calls a function of the page. */
const ask = <Name extends keyof WebGlPage>(name: Name): ReturnType<WebGlPage[Name]> =>
  opened.page.evaluate(`${name}()`) as ReturnType<WebGlPage[Name]>;

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
