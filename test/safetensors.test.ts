/** What `loadSafetensors` and `saveSafetensors` read, write and refuse. Wrong files have tests of their own. */
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as tf from '@tensorflow/tfjs';
import { fileSource } from '../src/node.js';
import {
  fromLinear,
  loadSafetensors,
  saveSafetensors,
  type HasWeights,
  type WeightMap,
} from '../src/safetensors/index.js';
import { useBackend } from './backends.js';
import { float32File, messageOf, readFile, streamOf, valuesOf, variables } from './safetensors_file.js';

beforeAll(() => useBackend('cpu'));

const file = float32File({ a: { shape: [2], values: [10, 20] }, b: { shape: [1, 3], values: [30, 40, 50] } });
const LOADED = [
  [10, 20],
  [30, 40, 50],
];
const newModel = () => variables({ a: [2], b: [1, 3] });

describe('sources', () => {
  let folder: string;
  let path: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'tfjs-lla-safetensors-'));
    path = join(folder, 'model.safetensors');
    writeFileSync(path, file);
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  const dataUrl = () => `data:application/octet-stream;base64,${Buffer.from(file).toString('base64')}`;
  const sources = {
    Uint8Array: () => file,
    'Uint8Array within a larger buffer': () => new Uint8Array([1, ...file, 2]).subarray(1, file.length + 1),
    Buffer: () => Buffer.from(file),
    ArrayBuffer: () => file.slice().buffer,
    Blob: () => new Blob([file.slice()]),
    File: () => new File([file.slice()], 'model.safetensors'),
    Response: () => new Response(file.slice()),
    ReadableStream: () => new Blob([file.slice()]).stream(),
    'a stream of single bytes': () => streamOf(file, [1]),
    'a stream with empty pieces': () => streamOf(file, [0, 5]),
    'a stream of Node': () => createReadStream(path, { highWaterMark: 11 }),
    'a URL as text': dataUrl,
    URL: () => new URL(dataUrl()),
    'a path': () => path,
    'a file URL': () => pathToFileURL(path),
    fileSource: () => fileSource(path),
  };

  test.each(Object.entries(sources))('%s', async (_, source) => {
    const model = newModel();
    const before = tf.memory().numTensors;
    const result = await loadSafetensors(model, source());
    expect(result).toEqual({ loaded: ['a', 'b'], missing: [], unused: [], metadata: {} });
    expect(valuesOf(model)).toEqual(LOADED);
    expect(tf.memory().numTensors).toBe(before);
    model.dispose();
  });

  test('every stream is let go when the file is wrong', async () => {
    const model = newModel();
    let cancelled = 0;
    const stream = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(100)),
      cancel: () => {
        cancelled++;
      },
    });
    expect(await messageOf(loadSafetensors(model, stream))).toContain("file 'ReadableStream' has a header that is not");
    expect(await messageOf(loadSafetensors(model, new Response('x')))).toContain(
      "file 'Response' is not a safetensors",
    );
    expect(cancelled).toBe(1);
    model.dispose();
  });

  test('a file that is not there, an answer that is none, and what is no source', async () => {
    const model = newModel();
    const load = (source: unknown) => messageOf(loadSafetensors(model, source as Uint8Array));
    expect(await load(join(folder, 'none'))).toMatch(/^loadSafetensors: source '.*none' cannot be opened: .*ENOENT/);
    expect(await load(fileSource(folder))).toMatch(/EISDIR/);
    expect(await load(new Response('gone', { status: 404, statusText: 'Not Found' }))).toBe(
      "loadSafetensors: source 'Response' answered 404 Not Found",
    );
    const read = new Response(file.slice());
    await read.arrayBuffer();
    expect(await load(read)).toBe("loadSafetensors: source 'Response' was read before");
    expect(await load(7)).toBe(
      'loadSafetensors: source must be bytes, a Blob, a Response, a stream or an address, got 7',
    );
    expect(await load(new Float32Array(3))).toContain('got [object Float32Array]');
    async function* texts() {
      yield await Promise.resolve('text');
    }
    expect(await load(texts())).toBe("loadSafetensors: source must give pieces of type Uint8Array, gave 'text'");
    model.dispose();
  });
});

describe('models', () => {
  test('a model, saved and loaded into one of the same layers', async () => {
    const build = (seed: number) =>
      tf.sequential({
        layers: [
          tf.layers.dense({
            name: `first`,
            units: 3,
            inputShape: [2],
            kernelInitializer: tf.initializers.glorotNormal({ seed }),
          }),
          tf.layers.batchNormalization({ name: 'norm' }),
          tf.layers.dense({ name: 'second', units: 1 }),
        ],
      });
    const [trained, fresh] = [build(1), build(2)];
    const bytes = await saveSafetensors(trained);
    const { loaded } = await loadSafetensors(fresh, bytes);
    expect([...loaded].sort()).toEqual(Object.keys(readFile(bytes).header).sort());
    expect(loaded).toEqual(expect.arrayContaining(['first/kernel', 'norm/moving_variance', 'second/bias']));
    const x = tf.tensor2d([[1, -2]]);
    expect([...(fresh.predict(x) as tf.Tensor).dataSync()]).toEqual([...(trained.predict(x) as tf.Tensor).dataSync()]);
    for (const each of [trained, fresh, x]) each.dispose();
  });

  test('a single layer, and one that is not built yet', async () => {
    const dense = tf.layers.dense({ name: 'alone', units: 2 });
    const source = float32File({
      'alone/kernel': { shape: [1, 2], values: [1, 2] },
      'alone/bias': { shape: [2], values: [3, 4] },
    });
    expect(await messageOf(loadSafetensors(dense, source))).toBe(
      'loadSafetensors: model has no weights yet; a layer gets them when it is built or called',
    );
    dense.apply(tf.zeros([1, 1]));
    await loadSafetensors(dense, source);
    expect(valuesOf({ weights: dense.getWeights() })).toEqual([
      [1, 2],
      [3, 4],
    ]);
    dense.dispose();
  });

  test('a layer that two models share has its weights once in the file', async () => {
    const shared = tf.layers.dense({ name: 'shared', units: 1 });
    const inner = [0, 1].map((index) =>
      tf.sequential({ name: `inner${index}`, layers: [tf.layers.inputLayer({ inputShape: [1] }), shared] }),
    );
    const input = tf.input({ shape: [1] });
    const model = tf.model({ inputs: input, outputs: inner.map((each) => each.apply(input) as tf.SymbolicTensor) });
    const { header } = readFile(await saveSafetensors(model));
    expect(Object.keys(header).sort()).toEqual(['shared/bias', 'shared/kernel']);
    model.dispose();
  });

  test('a weight that was disposed while the file was read leaves the others alone', async () => {
    const dense = tf.layers.dense({ units: 1, name: 'dense' });
    dense.apply(tf.zeros([1, 2]));
    const [kernel, bias] = dense.weights;
    const before = valuesOf({ weights: [kernel.read()] });
    async function* slow() {
      yield float32File({
        'dense/kernel': { shape: [2, 1], values: [1, 2] },
        'dense/bias': { shape: [1], values: [3] },
      });
      await Promise.resolve();
      bias.dispose();
    }
    expect(await messageOf(loadSafetensors(dense, slow()))).toMatch(/disposed/);
    expect(valuesOf({ weights: [kernel.read()] })).toEqual(before);
    kernel.dispose();
  });

  test('what has no list of weights', async () => {
    const load = (model: unknown) => loadSafetensors(model as HasWeights, file);
    for (const model of [null, {}, { weights: {} }]) {
      const message = 'loadSafetensors: model must be a model, a layer or an object with a list `weights` of variables';
      expect(await messageOf(load(model))).toBe(message);
    }
    expect(await messageOf(saveSafetensors({ weights: [] }))).toContain('saveSafetensors: model has no weights yet');
  });
});

describe('strict', () => {
  const other = () => variables({ a: [2], c: [1] });

  test('true: nothing may be missing or left over', async () => {
    const model = other();
    expect(await messageOf(loadSafetensors(model, file))).toBe(
      `loadSafetensors: file '${file.length} bytes', tensor 'c' is missing, which weight 'c' needs; the file has 'a', 'b'`,
    );
    const less = { weights: model.weights.slice(0, 1) };
    expect(await messageOf(loadSafetensors(less, file, { fileName: 'x' }))).toBe(
      "loadSafetensors: file 'x', tensor 'b' belongs to no weight of the model; { strict: false } skips such tensors",
    );
    model.dispose();
  });

  test('false: both are told and left alone', async () => {
    const model = other();
    const result = await loadSafetensors(model, file, { strict: false });
    expect(result).toEqual({ loaded: ['a'], missing: ['c'], unused: ['b'], metadata: {} });
    expect(valuesOf(model)).toEqual([[10, 20], [1]]);
    model.dispose();
  });
});

describe('map', () => {
  /** Loads a file of one matrix [2, 3] into a weight. */
  async function load(shape: number[], map: WeightMap) {
    const model = variables({ 'layer/kernel': shape, 'layer/other': [] });
    const source = float32File({ w: { shape: [2, 3], values: [1, 2, 3, 4, 5, 6] } });
    await loadSafetensors(model, source, { map, strict: false });
    const [values] = valuesOf(model);
    model.dispose();
    return values;
  }

  test('by whole name, by its end, and by a function', async () => {
    const straight = [1, 2, 3, 4, 5, 6];
    expect(await load([2, 3], { 'layer/kernel': 'w' })).toEqual(straight);
    expect(await load([2, 3], { kernel: 'w' })).toEqual(straight);
    expect(await load([2, 3], (name) => (name === 'layer/kernel' ? 'w' : undefined))).toEqual(straight);
    expect(await load([2, 3], (_, shape, index) => (index === 0 && shape.length === 2 ? 'w' : undefined))).toEqual(
      straight,
    );
  });

  test('axes in another order, merged, and both', async () => {
    expect(await load([3, 2], { kernel: fromLinear('w') })).toEqual([1, 4, 2, 5, 3, 6]);
    expect(await load([1, 2, 3], { kernel: { tensor: 'w', axes: [[0, 1], 2] } })).toEqual([1, 2, 3, 4, 5, 6]);
    // [dim, H, Dk] of [H * Dk, dim], written out.
    expect(await load([3, 2, 1], { kernel: fromLinear('w', { outputAxes: 2 }) })).toEqual([1, 4, 2, 5, 3, 6]);
  });

  test('parts of a tensor', async () => {
    expect(await load([1, 3], { kernel: { tensor: 'w', part: { index: 1, of: 2 } } })).toEqual([4, 5, 6]);
    expect(await load([3, 1], { kernel: { ...fromLinear('w'), part: { index: 1, of: 2 } } })).toEqual([4, 5, 6]);
  });

  test.each<[string, unknown, string]>([
    [
      'a key that fits nothing',
      { kernl: 'w' },
      "map has a key 'kernl' that fits no weight: 'layer/kernel', 'layer/other'",
    ],
    ['two keys for one weight', { kernel: 'w', 'layer/kernel': 'v' }, "map has two keys for the weight 'layer/kernel'"],
    [
      'axes that are no permutation',
      { kernel: { tensor: 'w', axes: [0, 0] } },
      'must have axes that name each of 0 to 1',
    ],
    ['too few axes', { kernel: { tensor: 'w', axes: [[1]] } }, 'for its shape [2, 3], got [[1]]'],
    ['axes that are no list', { kernel: { tensor: 'w', axes: '10' } }, "got '10'"],
    ['no tensor', { kernel: {} }, "map, weight 'layer/kernel', must name a tensor, got undefined"],
    ['a number', { kernel: 3 }, "must be a tensor's name or { tensor, axes, part }, got 3"],
    ['an unknown field', { kernel: { tensor: 'w', axis: [0] } }, "has an unknown field 'axis'"],
    [
      'a part beyond the last',
      { kernel: { tensor: 'w', part: { index: 2, of: 2 } } },
      'must have a part { index, of }',
    ],
    ['a part of null', { kernel: { tensor: 'w', part: null } }, 'must have a part { index, of }'],
    ['a scalar as a part', { other: { tensor: 'w', part: { index: 0, of: 2 } } }, 'is a scalar'],
    ['a list', ['w'], 'map must be an object or a function, got ["w"]'],
    ['null', null, 'map must be an object or a function, got null'],
  ])('%s is refused', async (_, map, message) => {
    expect(await messageOf(load([2, 3], map as WeightMap))).toContain(message);
    const saved = messageOf(
      saveSafetensors(variables({ 'layer/kernel': [2, 3], 'layer/other': [] }), { map: map as WeightMap }),
    );
    expect(await saved).toContain(message);
  });

  test('a key that fits several weights, and weights of one name', async () => {
    const model = variables({ 'one/kernel': [1], 'two/kernel': [1] });
    expect(await messageOf(loadSafetensors(model, file, { map: { kernel: 'a' } }))).toContain(
      "a key 'kernel' that fits several weights: 'one/kernel', 'two/kernel'",
    );
    model.weights[1].name = 'one/kernel';
    expect(await messageOf(saveSafetensors(model))).toContain("has two weights named 'one/kernel'");
    const bytes = await saveSafetensors(model, { map: (name, _, index) => `${name}/${index}` });
    expect(Object.keys(readFile(bytes).header)).toEqual(['one/kernel/0', 'one/kernel/1']);
    model.dispose();
  });

  test('the other options are checked', async () => {
    const model = newModel();
    const load = (options: object) => messageOf(loadSafetensors(model, file, options));
    expect(await load({ strict: 1 })).toBe('loadSafetensors: strict must be true or false, got 1');
    expect(await load({ fileName: 1 })).toBe('loadSafetensors: fileName must be a text, got 1');
    expect(await load({ maps: {} })).toContain('loadSafetensors: maps is no option');
    const save = (options: object) => messageOf(saveSafetensors(model, options));
    expect(await save({ dtype: 'F64' })).toContain(
      "saveSafetensors: dtype must be one of 'F32', 'F16', 'BF16', got 'F64'",
    );
    expect(await save({ metadata: { a: 1 } })).toBe(
      'saveSafetensors: metadata must be an object of texts, got {"a":1}',
    );
    model.dispose();
  });
});
