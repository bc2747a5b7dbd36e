/** Which values a file and a weight get from each other, of every dtype and in every layout. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { loadSafetensors, saveSafetensors, type WeightMap } from '../src/safetensors/index.js';
import { useBackend } from './backends.js';
import { fileOf, messageOf, readFile, streamOf, valuesOf, variables } from './safetensors_file.js';

beforeAll(() => useBackend('cpu'));

describe('dtypes', () => {
  /** A file of one tensor. */
  const one = (dtype: string, bytes: Uint8Array, shape: number[]) =>
    fileOf(JSON.stringify({ a: { dtype, shape, data_offsets: [0, bytes.length] } }), bytes);
  const bytesOf = ({ buffer }: { buffer: ArrayBuffer }) => new Uint8Array(buffer);

  async function loaded(source: Uint8Array, shape: number[], dtype: 'float32' | 'int32' = 'float32', options = {}) {
    const model = variables({ a: shape }, dtype);
    await loadSafetensors(model, streamOf(source, [3, 1]), options);
    const [values] = valuesOf(model);
    model.dispose();
    return values;
  }

  test('float16', async () => {
    const bits = [0x3c00, 0xc000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0x3555, 0x8000, 0x7c00, 0xfc00, 0x7e00];
    const numbers = [1, -2, 2 ** -24, -1023 * 2 ** -24, 2 ** -14, 65504, 1365 / 4096, -0, Infinity, -Infinity, NaN];
    expect(await loaded(one('F16', bytesOf(new Uint16Array(bits)), [11]), [11])).toEqual(numbers);
  });

  test('bfloat16', async () => {
    const bits = [0x3f80, 0xc000, 0x0001, 0x7f7f, 0x4049, 0x8000, 0x7f80, 0x7fc0];
    const numbers = [1, -2, 2 ** -133, 255 * 2 ** 120, 3.140625, -0, Infinity, NaN];
    expect(await loaded(one('BF16', bytesOf(new Uint16Array(bits)), [8]), [8])).toEqual(numbers);
  });

  test('float64, if it is asked for', async () => {
    const source = one('F64', bytesOf(new Float64Array([0.1, -Infinity, NaN])), [3]);
    expect(await loaded(source, [3], 'float32', { allowFloat64: true })).toEqual([Math.fround(0.1), -Infinity, NaN]);
  });

  test('int32', async () => {
    const source = one('I32', bytesOf(new Int32Array([1, -(2 ** 31)])), [2]);
    expect(await loaded(source, [2], 'int32')).toEqual([1, -(2 ** 31)]);
    const floats = one('F32', bytesOf(new Float32Array(2)), [2]);
    expect(await messageOf(loaded(floats, [2], 'int32'))).toContain(
      "dtype F32, which does not fit weight 'a' of int32",
    );
  });

  test.each(['I64', 'I32', 'U8', 'BOOL'])('%s does not fit a float weight', async (dtype) => {
    const width = { I64: 8, I32: 4 }[dtype] ?? 1;
    const message = await messageOf(loaded(one(dtype, new Uint8Array(width), [1]), [1]));
    expect(message).toContain(`tensor 'a' has dtype ${dtype}, which does not fit weight 'a' of float32`);
  });

  test('every float16 and bfloat16 comes back as it was', async () => {
    for (const dtype of ['F16', 'BF16'] as const) {
      const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
      const model = variables({ a: [65536] });
      await loadSafetensors(model, one(dtype, bytesOf(all), [65536]));
      const saved = await saveSafetensors(model, { dtype });
      const bits = new Uint16Array(saved.slice(-2 * 65536).buffer);
      // Of all the numbers that are none, one is written.
      const [exponent, quiet] = dtype === 'F16' ? [0x7c00, 0x7e00] : [0x7f80, 0x7fc0];
      const isNaN = (each: number) => (each & 0x7fff) > exponent;
      expect(bits.findIndex((each, index) => each !== (isNaN(index) ? quiet : index))).toBe(-1);
      model.dispose();
    }
  });

  test.each([
    ['F16', 11, 65504, 2 ** -24],
    ['BF16', 8, 255 * 2 ** 120, 2 ** -133],
  ] as const)('%s is the nearest there is', async (dtype, digits, largest, smallest) => {
    const magnitudes = fc.oneof(
      fc.double({ min: smallest / 4, max: largest, noNaN: true }),
      fc.double({ min: 1e-8, max: 8, noNaN: true }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(magnitudes, { minLength: 1, maxLength: 20 }), fc.boolean(), async (drawn, negative) => {
        const values = drawn.map((value) => Math.fround(negative ? -value : value));
        const model = { weights: [tf.variable(tf.tensor1d(values), true, undefined)] };
        model.weights[0].name = 'a';
        await loadSafetensors(model, await saveSafetensors(model, { dtype }));
        const [stored] = valuesOf(model);
        for (const [index, value] of values.entries()) {
          // Half a step between neighbours at this size.
          const step = Math.max(2 ** (Math.floor(Math.log2(Math.abs(value))) - digits + 1), smallest);
          expect(Math.abs(stored[index] - value)).toBeLessThanOrEqual(step / 2);
        }
        tf.dispose(model.weights);
      }),
      { numRuns: 200, seed: 1 },
    );
  });

  test('ties go to the even neighbour', async () => {
    const model = {
      weights: [tf.variable(tf.tensor1d([1 + 2 ** -11, 1 + 3 * 2 ** -11, 2 ** -25, 3 * 2 ** -25]), true)],
    };
    model.weights[0].name = 'a';
    await loadSafetensors(model, await saveSafetensors(model, { dtype: 'F16' }));
    expect(valuesOf(model)[0]).toEqual([1, 1 + 2 ** -9, 0, 2 ** -23]);
    model.weights[0].assign(tf.tensor1d([1 + 2 ** -8, 1 + 3 * 2 ** -8, 0, 0]));
    await loadSafetensors(model, await saveSafetensors(model, { dtype: 'BF16' }));
    expect(valuesOf(model)[0]).toEqual([1, 1 + 2 ** -6, 0, 0]);
    tf.dispose(model.weights);
  });

  test('a value that 16 bits cannot hold is refused', async () => {
    const model = variables({ a: [1] });
    model.weights[0].assign(tf.tensor1d([65520]));
    const message = "saveSafetensors: tensor 'a' (F16) cannot hold the value 65520 of weight 'a'";
    const before = tf.memory().numTensors;
    expect(await messageOf(saveSafetensors(model, { dtype: 'F16' }))).toBe(message);
    expect(tf.memory().numTensors).toBe(before);
    model.weights[0].assign(tf.tensor1d([3.4e38]));
    expect(await messageOf(saveSafetensors(model, { dtype: 'BF16' }))).toContain(
      '(BF16) cannot hold the value 3.39999',
    );
    model.dispose();
  });
});

describe('saving', () => {
  test('two weights of one tensor, parts that are missing, names that no file can hold', async () => {
    const model = variables({ a: [2], b: [2] });
    const save = (map: WeightMap) => messageOf(saveSafetensors(model, { map }));
    const part = (index: number, of: number) => ({ tensor: 'w', part: { index, of } });
    expect(await save({ a: 'w', b: 'w' })).toContain(
      "must fill tensor 'w' by one weight, or by equal parts of it, each once",
    );
    expect(await save({ a: part(0, 3), b: part(1, 3) })).toContain("got 'a', 'b'");
    expect(await save({ a: part(1, 2), b: part(1, 2) })).toContain("got 'a', 'b'");
    expect(await save({ a: '__metadata__' })).toContain("must not name a tensor '__metadata__'");
    expect(await save({ a: '\ud800' })).toContain('which the format cannot hold');
    expect(await save({ a: part(0, 2), b: part(1, 2) })).toBe('no error');
    model.dispose();
  });

  test('all weights are of the moment of the call', async () => {
    const model = variables({ a: [2], b: [1, 3] });
    const saving = saveSafetensors(model);
    for (const weight of model.weights) weight.assign(tf.zerosLike(weight));
    const { values } = readFile(await saving);
    expect(values('b')).toEqual([1, 2, 3]);
    model.dispose();
  });

  test('notes and names of any kind come back', async () => {
    const names = ['__proto__', '0', 'a "b"\\\u0007', 'ä/ß/漢'];
    const model = variables(Object.fromEntries(names.map((name) => [name, [1]])));
    const metadata = JSON.parse('{"__proto__":"x","format":"pt","":"\\n"}') as Record<string, string>;
    const { loaded, metadata: found } = await loadSafetensors(model, await saveSafetensors(model, { metadata }));
    expect([...loaded].sort()).toEqual([...names].sort());
    expect(JSON.stringify(found)).toBe(JSON.stringify(metadata));
    model.dispose();
  });

  test('any shape in any order of axes: where the values lie, and that they come back', async () => {
    const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 5 });
    const cases = shapes.chain((shape) =>
      fc.record({
        shape: fc.constant(shape),
        order: fc.shuffledSubarray(
          shape.map((_, axis) => axis),
          { minLength: shape.length },
        ),
        // Whether an axis is merged with the one before.
        merged: fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length }),
      }),
    );
    await fc.assert(
      fc.asyncProperty(
        cases,
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
        async ({ shape, order, merged }, sizes) => {
          const axes: number[][] = [];
          for (const [index, axis] of order.entries()) {
            if (merged[index] && axes.length > 0) axes[axes.length - 1].push(axis);
            else axes.push([axis]);
          }
          const map = { a: { tensor: 'w', axes } };
          const [model, fresh] = [variables({ a: shape }), variables({ a: shape })];
          fresh.weights[0].assign(tf.zeros(shape));
          const bytes = await saveSafetensors(model, { map });
          const { header, values } = readFile(bytes);
          expect(header.w.shape).toEqual(axes.map((group) => group.reduce((size, axis) => size * shape[axis], 1)));
          expect(values('w')).toEqual([...tf.transpose(model.weights[0], order).dataSync()]);
          await loadSafetensors(fresh, streamOf(bytes, sizes), { map });
          expect(valuesOf(fresh)).toEqual(valuesOf(model));
          tf.dispose([model.weights, fresh.weights]);
        },
      ),
      { numRuns: 200, seed: 2 },
    );
  });
});
