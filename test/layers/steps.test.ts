/** Step by step every layer gives what it gives for the whole sequence. */
import * as tf from '@tensorflow/tfjs-core';
import { layers, type LayerCache, type LayerStepOptions } from '../../src/layers/index.js';
import { backends, useBackend } from '../backends.js';
import { relativeL2 } from '../values.js';
import { attentionKinds, type CommonArgs, type Kind, kinds, makeLayer, normals, randomizeWeights } from './kinds.js';

type Layer = ReturnType<typeof makeLayer>;

const DIM = 6;

/** A causal layer with random weights. */
function built(kind: Kind, args: Partial<CommonArgs> = {}): Layer {
  const layer = makeLayer(kind, { useCausalMask: true, rotary: true, ...args });
  layer.apply(tf.zeros([1, 2, DIM]));
  randomizeWeights(layer, 3);
  return layer;
}

const cut = (x: tf.Tensor, from: number, to: number) =>
  tf.slice(x, [0, from, 0], [x.shape[0], to - from, x.shape[2] ?? 1]);

/** Runs `x` through a cache in steps of the given sizes; what they give, one after the other. */
function inSteps(layer: Layer, cache: LayerCache, x: tf.Tensor, sizes: number[], mask?: tf.Tensor): tf.Tensor {
  let at = 0;
  const outputs = sizes.map((size) => {
    const options: LayerStepOptions = mask ? { mask: tf.slice(mask, [0, at], [x.shape[0], size]) } : {};
    const out = layer.step(cut(x, at, at + size), cache, options);
    at += size;
    return out;
  });
  return tf.concat(outputs, 1);
}

const full = (layer: Layer, x: tf.Tensor, mask?: tf.Tensor) =>
  layer.apply(x, mask ? { mask: [mask] } : {}) as tf.Tensor;

async function expectClose(actual: tf.Tensor, expected: tf.Tensor): Promise<void> {
  expect(actual.shape).toEqual(expected.shape);
  expect(relativeL2(await actual.data(), await expected.data())).toBeLessThan(1e-4);
}

describe.each(backends)('on %s', (backend) => {
  beforeAll(() => useBackend(backend));
  beforeEach(() => tf.engine().startScope());
  afterEach(() => tf.engine().endScope());

  describe.each(kinds)('%s', (kind) => {
    test.each([0, 1, 63, 64, 65])('%d tokens at once, then steps of 1, 3 and 8', async (prefill) => {
      const layer = built(kind);
      const x = normals(1, 2, prefill + 12, DIM);
      const cache = layer.createCache(2, { capacity: 16 });
      const sizes = [...(prefill > 0 ? [prefill] : []), 1, 3, 8];
      await expectClose(inSteps(layer, cache, x, sizes), full(layer, x));
      expect(cache.length).toBe(prefill + 12);
      expect(cache.capacity).toBeGreaterThanOrEqual(cache.length);
      expect(cache.byteSize).toBeGreaterThan(0);
      cache.dispose();
    });

    test('a mask hides tokens, in later steps, too; also one that an earlier layer left on them', async () => {
      const layer = built(kind);
      const x = normals(1, 2, 9, DIM);
      const mask = tf.tensor2d([0, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1], [2, 9], 'bool');
      const expected = full(layer, x, mask);
      const cache = layer.createCache(2, { capacity: 16 });
      await expectClose(inSteps(layer, cache, x, [5, 1, 3], mask), expected);
      const other = layer.createCache(2, { capacity: 16 });
      const masked = x.clone();
      masked.kerasMask = mask.clone();
      const out = layer.step(masked, other);
      await expectClose(out, expected);
      expect(await out.kerasMask?.array()).toEqual(await mask.array());
      cache.dispose();
      other.dispose();
    });

    test('reorder and clone go on by themselves', async () => {
      const layer = built(kind);
      const [x, rest] = [normals(1, 2, 5, DIM), normals(2, 2, 4, DIM)];
      const cache = layer.createCache(2, { capacity: 16 });
      layer.step(x, cache);
      const copy = cache.clone();
      copy.reorder([1, 1]);
      const second = tf.gather(x, [1, 1]);
      await expectClose(layer.step(rest, copy), cut(full(layer, tf.concat([second, rest], 1)), 5, 9));
      expect([copy.length, cache.length]).toEqual([9, 5]);
      copy.dispose();
      await expectClose(layer.step(rest, cache), cut(full(layer, tf.concat([x, rest], 1)), 5, 9));
      cache.dispose();
    });

    test('firstPosition: sequences padded at their left give what they give alone', async () => {
      const layer = built(kind);
      const x = normals(1, 2, 6, DIM);
      const mask = tf.tensor2d([0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], [2, 6], 'bool');
      const cache = layer.createCache(2, { firstPosition: [-2, 0] });
      const out = inSteps(layer, cache, x, [4, 1, 1], mask);
      const alone = tf.slice(x, [0, 2, 0], [1, 4, DIM]);
      await expectClose(tf.slice(out, [0, 2, 0], [1, 4, DIM]), full(layer, alone));
      // Positions move along with the sequences.
      cache.reorder([1, 0]);
      const next = normals(4, 1, 1, DIM);
      const [, moved] = tf.unstack(layer.step(tf.concat([next, next], 0), cache));
      await expectClose(moved, tf.unstack(cut(full(layer, tf.concat([alone, next], 1)), 4, 5))[0]);
      cache.dispose();
    });

    if (kind === 'linearAttention' || kind === 'mesaAttention') return;

    test('truncate: positions go on from where it was cut', async () => {
      const layer = built(kind);
      const [x, rest] = [normals(1, 2, 7, DIM), normals(2, 2, 3, DIM)];
      const cache = layer.createCache(2, { capacity: 16 });
      layer.step(x, cache);
      cache.truncate(4);
      expect(cache.length).toBe(4);
      await expectClose(layer.step(rest, cache), cut(full(layer, tf.concat([cut(x, 0, 4), rest], 1)), 4, 7));
      cache.dispose();
    });

    test('window: a row is a call on the last tokens', async () => {
      const layer = built(kind);
      const x = normals(1, 2, 11, DIM);
      const cache = layer.createCache(2, { window: 4 });
      const out = inSteps(layer, cache, x, [6, 1, 3, 1]);
      expect([cache.length, cache.capacity]).toEqual([4, 4]);
      const rows = Array.from({ length: 11 }, (_, i) => {
        const seen = cut(x, Math.max(0, i - 3), i + 1);
        const last = seen.shape[1] ?? 0;
        return cut(full(layer, seen), last - 1, last);
      });
      await expectClose(out, tf.concat(rows, 1));
      cache.dispose();
    });
  });

  describe.each(attentionKinds)('%s', (kind) => {
    test('without rotary embedding, other sizes, and a ridge per head that is trained', async () => {
      const trained = kind === 'localLinearAttention' || kind === 'mesaAttention';
      const args = { numHeads: 2, keyDim: 4, valueDim: 3, outputShape: [2, 3], useCausalMask: true };
      const layer = layers[kind]({ ...args, ...(trained && { trainableRidge: true }) });
      const x = normals(1, 1, 7, DIM);
      layer.apply(x);
      randomizeWeights(layer, 5);
      const cache = layer.createCache(1, { capacity: 4 });
      const out = tf.concat([layer.step(cut(x, 0, 4), cache), layer.step(cut(x, 4, 7), cache)], 1);
      await expectClose(out, layer.apply(x) as tf.Tensor);
      cache.dispose();
    });

    test('a block of it', async () => {
      const shortKinds = ['localLinear', 'softmax', 'linear', 'parallax', 'mesa'] as const;
      const attention = shortKinds[attentionKinds.indexOf(kind)];
      const block = layers.transformerBlock({ attention, numHeads: 2, keyDim: 4, useCausalMask: true, rotary: true });
      const x = normals(1, 2, 8, DIM);
      block.apply(x);
      randomizeWeights(block, 5);
      const cache = block.createCache(2, { capacity: 4 });
      await expectClose(inSteps(block, cache, x, [4, 1, 3]), block.apply(x) as tf.Tensor);
      cache.dispose();
    });

    test('a step has the gradients of its new tokens', async () => {
      const layer = built(kind);
      const [x, rest] = [normals(1, 1, 5, DIM), normals(2, 1, 3, DIM)];
      const cache = layer.createCache(1, { capacity: 4 });
      layer.step(x, cache);
      const dout = normals(9, 1, 3, DIM);
      const stepped = tf.grad((tokens) => tf.sum(tf.mul(layer.step(tokens, cache.clone()), dout)))(rest);
      const whole = tf.grad((tokens) => tf.sum(tf.mul(cut(full(layer, tf.concat([x, tokens], 1)), 5, 8), dout)))(rest);
      await expectClose(stepped, whole);
      cache.dispose();
    });
  });
});

describe('without a scope', () => {
  test.each(kinds)('%s: steps leave no tensor but the cache', async (kind) => {
    await useBackend('cpu');
    const layer = built(kind);
    const before = tf.memory().numTensors;
    const [x, cache] = [normals(1, 2, 3, DIM), layer.createCache(2, { capacity: 64 })];
    layer.step(x, cache).dispose();
    const { numTensors } = tf.memory();
    for (let i = 0; i < 10; i++) layer.step(x, cache).dispose();
    expect(tf.memory().numTensors).toBe(numTensors);
    // tfjs does not walk from a cache to its layer's weights.
    tf.dispose({ x, cache } as { x: tf.Tensor });
    cache.dispose();
    expect(tf.memory().numTensors).toBe(before);
    layer.dispose();
  });
});

describe.each(kinds)('%s refuses', (kind) => {
  beforeAll(() => useBackend('cpu'));
  beforeEach(() => tf.engine().startScope());
  afterEach(() => tf.engine().endScope());

  const label = new RegExp(`^${kind} 'mine': `);

  /** The step is refused, and the cache is as it was. */
  function refuses(x: unknown, message: RegExp, options?: unknown, given?: unknown): void {
    const layer = built(kind, { name: 'mine' });
    const cache = layer.createCache(2, { capacity: 16 });
    layer.step(normals(1, 2, 3, DIM), cache);
    const step = layer.step.bind(layer) as (...args: unknown[]) => tf.Tensor;
    const attempt = () => step(x, given ?? cache, options);
    expect(attempt).toThrow(label);
    expect(attempt).toThrow(message);
    expect(cache.length).toBe(3);
    const rest = normals(2, 2, 2, DIM);
    const expected = cut(full(layer, tf.concat([normals(1, 2, 3, DIM), rest], 1)), 3, 5);
    expect(relativeL2(layer.step(rest, cache).dataSync(), expected.dataSync())).toBeLessThan(1e-4);
    cache.dispose();
  }

  test('what is no tensor of the right shape', () => {
    refuses([[1]], /x must be a tensor/);
    refuses(undefined, /x must be a tensor/);
    refuses(tf.zeros([2, DIM]), /rank 3.*\[2, 6\]/);
    refuses(tf.zeros([2, 0, DIM]), /empty axis.*\[2, 0, 6\]/);
    refuses(tf.zeros([2, 1, 5]), /must have 6 features.*\[2, 1, 5\]/);
    refuses(tf.zeros([3, 1, DIM]), /x must have the batch size of the cache, 2, got 3/);
    const gone = tf.zeros([2, 1, DIM]);
    gone.dispose();
    refuses(gone, /x is a disposed tensor/);
  });

  test('masks of another shape or kind, and other options', () => {
    const x = normals(5, 2, 2, DIM);
    refuses(x, /mask must have shape \[2, 2\].*got \[2, 5\]/, { mask: tf.ones([2, 5]) });
    refuses(x, /mask must be a tensor/, { mask: [[1]] });
    refuses(x, /probe is no option/, { probe: x });
  });

  test('a cache that is not its own', () => {
    const x = normals(5, 2, 2, DIM);
    refuses(x, /cache must be one that this layer's createCache made, got 'none'/, {}, 'none');
  });

  test("another layer's cache", () => {
    const other = built('softmaxAttention', { name: 'other' });
    refuses(
      normals(5, 2, 2, DIM),
      /cache must be one that this layer's.*softmaxAttention 'other'/,
      {},
      other.createCache(2),
    );
  });

  test('a disposed cache', () => {
    const layer = built(kind, { name: 'mine' });
    const cache = layer.createCache(2, { capacity: 16 });
    layer.step(normals(1, 2, 3, DIM), cache);
    cache.dispose();
    expect(() => layer.step(normals(1, 2, 3, DIM), cache)).toThrow(/disposed/);
  });

  test('a layer that is not built or not causal', () => {
    const unbuilt = makeLayer(kind, { useCausalMask: true, name: 'mine' });
    expect(() => unbuilt.createCache(1)).toThrow(label);
    expect(() => unbuilt.createCache(1)).toThrow(/layer that is built/);
    const both = makeLayer(kind, { name: 'mine' });
    both.apply(tf.zeros([1, 2, DIM]));
    expect(() => both.createCache(1)).toThrow(/useCausalMask must be true/);
  });

  test('unusable arguments of createCache', () => {
    const layer = built(kind, { name: 'mine' });
    const create = layer.createCache.bind(layer) as (...args: unknown[]) => LayerCache;
    for (const [args, message] of [
      [[0], /batchSize must be a positive integer, got 0/],
      [['2'], /batchSize.*got '2'/],
      [[2, { capacity: -1 }], /capacity must be a positive integer, got -1/],
      [[2, { grow: 1 }], /grow must be true or false, got 1/],
      [[2, { window: 1.5 }], /window.*got 1.5/],
      [[2, { size: 4 }], /size is no option/],
      [[2, { firstPosition: 'a' }], /firstPosition must be an integer or an array/],
      [[2, { firstPosition: [1] }], /firstPosition must have one entry per sequence, 2, got 1/],
    ] as const) {
      expect(() => create(...args)).toThrow(label);
      expect(() => create(...args)).toThrow(message);
    }
  });

  test('more tokens than a cache holds that does not grow', () => {
    const layer = built(kind);
    if (kind === 'linearAttention' || kind === 'mesaAttention') {
      expect(() => layer.createCache(1, { window: 4 })).toThrow(/window/);
      return;
    }
    const cache = layer.createCache(1, { capacity: 4, grow: false });
    const x = normals(1, 1, 3, DIM);
    layer.step(x, cache);
    expect(() => layer.step(x, cache)).toThrow(/capacity/);
    expect(cache.length).toBe(3);
    const rest = cut(x, 0, 1);
    const expected = cut(full(layer, tf.concat([x, rest], 1)), 3, 4);
    expect(relativeL2(layer.step(rest, cache).dataSync(), expected.dataSync())).toBeLessThan(1e-4);
    expect(() => cache.truncate(9)).toThrow(/9/);
    cache.dispose();
  });
});
