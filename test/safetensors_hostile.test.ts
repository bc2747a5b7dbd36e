/** Files that are wrong, by accident or by malice: an error that names file and tensor, and nothing is loaded. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { loadSafetensors, type LoadSafetensorsOptions } from '../src/safetensors/index.js';
import { useBackend } from './backends.js';
import { fileOf, float32Bytes, readFile, streamOf, valuesOf, variables } from './safetensors_file.js';

beforeAll(() => useBackend('cpu'));

/** What the model below wants, as a header. */
const GOOD = {
  a: { dtype: 'F32', shape: [2], data_offsets: [0, 8] },
  b: { dtype: 'F32', shape: [1, 3], data_offsets: [8, 20] },
};
const DATA = float32Bytes([10, 20, 30, 40, 50]);
const newModel = () => variables({ a: [2], b: [1, 3] });

/** A file whose entry of `b` is changed. */
const withB = (changes: object) => fileOf(JSON.stringify({ ...GOOD, b: { ...GOOD.b, ...changes } }), DATA);
const good = fileOf(JSON.stringify(GOOD), DATA);
const aText = '"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}';
const bText = '"b":{"dtype":"F32","shape":[1,3],"data_offsets":[8,20]}';

type Case = readonly [name: string, file: Uint8Array, problem: RegExp, tensor?: string];

const cases: readonly Case[] = [
  ['no bytes', new Uint8Array(), /not a safetensors file.*0 bytes/],
  ['five bytes', new Uint8Array(5), /not a safetensors file.*5 bytes/],
  ['a web page', new TextEncoder().encode('<!DOCTYPE html><html></html>'), /starts with '<!DOCTYP'/],
  ['a header length of 2^60', fileOf(JSON.stringify(GOOD), DATA, 2n ** 60n), /header length of 1152921504606846976/],
  ['a header length of 2^64 - 1', fileOf('{}', DATA, 2n ** 64n - 1n), /header length of 18446744073709551615/],
  ['a header longer than the file', fileOf('{}', DATA, 1000n), /truncated: its header has 1000 bytes/],
  ['a header length of 0', fileOf('', DATA), /'{' at its start expected/],
  ['a header that ends early', fileOf(JSON.stringify(GOOD), DATA, 20n), /of the format/],
  ['a header of wrong JSON', fileOf('{"a":}', DATA), /'{' expected at character 5/, 'a'],
  ['a list as header', fileOf('[]', DATA), /'{' at its start expected/],
  ['white space before the header', fileOf(` ${JSON.stringify(GOOD)}`, DATA), /'{' at its start expected/],
  ['a byte order mark', fileOf(`\ufeff${JSON.stringify(GOOD)}`, DATA), /'{' at its start expected/],
  ['text behind the header', fileOf(`{${aText},${bText}}x`, DATA), /nothing after its last brace/],
  ['a comma too much', fileOf(`{${aText},${bText},}`, DATA), /a name in quotes expected/],
  ['a number as a name', fileOf(`{${aText},7:{}}`, DATA), /a name in quotes expected/],
  ['a name without an end', fileOf(`{${aText},"b`, DATA), /a name in quotes expected/],
  ['a name with a wrong escape', fileOf(`{${aText},"\\x":{}}`, DATA), /a name in quotes expected/],
  ['a header that is not UTF-8', fileOf(`{${aText},"?":{}}`, DATA).map((byte) => (byte === 63 ? 255 : byte)), /UTF-8/],
  ['a deep nest', fileOf(`{"a":${'{"a":'.repeat(1e5)}`, DATA), /has a field 'a'/, 'a'],
  ['a tensor twice', fileOf(`{${aText},${bText},${aText}}`, DATA), /is in the header twice/, 'a'],
  ['a tensor twice, one name escaped', fileOf(`{${aText},${bText},"\\u0061":{}}`, DATA), /is in the header twice/, 'a'],
  ['a field twice', fileOf(`{${aText.replace('}', ',"dtype":"F32"}')},${bText}}`, DATA), /two fields 'dtype'/, 'a'],
  ['an unknown field', withB({ stride: [1] }), /a field 'stride'/, 'b'],
  ['a field __proto__', fileOf(`{${aText.replace('}', ',"__proto__":{}}')}}`, DATA), /field '__proto__'/, 'a'],
  ['a tensor that is no object', fileOf(`{${aText},"b":7}`, DATA), /'{' expected/, 'b'],
  ['no dtype', fileOf(JSON.stringify({ ...GOOD, b: { shape: [3], data_offsets: [8, 20] } }), DATA), /no dtype/, 'b'],
  ['no shape', fileOf(JSON.stringify({ ...GOOD, b: { dtype: 'F32', data_offsets: [8, 20] } }), DATA), /no shape/, 'b'],
  ['no offsets', fileOf(JSON.stringify({ ...GOOD, b: { dtype: 'F32', shape: [3] } }), DATA), /two data_offsets/, 'b'],
  ['an unknown dtype', withB({ dtype: 'F33' }), /dtype 'F33'/, 'b'],
  ['a dtype of the prototype', withB({ dtype: 'constructor' }), /dtype 'constructor'/, 'b'],
  ['a dtype that is a number', withB({ dtype: 32 }), /the dtype's name expected/, 'b'],
  ['a dtype of another width', withB({ dtype: 'F16' }), /needs 6 bytes.*have 12/, 'b'],
  ['a dtype that does not fit', withB({ dtype: 'I32' }), /dtype I32, which does not fit weight 'b' of float32/, 'b'],
  ['a shape that is no list', withB({ shape: 3 }), /'\[' expected/, 'b'],
  ['a shape of texts', withB({ shape: ['3'] }), /integers from 0/, 'b'],
  ['a negative size', withB({ shape: [-1, 3] }), /integers from 0.*got -1/, 'b'],
  ['a fractional size', withB({ shape: [1.5, 2] }), /integers from 0.*got 1\.5/, 'b'],
  ['a size with an exponent', fileOf(`{${bText.replace('1,3', '1,3e0')}}`, DATA), /got 3e0/, 'b'],
  ['a nested shape', withB({ shape: [[1], 3] }), /integers from 0/, 'b'],
  ['a size beyond 2^53', fileOf(`{${bText.replace('1,3', '9007199254740993')}}`, DATA), /got 9007199254740993/, 'b'],
  ['a shape that overflows', withB({ shape: [4294967296, 4294967296] }), /overflows/, 'b'],
  ['a shape that overflows to the right size', withB({ shape: [2 ** 40, 2 ** 40, 3] }), /overflows/, 'b'],
  ['a shape of a thousand axes', withB({ shape: Array(1000).fill(1) }), /more than 64 numbers in its shape/, 'b'],
  ['another shape', withB({ shape: [3, 1] }), /shape \[3, 1\], weight 'b' \[1, 3\] needs \[1, 3\]/, 'b'],
  ['another rank', withB({ shape: [3] }), /shape \[3\], weight 'b' \[1, 3\]/, 'b'],
  ['offsets of one number', withB({ data_offsets: [8] }), /two data_offsets/, 'b'],
  ['offsets of three numbers', withB({ data_offsets: [8, 20, 20] }), /more than 2 numbers/, 'b'],
  ['negative offsets', withB({ data_offsets: [-8, 4] }), /integers from 0.*got -8/, 'b'],
  ['fractional offsets', withB({ data_offsets: [8.5, 20] }), /got 8\.5/, 'b'],
  ['offsets that run backwards', withB({ data_offsets: [20, 8] }), /needs 12 bytes.*have -12/, 'b'],
  ['offsets that do not fit the shape', withB({ data_offsets: [8, 16] }), /needs 12 bytes.*have 8/, 'b'],
  ['overlapping tensors', withB({ data_offsets: [4, 16] }), /overlaps tensor 'a'/, 'b'],
  ['tensors on top of each other', withB({ dtype: 'F32', shape: [2], data_offsets: [0, 8] }), /overlaps tensor/],
  ['a hole', withB({ data_offsets: [12, 24] }), /begins at byte 12.*from 8 on/, 'b'],
  ['a hole at the start', fileOf(`{${bText}}`, DATA), /begins at byte 8.*from 0 on/, 'b'],
  ['bytes behind the last tensor', fileOf(JSON.stringify(GOOD), float32Bytes([1, 2, 3, 4, 5, 6])), /behind its last/],
  ['a missing tensor', fileOf(`{${aText}}`, DATA.subarray(0, 8)), /is missing, which weight 'b' needs/, 'b'],
  ['no tensors', fileOf('{}', new Uint8Array()), /is missing.*1 more.*no tensors/, 'a'],
  ['metadata that is no text', fileOf(`{"__metadata__":{"x":1},${aText},${bText}}`, DATA), /a text expected/],
  ['metadata twice', fileOf(`{"__metadata__":{},"__metadata__":{},${aText},${bText}}`, DATA), /twice/],
  [
    'a tensor __proto__ that nothing needs',
    fileOf(`{${aText},${bText},"__proto__":{"dtype":"F32","shape":[0],"data_offsets":[20,20]}}`, DATA),
    /belongs to no weight/,
    '__proto__',
  ],
  ['a file cut within a tensor', good.slice(0, -5), /is cut off: it ends at byte 20, the file has 15/, 'b'],
  [
    'a file cut within a tensor that its header lists first',
    fileOf(`{${bText},${aText}}`, DATA.subarray(0, 4)),
    /is cut off: it ends at byte 8, the file has 4/,
    'a',
  ],
  ['a file cut behind its header', good.slice(0, -20), /is cut off/, 'a'],
  ['a file cut within its header', good.slice(0, 50), /truncated/],
];

/** Loads a file that must be refused; what the error says. */
async function refused(source: Parameters<typeof loadSafetensors>[1], options: LoadSafetensorsOptions = {}) {
  const model = newModel();
  const before = { values: valuesOf(model), memory: tf.memory().numTensors };
  const error: unknown = await loadSafetensors(model, source, { fileName: 'model.st', ...options }).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(valuesOf(model)).toEqual(before.values);
  expect(tf.memory().numTensors).toBe(before.memory);
  model.dispose();
  expect(error).toBeInstanceOf(Error);
  return (error as Error).message;
}

describe.each(cases.map(([name, file, problem, tensor]) => ({ name, file, problem, tensor })))(
  '$name',
  ({ file, problem, tensor }) => {
    const where = tensor === undefined ? "loadSafetensors: file 'model.st'" : `file 'model.st', tensor '${tensor}' `;

    test('is refused as bytes', async () => {
      const message = await refused(file);
      expect(message).toMatch(problem);
      expect(message).toContain(where);
    });

    test('is refused as a stream, which is let go', async () => {
      const stream = streamOf(file, [1, 64, 3]);
      const message = await refused(stream);
      expect(message).toMatch(problem);
      expect(message).toContain(where);
      expect(stream.isOpen).toBe(false);
    });
  },
);

test('the file that the cases above are made from is loaded', async () => {
  const model = newModel();
  const { loaded } = await loadSafetensors(model, good);
  expect(loaded).toEqual(['a', 'b']);
  expect(valuesOf(model)).toEqual([
    [10, 20],
    [30, 40, 50],
  ]);
  model.dispose();
});

test('a long name is shortened and its control characters are escaped', async () => {
  const name = `\u001b[31m${'x'.repeat(1e5)}`;
  const message = await refused(fileOf(JSON.stringify({ [name]: { ...GOOD.a, dtype: '?' } }), DATA));
  expect(message.length).toBeLessThan(500);
  expect(message).toContain(String.raw`'\u001b[31mxxx`);
});

test('a source that fails in the middle loads nothing', async () => {
  async function* failing() {
    yield good.subarray(0, good.length - 4);
    await Promise.reject(new Error('the line is dead'));
  }
  expect(await refused(failing())).toBe('the line is dead');
});

test('a value that float32 cannot hold loads nothing', async () => {
  const header = { a: { ...GOOD.a, dtype: 'F64', data_offsets: [0, 16] }, b: { ...GOOD.b, data_offsets: [16, 28] } };
  const file = fileOf(
    JSON.stringify(header),
    new Uint8Array([...new Uint8Array(new Float64Array([1, 1e39]).buffer), ...DATA.subarray(8)]),
  );
  expect(await refused(file)).toContain("tensor 'a' has dtype F64; { allowFloat64: true } rounds it to float32");
  expect(await refused(file, { allowFloat64: true })).toContain("tensor 'a' has the value 1e+39, which float32 cannot");
});

describe('memory', () => {
  /** Bytes of array buffers that came on top while `run` ran, at the moments when it asks. */
  async function growth(run: (look: () => void) => Promise<unknown>): Promise<number> {
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    const look = () => (most = Math.max(most, process.memoryUsage().arrayBuffers - before));
    await run(look);
    look();
    return most;
  }

  test('a small file that claims to be huge takes none', async () => {
    const huge = { dtype: 'F32', shape: [2 ** 20, 2 ** 10], data_offsets: [0, 2 ** 32] };
    const files = [fileOf('{"a"', DATA, 99_999_999n), fileOf(JSON.stringify({ huge }), DATA)];
    for (const file of files) {
      const grown = await growth((look) => refused(streamOf(file), { strict: false }).finally(look));
      expect(grown).toBeLessThan(2 ** 20);
    }
  });

  test('a large tensor that no weight needs passes through', async () => {
    const pieceSize = 2 ** 20;
    const count = 64;
    const size = count * pieceSize;
    const header = {
      skipped: { dtype: 'U8', shape: [size], data_offsets: [0, size] },
      a: { ...GOOD.a, data_offsets: [size, size + 8] },
    };
    const model = newModel();
    const grown = await growth(async (look) => {
      async function* stream() {
        yield fileOf(JSON.stringify(header), new Uint8Array());
        const piece = new Uint8Array(pieceSize);
        for (let index = 0; index < count; index++) {
          yield piece;
          look();
          await Promise.resolve();
        }
        yield DATA.subarray(0, 8);
      }
      const { unused, missing } = await loadSafetensors(model, stream(), { strict: false });
      expect({ unused, missing }).toEqual({ unused: ['skipped'], missing: ['b'] });
    });
    expect(valuesOf(model)[0]).toEqual([10, 20]);
    model.dispose();
    expect(grown).toBeLessThan(4 * pieceSize);
  });
});

describe('fuzzed', () => {
  const pieces = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 });
  const headerSize = good.length - DATA.length;
  const edit = fc.record({
    at: fc.oneof(fc.integer({ min: 0, max: headerSize - 1 }), fc.integer({ min: 0, max: good.length })),
    remove: fc.integer({ min: 0, max: 3 }),
    // Bytes that mean something to the header are likelier than others.
    insert: fc.array(
      fc.oneof(
        fc.integer({ min: 0, max: 255 }),
        fc.constantFrom(...'{}[],:"\\0129eab-. '.split('').map((c) => c.charCodeAt(0))),
      ),
      { maxLength: 3 },
    ),
  });

  test('a damaged file is refused, or read as it says', async () => {
    let refusals = 0;
    const property = fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), pieces, async (edits, sizes) => {
      const bytes = [...good];
      for (const { at, remove, insert } of edits) bytes.splice(at, remove, ...insert);
      const file = new Uint8Array(bytes);
      const model = newModel();
      const before = valuesOf(model);
      const problem = await loadSafetensors(model, streamOf(file, sizes), { strict: false }).then(
        ({ loaded }) => {
          const { values } = readFile(file);
          const expected = ['a', 'b'].map((name, index) => (loaded.includes(name) ? values(name) : before[index]));
          expect(valuesOf(model)).toEqual(expected);
        },
        (error: unknown) => error,
      );
      if (problem !== undefined) {
        refusals++;
        expect((problem as Error).message).toMatch(/^loadSafetensors: file 'AsyncIterable'/);
        expect(valuesOf(model)).toEqual(before);
      }
      model.dispose();
    });
    await fc.assert(property, { numRuns: 1500, seed: 12 });
    // Both outcomes must have been seen.
    expect(refusals).toBeGreaterThan(500);
    expect(refusals).toBeLessThan(1500);
  });
});
