/** A position that a mask hides never changes one that it shows, however the mask arrives. */
import * as tf from '@tensorflow/tfjs-core';
import {
  input,
  layers as tfLayers,
  model as makeModel,
  sequential,
  type SymbolicTensor,
} from '@tensorflow/tfjs-layers';
import { layers } from '../../src/layers/index.js';
import { backends, useBackend } from '../backends.js';
import { attentionKinds, kinds, makeLayer, normals, randomizeWeights } from './kinds.js';

const apply = (layer: tfLayers.Layer, inputs: tf.Tensor | tf.Tensor[], options?: object) =>
  layer.apply(inputs, { ...options }) as tf.Tensor;

/** Rows of a `[B, T, C]` tensor where a mask `[B, T]` shows them. */
async function shown(x: tf.Tensor, mask: number[][]): Promise<number[][]> {
  const rows = (await x.array()) as number[][][];
  return rows.flatMap((tokens, b) => tokens.filter((_, t) => mask[b][t] === 1));
}

/** `x` with other numbers where the mask hides it. */
function withOtherHidden(x: tf.Tensor, mask: number[][]): tf.Tensor {
  return tf.where(tf.expandDims(tf.tensor2d(mask, undefined, 'bool'), -1), x, tf.mul(normals(99, ...x.shape), 5));
}

const MASK = [
  [1, 0, 1, 1, 0],
  [1, 1, 1, 0, 0],
];
const IDS = [
  [3, 0, 1, 2, 0],
  [1, 4, 2, 0, 0],
];

let warnings: string[];

beforeEach(() => {
  warnings = [];
  jest.spyOn(console, 'warn').mockImplementation((text: string) => {
    // tfjs advertises tfjs-node once per process.
    if (!text.includes('running TensorFlow.js in Node.js')) warnings.push(text);
  });
});
afterEach(() => {
  jest.restoreAllMocks();
});

describe.each(backends)('on %s', (backend) => {
  beforeAll(() => useBackend(backend));
  beforeEach(() => tf.engine().startScope());
  afterEach(() => tf.engine().endScope());

  describe.each(kinds)('%s', (kind) => {
    test.each([false, true])('an eager call with { mask }, useCausalMask %p', async (useCausalMask) => {
      const layer = makeLayer(kind, { useCausalMask });
      const x = normals(1, 2, 5, 6);
      apply(layer, x);
      randomizeWeights(layer);
      const other = withOtherHidden(x, MASK);
      for (const mask of [
        tf.tensor2d(MASK, undefined, 'bool'),
        tf.tensor2d(MASK),
        [tf.tensor2d(MASK, undefined, 'int32')],
      ]) {
        const expected = await shown(apply(layer, x, { mask }), MASK);
        expect(await shown(apply(layer, other, { mask }), MASK)).toEqual(expected);
      }
      // And the mask does something.
      expect(await shown(apply(layer, other), MASK)).not.toEqual(await shown(apply(layer, x), MASK));
      expect(warnings).toEqual([]);
    });

    test('tf.sequential behind Embedding({ maskZero: true })', async () => {
      const model = sequential({
        layers: [
          tfLayers.embedding({ inputDim: 5, outputDim: 6, inputLength: 5, maskZero: true }),
          makeLayer(kind),
          // Twice, since the mask has to be handed on.
          makeLayer(kind, { useCausalMask: true }),
        ],
      });
      randomizeWeights(model);
      const ids = tf.tensor2d(IDS);
      const expected = await shown(model.predict(ids) as tf.Tensor, MASK);
      // What the padding's id means changes, and nothing else.
      const [table, ...rest] = model.getWeights();
      const padding = tf.scatterND(tf.tensor2d([[0]], [1, 1], 'int32'), tf.fill([1, 6], 7), [5, 6]);
      model.setWeights([tf.add(table, padding), ...rest]);
      expect(await shown(model.predict(ids) as tf.Tensor, MASK)).toEqual(expected);
      expect(warnings).toEqual([]);
    });

    test('through residual connections, where tfjs gives masks an axis more', async () => {
      const ids = input({ shape: [5] });
      let x = tfLayers.embedding({ inputDim: 5, outputDim: 6, maskZero: true }).apply(ids) as SymbolicTensor;
      for (let i = 0; i < 3; i++)
        x = tfLayers.add().apply([x, makeLayer(kind).apply(x) as SymbolicTensor]) as SymbolicTensor;
      const model = makeModel({ inputs: ids, outputs: makeLayer(kind).apply(x) as SymbolicTensor });
      randomizeWeights(model);
      const expected = await shown(model.predict(tf.tensor2d(IDS)) as tf.Tensor, MASK);
      const [table, ...rest] = model.getWeights();
      const padding = tf.scatterND(tf.tensor2d([[0]], [1, 1], 'int32'), tf.fill([1, 6], 7), [5, 6]);
      model.setWeights([tf.add(table, padding), ...rest]);
      expect(await shown(model.predict(tf.tensor2d(IDS)) as tf.Tensor, MASK)).toEqual(expected);
      expect(warnings).toEqual([]);
    });

    test('tf.sequential behind Masking', async () => {
      const model = sequential({
        layers: [tfLayers.masking({ maskValue: -1, inputShape: [null, 6] }), makeLayer(kind, { useCausalMask: true })],
      });
      randomizeWeights(model);
      const x = normals(2, 2, 4, 6);
      const padded = tf.concat([tf.fill([2, 3, 6], -1), x, tf.fill([2, 2, 6], -1)], 1);
      const out = tf.slice(model.predict(padded) as tf.Tensor, [0, 3, 0], [2, 4, 6]);
      const alone = await (model.predict(x) as tf.Tensor).data();
      expect(tf.util.sizeFromShape(out.shape)).toBe(alone.length);
      (await out.data()).forEach((number, i) => expect(number).toBeCloseTo(alone[i], 4));
    });

    test('a row whose values are all hidden is zero before its projection, and nothing is NaN', async () => {
      const layer = makeLayer(kind, { useBias: false });
      const out = apply(layer, normals(3, 2, 5, 6), {
        mask: tf.tensor2d([[0, 0, 0, 0, 0], MASK[0]], undefined, 'bool'),
      });
      const [first, second] = (await out.array()) as number[][][];
      expect(second.flat().every(Number.isFinite)).toBe(true);
      if (kind !== 'transformerBlock') expect(first.flat()).toEqual(Array.from({ length: 30 }, () => 0));
    });
  });

  describe.each(attentionKinds)('%s, cross-attention', (kind) => {
    const query = () => normals(4, 2, 3, 6);
    const value = () => normals(5, 2, 5, 4);
    const key = () => normals(6, 2, 5, 7);

    test.each([false, true])(
      'an explicit mask input, functional and eager, useCausalMask %p',
      async (useCausalMask) => {
        for (const withKey of [false, true]) {
          const layer = makeLayer(kind, { useCausalMask });
          const shapes = [[3, 6], [5, 4], ...(withKey ? [[5, 7]] : []), [5]];
          const symbols = shapes.map((shape) => input({ shape }));
          const model = makeModel({ inputs: symbols, outputs: layer.apply(symbols) as SymbolicTensor });
          randomizeWeights(model);
          const mask = tf.tensor2d(MASK);
          const data = [query(), value(), ...(withKey ? [key()] : [])];
          const others = [data[0], ...data.slice(1).map((x) => withOtherHidden(x, MASK))];
          const expected = await (model.predict([...data, mask]) as tf.Tensor).array();
          expect(await (model.predict([...others, mask]) as tf.Tensor).array()).toEqual(expected);
          expect(await apply(layer, [...others, mask]).array()).toEqual(expected);
          expect(await apply(layer, others, { mask: [null, mask] }).array()).toEqual(expected);
          expect(await apply(layer, others).array()).not.toEqual(expected);
        }
        expect(warnings).toEqual([]);
      },
    );

    test("kerasMask on the value and the key; the query's is handed on and changes no number", async () => {
      const layer = makeLayer(kind);
      const queryMask = tf.tensor2d([[1, 0, 1], [0, 1, 1]], undefined, 'bool'); // prettier-ignore
      const [q, v, k] = [query(), value(), key()];
      const bare = await apply(layer, [q, v, k]).array();
      const handed = apply(layer, [q, v, k], { mask: queryMask });
      expect(await handed.array()).toEqual(bare);
      expect(await handed.kerasMask?.array()).toEqual(await queryMask.array());
      const mask = tf.tensor2d(MASK, undefined, 'bool');
      const masked = await apply(layer, [q, v, k], { mask: [queryMask, mask] }).array();
      expect(masked).not.toEqual(bare);
      for (const owner of [v, k]) {
        owner.kerasMask = tf.clone(mask);
        expect(await apply(layer, [q, v, k]).array()).toEqual(masked);
        owner.kerasMask = undefined;
      }
    });

    test('Embedding({ maskZero: true }) as value in a functional model', async () => {
      const [queryIds, valueIds] = [input({ shape: [3] }), input({ shape: [5] })];
      const embed = () => tfLayers.embedding({ inputDim: 5, outputDim: 6, maskZero: true });
      const embedded = embed().apply(valueIds) as SymbolicTensor;
      const layer = makeLayer(kind);
      const outputs = layer.apply([embed().apply(queryIds) as SymbolicTensor, embedded]) as SymbolicTensor;
      const model = makeModel({ inputs: [queryIds, valueIds], outputs });
      randomizeWeights(model);
      const inputs = [tf.tensor2d([[1, 2, 3], [4, 0, 0]]), tf.tensor2d(IDS)]; // prettier-ignore
      const expected = await (model.predict(inputs) as tf.Tensor).array();
      const [, table] = model.getWeights();
      const values = tf.gather(table, tf.tensor2d(IDS, undefined, 'int32'));
      const queries = tf.gather(model.getWeights()[0], tf.cast(inputs[0], 'int32'));
      expect(await apply(layer, [queries, values, tf.tensor2d(MASK)]).array()).toEqual(expected);
    });
  });

  test('apply([x, mask]) of a block', async () => {
    const block = makeLayer('transformerBlock');
    const x = normals(1, 2, 5, 6);
    const mask = tf.tensor2d(MASK);
    const expected = await shown(apply(block, x, { mask }), MASK);
    expect(await shown(apply(block, [withOtherHidden(x, MASK), mask]), MASK)).toEqual(expected);
  });
});

describe("tfjs's stale masks", () => {
  beforeAll(() => useBackend('cpu'));

  /** An encoder with a mask, then a decoder whose first layer has none. */
  function translator(targetLength: number, embedTargets: boolean) {
    const [source, target] = [
      input({ shape: [5] }),
      input({ shape: embedTargets ? [targetLength] : [targetLength, 6] }),
    ];
    const embed = (maskZero: boolean) => tfLayers.embedding({ inputDim: 5, outputDim: 6, maskZero });
    const encoded = layers
      .softmaxAttention({ numHeads: 2, keyDim: 4 })
      .apply(embed(true).apply(source)) as SymbolicTensor;
    const decoder = layers.softmaxAttention({ numHeads: 2, keyDim: 4, name: 'decoder' });
    const embedded = embedTargets ? (embed(false).apply(target) as SymbolicTensor) : target;
    // The encoder runs first, as its output is used first.
    const pooled = tfLayers.globalAveragePooling1d({}).apply(encoded) as SymbolicTensor;
    const decoded = decoder.apply(embedded) as SymbolicTensor;
    const model = makeModel({ inputs: [source, target], outputs: [pooled, decoded] });
    return { model, decoder };
  }

  test.each([
    ['of another length', 7, false],
    ['of the same length, where no layer before makes a mask', 5, true],
  ])('%s: ignored, with one warning', async (_, length, embedTargets) => {
    const { model, decoder } = translator(length, embedTargets);
    randomizeWeights(model);
    const target = embedTargets ? tf.tensor2d(IDS) : normals(7, 2, length, 6);
    const tokens = embedTargets ? tf.gather(model.getWeights()[9], tf.cast(target, 'int32')) : target;
    for (let i = 0; i < 3; i++) {
      const [, decoded] = model.predict([tf.tensor2d(IDS), target]) as tf.Tensor[];
      expect(await decoded.array()).toEqual(await apply(decoder, tokens).array());
    }
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/^softmaxAttention 'decoder': ignored a mask: .*\[2, 5\]/);
    tf.dispose(target);
  });

  test('a single mask that does not fit an eager call', async () => {
    const layer = layers.softmaxAttention({ numHeads: 2, keyDim: 4, name: 'eager' });
    const x = normals(1, 2, 5, 6);
    const plain = await apply(layer, x).array();
    for (const shape of [[2, 4], [3, 5], [2], [2, 5, 6], [2, 4, 5]]) {
      // prettier-ignore
      expect(await apply(layer, x, { mask: tf.zeros(shape) }).array()).toEqual(plain);
    }
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain("softmaxAttention 'eager': ignored a mask: one of shape [2, 4] does not fit");
  });

  test('an eager call of a layer that is in a model believes what it is given', async () => {
    const { decoder } = translator(5, true);
    const x = normals(1, 2, 5, 6);
    const mask = tf.tensor2d(MASK, undefined, 'bool');
    expect(await apply(decoder, x, { mask }).array()).toEqual(await apply(decoder, x, { mask: [mask] }).array());
    expect(warnings).toEqual([]);
  });
});
