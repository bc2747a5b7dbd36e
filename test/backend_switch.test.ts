import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { bundleForPage, openPage, type OpenPage } from './browser/page.js';
import type { Visit } from './browser/switching_page.js';
import { relativeL2 } from './values.js';

// Two rounds through all backends, on devices that are simulated in software.
jest.setTimeout(300_000);

const BACKENDS = ['cpu', 'wasm', 'webgl', 'webgpu'];

/** The WebAssembly files of tfjs's backend, by the names under which it asks for them. */
function wasmFiles(): Record<string, Buffer> {
  const folder = dirname(createRequire(`${process.cwd()}/package.json`).resolve('@tensorflow/tfjs-backend-wasm'));
  const names = ['', '-simd', '-threaded-simd'].map((kind) => `tfjs-backend-wasm${kind}.wasm`);
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name))]));
}

let opened: OpenPage;

beforeAll(async () => {
  opened = await openPage({
    ...wasmFiles(),
    'index.js': await bundleForPage('test/browser/switching_page.ts'),
  });
});

afterAll(() => opened.close());

test('a page that switches between backends gets the same numbers on all and leaks nothing', async () => {
  const rounds: Record<string, Visit>[] = [];
  for (const order of [BACKENDS, [...BACKENDS].reverse()]) {
    const round: Record<string, Visit> = {};
    for (const backend of order) round[backend] = await opened.page.evaluate<Visit>(`visit('${backend}')`);
    rounds.push(round);
  }
  expect(opened.errors).toEqual([]);
  const expected = rounds[0].cpu.numbers;
  // Each operator's output, its gradients and three steps: five operators of at least seven arrays.
  expect(Object.keys(expected).length).toBeGreaterThanOrEqual(35);
  for (const round of rounds) {
    for (const backend of BACKENDS) {
      const wrong = Object.entries(expected).filter(
        // Written so that a NaN is wrong.
        ([name, numbers]) => !(relativeL2(round[backend].numbers[name], numbers) <= 1e-4),
      );
      expect([backend, wrong.map(([name]) => name)]).toEqual([backend, []]);
      expect([backend, round[backend].numTensors]).toEqual([backend, 0]);
    }
  }
  for (const backend of ['webgl', 'webgpu']) {
    const bytes = rounds.map((round) => round[backend].numBytesInGPU);
    expect(bytes[0]).toEqual(expect.any(Number));
    expect(bytes[1]).toBe(bytes[0]);
  }
});
