/** How PyTorch's modules lie in a file. */
import type { TensorMapping } from './mapping.js';

/** Options of `fromLinear`. */
export interface FromLinearOptions {
  /** How many leading axes of the kernel are inputs. Default 1; 2 for `attention_output/kernel [H, Dv, out]`. */
  readonly inputAxes?: number;
  /** How many axes after those are outputs. Default 1; 2 for `query/kernel [dim, H, Dk]`. */
  readonly outputAxes?: number;
}

/**
 * The weight of an `nn.Linear`, `[out_features, in_features]`, for a Keras kernel, `[...inputs, ...outputs]`.
 *
 * ```js
 * const map = { 'head/kernel': fromLinear('head.weight'), 'head/bias': 'head.bias' };
 * ```
 */
export function fromLinear(tensor: string, { inputAxes = 1, outputAxes = 1 }: FromLinearOptions = {}): TensorMapping {
  const axes = (from: number, count: number) => Array.from({ length: count }, (_, index) => from + index);
  return { tensor, axes: [axes(inputAxes, outputAxes), axes(0, inputAxes)] };
}

/** Options of `torchAttention` and `torchMultiheadAttention`. */
export interface TorchAttentionOptions {
  /**
   * Name of the attention layer, or of the path to it: what stands before `/query/kernel` in its weights' names. It can
   * be left out where the model has one such layer.
   */
  readonly layer?: string;
  /** Whether the layer and the file have biases. Default: `true`, as in the layers (and unlike most language models). */
  readonly useBias?: boolean;
}

/** Options of `torchAttention`. */
export interface TorchProjectionOptions extends TorchAttentionOptions {
  /** Names of the modules. Defaults: `q_proj`, `k_proj`, `v_proj`, `o_proj`. */
  readonly query?: string;
  readonly key?: string;
  readonly value?: string;
  readonly output?: string;
  /** Name of the module of Parallax's probe. Default: there is none. */
  readonly probe?: string;
}

/** The heads lie one after the other in `out_features` (`in_features` of the output), each with its channels together. */
const HEADS_OUT: FromLinearOptions = { outputAxes: 2 };
const HEADS_IN: FromLinearOptions = { inputAxes: 2 };

/** A bias `[H, Dk]`, which `nn.Linear` has as `[H * Dk]`. */
const flatBias = (tensor: string): TensorMapping => ({ tensor, axes: [[0, 1]] });

/**
 * The map of an attention layer whose projections are four `nn.Linear` modules in the file, as in Llama, in
 * flash-linear-attention and in most code that reshapes by `view(B, T, H, D)`.
 *
 * | weight | shape | in the file | shape |
 * |---|---|---|---|
 * | `query/kernel`, also key, value | `[dim, H, Dk]` | `<prefix>.q_proj.weight` | `[H * Dk, dim]` |
 * | `query/bias`, also key, value | `[H, Dk]` | `<prefix>.q_proj.bias` | `[H * Dk]` |
 * | `attention_output/kernel` | `[H, Dv, out]` | `<prefix>.o_proj.weight` | `[out, H * Dv]` |
 * | `attention_output/bias` | `[out]` | `<prefix>.o_proj.bias` | `[out]` |
 *
 * ```js
 * const map = {
 *   ...torchAttention('layers.0.attn', { layer: 'attention_1', useBias: false }),
 *   ...torchAttention('layers.1.attn', { layer: 'attention_2', useBias: false }),
 *   'head/kernel': fromLinear('lm_head.weight'),
 * };
 * ```
 *
 * @param prefix The module's name in PyTorch, without the dot behind it; `''` for a file of the module alone.
 */
export function torchAttention(prefix: string, options: TorchProjectionOptions = {}): Record<string, TensorMapping> {
  const {
    layer,
    useBias = true,
    query = 'q_proj',
    key = 'k_proj',
    value = 'v_proj',
    output = 'o_proj',
    probe,
  } = options;
  const map: Record<string, TensorMapping> = {};
  const weight = (name: string) => (layer ? `${layer}/${name}` : name);
  const tensor = (module: string, parameter: string) => `${prefix ? `${prefix}.` : ''}${module}.${parameter}`;
  for (const [name, module] of Object.entries({ query, key, value })) {
    map[weight(`${name}/kernel`)] = fromLinear(tensor(module, 'weight'), HEADS_OUT);
    if (useBias) map[weight(`${name}/bias`)] = flatBias(tensor(module, 'bias'));
  }
  map[weight('attention_output/kernel')] = fromLinear(tensor(output, 'weight'), HEADS_IN);
  if (useBias) map[weight('attention_output/bias')] = { tensor: tensor(output, 'bias') };
  if (probe !== undefined) map[weight('probe/kernel')] = fromLinear(tensor(probe, 'weight'), HEADS_OUT);
  return map;
}

/**
 * The map of an attention layer that is an `nn.MultiheadAttention` in the file: query, key and value lie in one tensor,
 * `in_proj_weight [3 * dim, dim]`, one after the other.
 *
 * ```js
 * const map = torchMultiheadAttention('encoder.layers.0.self_attn', { layer: 'attention_1' });
 * ```
 *
 * @param prefix The module's name in PyTorch, without the dot behind it; `''` for a file of the module alone.
 */
export function torchMultiheadAttention(
  prefix: string,
  { layer, useBias = true }: TorchAttentionOptions = {},
): Record<string, TensorMapping> {
  const map: Record<string, TensorMapping> = {};
  const weight = (name: string) => (layer ? `${layer}/${name}` : name);
  const tensor = (name: string) => (prefix ? `${prefix}.${name}` : name);
  for (const [index, name] of ['query', 'key', 'value'].entries()) {
    const part = { index, of: 3 };
    map[weight(`${name}/kernel`)] = { ...fromLinear(tensor('in_proj_weight'), HEADS_OUT), part };
    if (useBias) map[weight(`${name}/bias`)] = { ...flatBias(tensor('in_proj_bias')), part };
  }
  map[weight('attention_output/kernel')] = fromLinear(tensor('out_proj.weight'), HEADS_IN);
  if (useBias) map[weight('attention_output/bias')] = { tensor: tensor('out_proj.bias') };
  return map;
}
