import type { Tensor } from '@tensorflow/tfjs-core';
import { checkOptions, isOneOf, printed, reject, type OptionCheck } from '../../kernels/common/validate.js';
import { FORMATS, type NumberFormat } from './dtypes.js';
import { isWeightMap, listed, mapWeights, type MappedWeight, type WeightMap } from './mapping.js';
import { Places } from './place.js';
import { shown } from './problem.js';
import { weightsOf, type HasWeights } from './weights.js';

/** Options of `saveSafetensors`. */
export interface SaveSafetensorsOptions {
  /** Where each weight is to lie in the file, as for `loadSafetensors`. Default: under its own name, in its own shape. */
  readonly map?: WeightMap;
  /** How float32 weights are stored: `'F32'` (default), or rounded to `'F16'` or `'BF16'`. */
  readonly dtype?: 'F32' | 'F16' | 'BF16';
  /** Notes for the file (`__metadata__`). Hugging Face's transformers wants `{ format: 'pt' }`. */
  readonly metadata?: Readonly<Record<string, string>>;
}

const CALLER = 'saveSafetensors';

const isNotes: OptionCheck = (operator, option, value) => {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isObject || Object.values(value).some((note) => typeof note !== 'string')) {
    reject(operator, option, `must be an object of texts, got ${printed(value)}`);
  }
};

const OPTIONS = { map: isWeightMap, dtype: isOneOf('F32', 'F16', 'BF16'), metadata: isNotes };

/** A tensor of the file to be, with the weights it is made of: one, or one per part. */
interface OutputTensor {
  readonly name: string;
  readonly dtype: keyof typeof FORMATS;
  readonly shape: readonly number[];
  readonly size: number;
  readonly parts: readonly MappedWeight[];
}

/**
 * The weights of a model or a layer as a safetensors file, which PyTorch, JAX and `loadSafetensors` read.
 *
 * Float32 weights are stored as `dtype`, int32 weights as I32. The tensors' order and the header are those that the
 * Python package writes. With the `map` by which a file was loaded, the file comes back under its own names and in its
 * own layout.
 *
 * ```js
 * import { saveSafetensors } from 'tfjs-lla/safetensors';
 * import { writeFile } from 'node:fs/promises';
 *
 * await writeFile('model.safetensors', await saveSafetensors(model));
 * ```
 *
 * @param model What has `weights`: a `tf.LayersModel`, a `tf.layers.Layer` that is built, a list of variables.
 * @returns The bytes of the file.
 * @throws An `Error` that names the weight or the tensor: for two weights in one tensor, parts that are missing, a dtype
 *   other than float32 and int32, and for finite values that `dtype` cannot hold.
 */
export async function saveSafetensors(model: HasWeights, options: SaveSafetensorsOptions = {}): Promise<Uint8Array> {
  checkOptions(CALLER, options, OPTIONS);
  const { map, dtype = 'F32', metadata } = options;
  const tensors = inFileOrder(outputTensors(mapWeights(CALLER, weightsOf(CALLER, model), map), dtype));
  const header = headerBytes(tensors, metadata);
  const dataSize = tensors.reduce((sum, { size }) => sum + size, 0);
  const file = new Uint8Array(8 + header.length + dataSize);
  new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true);
  file.set(header, 8);
  // All weights as of now: awaiting one must not let a training step change the next.
  const weights = tensors.flatMap(({ parts }) => parts);
  const snapshots = weights.map(({ weight }) => weight.read().clone());
  try {
    let at = 8 + header.length;
    for (const { name, dtype: stored, parts, size } of tensors) {
      const partSize = size / parts.length;
      for (const part of parts) {
        const view = new DataView(file.buffer, at, partSize);
        await write(view, snapshots[weights.indexOf(part)], part, FORMATS[stored], `tensor '${name}' (${stored})`);
        at += partSize;
      }
    }
  } finally {
    for (const snapshot of snapshots) snapshot.dispose();
  }
  return file;
}

/** Puts the weights that share a tensor together. */
function outputTensors(mapped: readonly MappedWeight[], dtype: 'F32' | 'F16' | 'BF16'): OutputTensor[] {
  const byName = new Map<string, MappedWeight[]>();
  for (const each of mapped) byName.set(each.tensor, [...(byName.get(each.tensor) ?? []), each]);
  return [...byName].map(([name, weights]) => {
    // A lone surrogate has no UTF-8; `__metadata__` is taken.
    if (name === '__metadata__' || /\p{Surrogate}/u.test(name)) {
      reject(CALLER, 'map', `must not name a tensor ${printed(name)}, which the format cannot hold`);
    }
    const parts = [...weights].sort((a, b) => a.part.index - b.part.index);
    const [{ fileShape, part, weight }] = parts;
    const sizes = new Set(parts.map((each) => shown(each.fileShape)));
    const dtypes = new Set(parts.map((each) => each.weight.dtype));
    const isWhole = parts.length === part.of && parts.every((each, index) => each.part.index === index);
    if (!isWhole || sizes.size > 1 || dtypes.size > 1) {
      const names = listed(parts.map((each) => each.weight.name));
      reject(
        CALLER,
        'map',
        `must fill tensor '${name}' by one weight, or by equal parts of it, each once: got ${names}`,
      );
    }
    if (weight.dtype !== 'float32' && weight.dtype !== 'int32') {
      reject(CALLER, 'model', `has weight '${weight.name}' of dtype ${weight.dtype}; float32 and int32 can be saved`);
    }
    const stored = weight.dtype === 'int32' ? 'I32' : dtype;
    const size = fileShape.reduce((product, length) => product * length, FORMATS[stored].bytes);
    return { name, dtype: stored, shape: fileShape, size, parts };
  });
}

/** By falling alignment, then by name, as the Python package sorts them: every tensor lies at a multiple of its width. */
function inFileOrder(tensors: readonly OutputTensor[]): OutputTensor[] {
  const ranks = ['F32', 'I32', 'BF16', 'F16'];
  const byName = (a: string, b: string) => (a < b ? -1 : 1);
  return [...tensors].sort((a, b) => ranks.indexOf(a.dtype) - ranks.indexOf(b.dtype) || byName(a.name, b.name));
}

/** The header, filled up with spaces to a multiple of 8 bytes. */
function headerBytes(tensors: readonly OutputTensor[], metadata: Readonly<Record<string, string>> | undefined) {
  let offset = 0;
  const entries = tensors.map(({ name, dtype, shape, size }): [string, object] => {
    const offsets = [offset, offset + size];
    offset += size;
    return [name, { dtype, shape, data_offsets: offsets }];
  });
  const notes: [string, object][] = metadata === undefined ? [] : [['__metadata__', metadata]];
  // Member by member: an object would move names that look like numbers to its front.
  const members = [...notes, ...entries].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  const bytes = new TextEncoder().encode(`{${members.join(',')}}`);
  const padded = new Uint8Array(Math.ceil(bytes.length / 8) * 8).fill(0x20);
  padded.set(bytes);
  return padded;
}

async function write(
  view: DataView,
  snapshot: Tensor,
  { weight, order }: MappedWeight,
  format: NumberFormat,
  where: string,
): Promise<void> {
  const values = await snapshot.data();
  const places = new Places(weight.shape, order);
  for (let at = 0; at < view.byteLength; at += format.bytes) {
    const value = values[places.next()];
    format.write(view, at, value);
    if (Number.isFinite(value) && !Number.isFinite(format.read(view, at))) {
      reject(CALLER, where, `cannot hold the value ${value} of weight '${weight.name}'`);
    }
  }
}
