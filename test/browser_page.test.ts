import { bundleForPage, openPage, type OpenPage } from './browser/page.js';

// The first test of a machine unpacks the browser.
jest.setTimeout(120_000);

let opened: OpenPage;

afterEach(() => opened.close());

test('a page has WebGPU and WebGL2 on SwiftShader', async () => {
  opened = await openPage();
  const found = await opened.page.evaluate(async () => {
    const adapter = await navigator.gpu.requestAdapter();
    const gl = document.createElement('canvas').getContext('webgl2');
    return { architecture: adapter?.info.architecture, version: String(gl?.getParameter(gl.VERSION)) };
  });
  expect(found).toEqual({
    architecture: 'swiftshader',
    version: expect.stringMatching(/^WebGL 2\.0/) as string,
  });
});

test('a page runs a bundle of this repository', async () => {
  opened = await openPage({ 'index.js': await bundleForPage('test/browser/operators_page.ts') });
  expect(await opened.page.evaluate('meanByAttention()')).toBeCloseTo(3, 4);
  expect(opened.errors).toEqual([]);
});

test('a worker computes on a WebGPU device that it has asked for', async () => {
  const script = `globalThis.answer = new Promise((resolve, reject) => {
    const worker = new Worker('worker.js', { type: 'module' });
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
  });`;
  const files = { 'index.js': script, 'worker.js': await bundleForPage('test/browser/device_worker.ts') };
  opened = await openPage(files);
  expect(await opened.page.evaluate('answer')).toEqual({
    features: expect.arrayContaining(['core-features-and-limits']) as string[],
    mean: expect.closeTo(3, 4) as number,
  });
  expect(opened.errors).toEqual([]);
});

test('a page without WebGPU is told so where it asks for a device', async () => {
  const files = { 'index.js': await bundleForPage('test/browser/operators_page.ts') };
  const script = "Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined });";
  opened = await openPage(files, { script });
  expect(await opened.page.evaluate('requestWebGPUDevice().catch(String)')).toBe(
    'Error: requestWebGPUDevice: this browser has no WebGPU. Chrome and Edge from version 113 and Safari from 26 have it. ' +
      'Use another backend here, such as webgl',
  );
});

test('a page keeps what it stores in IndexedDB when it is loaded again', async () => {
  const script = `const open = indexedDB.open('store', 1);
    open.onupgradeneeded = () => open.result.createObjectStore('values');
    globalThis.stored = new Promise((resolve) => {
      open.onsuccess = () => {
        const store = open.result.transaction('values', 'readwrite').objectStore('values');
        const before = store.get('key');
        before.onsuccess = () => resolve(before.result ?? null);
        store.put('kept', 'key');
      };
    });`;
  opened = await openPage({ 'index.js': script });
  expect(await opened.page.evaluate('stored')).toBe(null);
  await opened.page.reload();
  expect(await opened.page.evaluate('stored')).toBe('kept');
});

test('what goes wrong in a page is reported', async () => {
  opened = await openPage({ 'index.js': "fetch('missing.json').catch(() => {}); throw new Error('broken page');" });
  await opened.page.waitForLoadState('networkidle');
  expect([...opened.errors].sort()).toEqual([
    'broken page',
    'http://localhost/missing.json: net::ERR_ADDRESS_UNREACHABLE',
  ]);
});
