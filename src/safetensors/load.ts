import type { Tensor } from '@tensorflow/tfjs-core';
import { checkOptions, isBoolean, printed, reject, type OptionCheck } from '../../kernels/common/validate.js';
import { Chunks } from './chunks.js';
import { Decoder } from './decode.js';
import { formatOf, FORMATS } from './dtypes.js';
import { failTruncated, readHeader, type Header } from './header.js';
import { isWeightMap, listed, mapWeights, type MappedWeight, type WeightMap } from './mapping.js';
import { FileProblems, shown } from './problem.js';
import { openSource, type SafetensorsSource } from './source.js';
import { weightsOf, type HasWeights } from './weights.js';

/** Options of `loadSafetensors`. */
export interface LoadSafetensorsOptions {
  /** Where each weight lies in the file. Default: under its own name, in its own shape. */
  readonly map?: WeightMap;
  /**
   * `true` (default): every weight must be in the file, and every tensor of the file must be used. `false`: weights
   * that the file lacks keep their values, tensors that no weight asks for are skipped; the result lists both.
   */
  readonly strict?: boolean;
  /** Whether float64 tensors are rounded to float32. Default: `false`, they are an error. */
  readonly allowFloat64?: boolean;
  /** What errors call the file. Default: its name, path or URL, where the source has one. */
  readonly fileName?: string;
}

/** What `loadSafetensors` did. */
export interface LoadedSafetensors {
  /** Names of the weights that were set. */
  readonly loaded: readonly string[];
  /** Names of the weights that the file lacks; empty unless `strict` is `false`. */
  readonly missing: readonly string[];
  /** Names of the file's tensors that no weight asked for; empty unless `strict` is `false`. */
  readonly unused: readonly string[];
  /** The file's own notes (`__metadata__`). */
  readonly metadata: Readonly<Record<string, string>>;
}

const CALLER = 'loadSafetensors';

const isText: OptionCheck = (operator, option, value) => {
  if (typeof value !== 'string') reject(operator, option, `must be a text, got ${printed(value)}`);
};

const OPTIONS = { map: isWeightMap, strict: isBoolean, allowFloat64: isBoolean, fileName: isText };

/**
 * Sets the weights of a model or a layer from a safetensors file, as PyTorch, JAX and others write it.
 *
 * Float32, float16 and bfloat16 tensors fill float32 weights (float64 ones if `allowFloat64` is set), int32 tensors
 * int32 weights. The file is read as a stream and each weight is converted while its bytes arrive; besides the model
 * there is room needed for one more copy of its weights, and for the source itself if that is in memory. The whole
 * file is checked, its header before any value is read, and all weights are set at the very end: where the promise is
 * rejected, none has changed. As with `setWeights`, a weight's constraint is applied to what is loaded.
 *
 * A model in several files (shards) is loaded by one call per file with `strict: false`.
 *
 * ```js
 * import { loadSafetensors, torchAttention } from 'tfjs-lla/safetensors';
 *
 * // A file of PyTorch's with q_proj, k_proj, v_proj and o_proj in `layers.0.attn`, each an nn.Linear with bias.
 * await loadSafetensors(model, 'https://example.com/model.safetensors', {
 *   map: torchAttention('layers.0.attn', { layer: 'attention_1' }),
 * });
 * ```
 *
 * @param model What has `weights`: a `tf.LayersModel`, a `tf.layers.Layer` that is built, a list of variables.
 * @param source Bytes, Blob, Response, stream, URL, or in Node a path.
 * @throws An `Error` that names the file and the tensor: for a file that is not of the format
 *   (https://huggingface.co/docs/safetensors), truncated or too long, for a tensor that is missing, unused, of another
 *   shape or dtype than its weight, and for float64 values that float32 cannot hold.
 */
export async function loadSafetensors(
  model: HasWeights,
  source: SafetensorsSource,
  options: LoadSafetensorsOptions = {},
): Promise<LoadedSafetensors> {
  checkOptions(CALLER, options, OPTIONS);
  const mapped = mapWeights(CALLER, weightsOf(CALLER, model), options.map);
  const file = await openSource(CALLER, source);
  const problems = new FileProblems(CALLER, options.fileName ?? file.name);
  const chunks = new Chunks(file.pieces);
  try {
    const header = await readHeader(chunks, file.size, problems);
    const { decoders, result } = plan(mapped, header, options, problems);
    await decode(chunks, decoders, header, problems);
    assign(decoders);
    return result;
  } finally {
    await chunks.close();
  }
}

/** Decides what is read into which weight; nothing was read yet. */
function plan(
  mapped: readonly MappedWeight[],
  { tensors, metadata }: Header,
  { strict = true, allowFloat64 = false }: LoadSafetensorsOptions,
  problems: FileProblems,
): { decoders: Decoder[]; result: LoadedSafetensors } {
  const present = mapped.filter(({ tensor }) => tensors.has(tensor));
  const missing = mapped.filter(({ tensor }) => !tensors.has(tensor));
  const used = new Set(present.map(({ tensor }) => tensor));
  const unused = [...tensors.keys()].filter((name) => !used.has(name));
  if (strict && missing.length > 0) {
    const [{ tensor, weight }] = missing;
    const others = missing.length > 1 ? ` (and ${missing.length - 1} more are missing)` : '';
    const names = tensors.size > 0 ? listed([...tensors.keys()]) : 'no tensors';
    problems.fail(`is missing, which weight '${weight.name}' needs${others}; the file has ${names}`, tensor);
  }
  if (strict && unused.length > 0) {
    const others = unused.length > 1 ? ` (nor ${unused.length - 1} more)` : '';
    problems.fail(`belongs to no weight of the model${others}; { strict: false } skips such tensors`, unused[0]);
  }
  const decoders = present.map((each) => {
    const { name, dtype, shape, begin } = tensors.get(each.tensor) ?? problems.fail('is missing', each.tensor);
    const { weight, fileShape } = each;
    if (shape.length !== fileShape.length || shape.some((size, axis) => size !== fileShape[axis])) {
      const wanted = `weight '${weight.name}' ${shown(weight.shape)} needs ${shown(fileShape)}`;
      problems.fail(`has shape ${shown(shape)}, ${wanted}`, name);
    }
    const format = formatOf(dtype);
    if (format?.weight !== weight.dtype) {
      problems.fail(`has dtype ${dtype}, which does not fit weight '${weight.name}' of ${weight.dtype}`, name);
    }
    if (format === FORMATS.F64 && !allowFloat64) {
      problems.fail(`has dtype F64; { allowFloat64: true } rounds it to float32`, name);
    }
    return new Decoder(each, begin, format);
  });
  const names = (weights: readonly MappedWeight[]) => weights.map(({ weight }) => weight.name);
  // `Object.fromEntries` makes own properties of all names, `__proto__` among them.
  const result = { loaded: names(present), missing: names(missing), unused, metadata: Object.fromEntries(metadata) };
  return { decoders, result };
}

/** Reads the values, all of them, and makes sure that the file ends where its header says. */
async function decode(
  chunks: Chunks,
  decoders: readonly Decoder[],
  { tensors, dataSize }: Header,
  problems: FileProblems,
): Promise<void> {
  let waiting = [...decoders].sort((a, b) => a.begin - b.begin);
  let at = 0;
  for (let piece = await chunks.next(); piece !== undefined; piece = await chunks.next()) {
    const end = at + piece.length;
    if (end > dataSize) problems.fail('goes on behind its last tensor: these bytes belong to none');
    for (const decoder of waiting) {
      if (decoder.begin >= end) break;
      const bytes = piece.subarray(Math.max(decoder.begin - at, 0), Math.max(decoder.end - at, 0));
      decoder.feed(bytes, (value) => {
        problems.fail(`has the value ${value}, which float32 cannot hold`, decoder.mapped.tensor);
      });
    }
    waiting = waiting.filter((decoder) => decoder.end > end);
    at = end;
  }
  if (at < dataSize) failTruncated(tensors, at, problems);
}

/** Sets all weights, or none: whatever can fail comes before the first one is written. */
function assign(decoders: readonly Decoder[]): void {
  const values: Tensor[] = [];
  try {
    for (const decoder of decoders) {
      // Throws for a weight that was disposed while the file was read.
      decoder.mapped.weight.read();
      values.push(decoder.tensor());
    }
    for (const [index, { mapped }] of decoders.entries()) mapped.weight.write(values[index]);
  } finally {
    for (const value of values) value.dispose();
  }
}
