import { bundleForPage, openPage, type OpenPage } from '../browser/page.js';
import type { Model } from '../browser/layers_page.js';

// The first test of a machine unpacks the browser.
jest.setTimeout(120_000);

let opened: OpenPage;

beforeAll(async () => {
  opened = await openPage({ 'index.js': await bundleForPage('test/browser/layers_page.ts') });
});

afterAll(() => opened.close());

test('a model of every kind of layer comes back from IndexedDB bit for bit, in a page that was loaded anew', async () => {
  const { page, errors } = opened;
  const saved = await page.evaluate<Model>('save()');
  await page.reload();
  const loaded = await page.evaluate<Model>('load()');
  expect(saved.weights.flat().length).toBeGreaterThan(500);
  expect(saved.output.every(Number.isFinite)).toBe(true);
  expect(loaded).toEqual(saved);
  expect(errors).toEqual([]);
});
