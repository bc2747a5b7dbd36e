import { readFileSync } from 'node:fs';
import { bundleForPage, openPage, type OpenPage } from './browser/page.js';
import type { Source } from './browser/safetensors_page.js';

// The first test of a machine unpacks the browser.
jest.setTimeout(120_000);

const file = readFileSync('test/fixtures/torch/multihead.safetensors');
const sources: readonly Source[] = ['address', 'URL', 'Response', 'ReadableStream', 'File'];
let opened: OpenPage;

beforeAll(async () => {
  opened = await openPage({
    'index.js': await bundleForPage('test/browser/safetensors_page.ts'),
    'multihead.safetensors': file,
    // What servers of pages with a router of their own answer to an address that they do not know.
    'missing.safetensors': '<!doctype html><title>Not here</title>',
  });
});

afterAll(() => opened.close());

test.each(sources)('a page reads weights from its %s', async (source) => {
  expect(await opened.page.evaluate<number[]>(`roundTrip('${source}')`)).toEqual([...file]);
  expect(opened.errors).toEqual([]);
});

test('a page of HTML in place of the file is called one', async () => {
  expect(await opened.page.evaluate('missing()')).toMatch(
    /^loadSafetensors: file 'missing\.safetensors' has a header length of \d+ bytes.* starts with '<!doctyp'/,
  );
});
