import { cast, gather, logicalAnd, reshape, slice, type Tensor } from '@tensorflow/tfjs-core';
import { type layers as tfLayers, LayersModel, type SymbolicTensor } from '@tensorflow/tfjs-layers';

import { printed, reject } from '../../../kernels/common/validate.js';
import { plainMask } from '../masks.js';

/** What `generate` needs of a cache. */
export interface StepCache {
  readonly byteSize?: number;
  dispose(): void;
}

/**
 * A layer that looks at earlier tokens through a cache: those of this package are, and a layer of a user's own may be.
 *
 * `step(x, cache, { mask })` gets the tokens `[B, t, ...]` after those that the cache has seen, and gives what a call on
 * the whole sequence gives for them; `mask [B, t]` is there where some of them are padding. `createCache(batchSize, {
 * capacity, firstPosition })` is told the number of tokens to come and the position of each sequence's first one, which
 * is negative where the sequence is padded at its left; `window` where `generate` was given one.
 */
interface Stepped {
  createCache(
    batchSize: number,
    options: { capacity?: number; window?: number; firstPosition: readonly number[] },
  ): StepCache;
  step(x: Tensor, cache: StepCache, options: { mask?: Tensor }): Tensor;
}

/** Layers of tfjs that look at one token at a time, whatever their arguments. */
const TOKENWISE = new Set([
  ...['Dense', 'Embedding', 'Masking', 'TimeDistributed', 'Rescaling'],
  ...['Activation', 'ReLU', 'LeakyReLU', 'ELU', 'ThresholdedReLU'],
  ...['Dropout', 'SpatialDropout1D', 'GaussianNoise', 'GaussianDropout', 'AlphaDropout'],
  ...['Add', 'Multiply', 'Average', 'Maximum', 'Minimum'],
]);

/** Layers of tfjs that do so along the last axis. */
const TOKENWISE_ALONG_LAST = new Set(['LayerNormalization', 'BatchNormalization', 'Softmax', 'Concatenate']);

/** One call of a layer in a model. */
interface Node {
  readonly layer: tfLayers.Layer;
  /** Nodes that it takes its inputs from. */
  readonly inputs: readonly number[];
  /** Index of its cache; none where it looks at one token at a time. */
  readonly cache?: number;
}

/** A value and the mask that goes with it. */
interface Flow {
  readonly value: Tensor;
  readonly mask: Tensor | null;
}

type StepLayer = tfLayers.Layer & Stepped;

const isStepped = (layer: tfLayers.Layer): layer is StepLayer => {
  const { createCache, step } = layer as Partial<StepLayer>;
  return typeof createCache === 'function' && typeof step === 'function';
};

const isTokenwise = (layer: tfLayers.Layer): boolean => (layer as { tokenwise?: unknown }).tokenwise === true;

const labelOf = (layer: tfLayers.Layer): string => `${layer.getClassName()} '${layer.name}'`;

/** Throws where a layer is neither stepped nor known to look at one token at a time. */
function checkTokenwise(layer: tfLayers.Layer, inputs: readonly SymbolicTensor[]): void {
  const name = layer.getClassName();
  if (TOKENWISE.has(name) || isTokenwise(layer)) return;
  if (TOKENWISE_ALONG_LAST.has(name)) {
    const { axis = -1 } = layer.getConfig() as { axis?: number | number[] };
    const rank = inputs[0].shape.length;
    const axes = (Array.isArray(axis) ? axis : [axis]).map((at) => (at < 0 ? at + rank : at));
    if (axes.every((at) => at >= 2)) return;
    reject('generate', 'model', `has the layer ${labelOf(layer)} along axis ${printed(axis)}, which mixes tokens`);
  }
  reject(
    'generate',
    'model',
    `has the layer ${labelOf(layer)}, which mixes tokens or is unknown; a layer of your own needs createCache and step, ` +
      'or tokenwise = true where it looks at one token at a time',
  );
}

/** The calls of a causal model in the order in which they run, nested models dissolved. */
export class ModelGraph {
  /** Number of tokens that the embedding of the ids knows, where there is one. */
  readonly vocabulary: number | undefined;
  /** Whether the model ends in a softmax. */
  readonly endsInSoftmax: boolean;
  private readonly nodes: Node[] = [];
  private readonly stepped: StepLayer[] = [];
  private readonly output: number;
  /** Nodes of which a later token's result depends on every row; of the others the last row is enough. */
  private readonly needed: ReadonlySet<number>;
  private readonly dtype: SymbolicTensor['dtype'];

  /** Throws where the model does not map ids `[B, T]` to numbers `[B, T, V]` token by token. */
  constructor(model: unknown) {
    if (!(model instanceof LayersModel)) {
      reject('generate', 'model', `must be a tf.LayersModel, got ${printed(typeof model)}`);
    }
    const [input, output] = endsOf(model);
    if (input.shape.length !== 2) {
      reject('generate', 'model', `must take token ids [B, T], its input has shape [${input.shape.join(', ')}]`);
    }
    if (output.shape.length !== 3) {
      reject('generate', 'model', `must give [B, T, vocabulary], its output has shape [${output.shape.join(', ')}]`);
    }
    this.dtype = input.dtype;
    this.nodes.push({ layer: input.sourceLayer, inputs: [] });
    this.output = this.add(output, new Map([[input.id, 0]]));
    const needed = new Set<number>();
    for (let index = this.nodes.length - 1; index >= 0; index--) {
      const { cache, inputs } = this.nodes[index];
      if (cache !== undefined) needed.add(index);
      if (needed.has(index)) for (const from of inputs) needed.add(from);
    }
    this.needed = needed;
    const embeddings = this.nodes.filter(({ layer, inputs }) => inputs[0] === 0 && isEmbedding(layer));
    const sizes = embeddings.map(({ layer }) => Number(layer.getConfig().inputDim));
    this.vocabulary = sizes.length > 0 ? Math.min(...sizes) : undefined;
    const last = this.nodes[this.output].layer;
    const { activation } = last.getConfig();
    this.endsInSoftmax = last.getClassName() === 'Softmax' || activation === 'softmax';
  }

  /** Adds what a tensor of the model depends on; gives its node. */
  private add(x: SymbolicTensor, known: Map<number, number>): number {
    const found = known.get(x.id);
    if (found !== undefined) return found;
    const { sourceLayer: layer } = x;
    if (x.inputs.length === 0) reject('generate', 'model', `must have one input, the token ids; ${x.name} is another`);
    const inputs = x.inputs.map((input) => this.add(input, known));
    let index: number;
    if (layer instanceof LayersModel) {
      const [input, output] = endsOf(layer);
      index = this.add(output, new Map([[input.id, inputs[0]]]));
    } else {
      index = this.nodes.push(this.call(layer, x.inputs, inputs)) - 1;
    }
    known.set(x.id, index);
    return index;
  }

  private call(layer: tfLayers.Layer, symbols: readonly SymbolicTensor[], inputs: number[]): Node {
    if (!isStepped(layer)) {
      checkTokenwise(layer, symbols);
      return { layer, inputs };
    }
    if (inputs.length > 1) {
      reject('generate', 'model', `has the layer ${labelOf(layer)} with ${inputs.length} inputs; a step takes one`);
    }
    return { layer, inputs, cache: this.stepped.push(layer) - 1 };
  }

  /** A cache for each call of a stepped layer, in order; none is left where one throws. */
  createCaches(batchSize: number, options: Parameters<Stepped['createCache']>[1]): StepCache[] {
    const caches: StepCache[] = [];
    try {
      for (const layer of this.stepped) caches.push(layer.createCache(batchSize, options));
    } catch (error) {
      for (const cache of caches) cache.dispose();
      throw error;
    }
    return caches;
  }

  /**
   * Runs the model on new tokens `ids [B, t]`; what it returns and what it makes on the way is the caller's tidy's.
   *
   * @param mask `[B, t]`, false for padding.
   * @returns `[B, 1, V]`, the output for the last token.
   */
  step(ids: Tensor, caches: readonly StepCache[], mask?: Tensor): Tensor {
    const flows: Flow[] = [];
    for (const [index, { layer, inputs, cache }] of this.nodes.entries()) {
      if (index === 0) {
        flows.push({ value: cast(ids, this.dtype), mask: null });
        continue;
      }
      const all = this.needed.has(index);
      // What no stepped layer sees is of interest for the last token only, and then without its mask.
      const given = inputs.map((from) => (all || !this.needed.has(from) ? flows[from] : lastToken(flows[from])));
      const stepped = cache === undefined ? undefined : this.stepped[cache];
      flows.push(
        stepped === undefined || cache === undefined
          ? tokenwise(layer, given)
          : { value: stepped.step(given[0].value, caches[cache], both(given[0].mask, mask)), mask: given[0].mask },
      );
    }
    return lastToken(flows[this.output]).value;
  }
}

/** The only input and the only output of a model. */
function endsOf(model: LayersModel): [SymbolicTensor, SymbolicTensor] {
  // A sequential model whose first layer has no shape has neither until it is called.
  const inputs = (model.inputs as SymbolicTensor[] | undefined) ?? [];
  const outputs = (model.outputs as SymbolicTensor[] | undefined) ?? [];
  if (inputs.length === 0 || outputs.length === 0) {
    reject('generate', 'model', `'${model.name}' has not been built: its first layer needs an inputShape`);
  }
  if (inputs.length > 1 || outputs.length > 1) {
    const sizes = `${inputs.length} and ${outputs.length}`;
    reject('generate', 'model', `must have one input and one output, '${model.name}' has ${sizes}`);
  }
  return [inputs[0], outputs[0]];
}

const isEmbedding = (layer: tfLayers.Layer): boolean => layer.getClassName() === 'Embedding';

/** The last of the tokens `[B, t, ...]`. */
function lastToken({ value }: Flow): Flow {
  const [B, t, ...rest] = value.shape;
  const begin = [0, t - 1, ...rest.map(() => 0)];
  return { value: t === 1 ? value : slice(value, begin, [B, 1, ...rest]), mask: null };
}

/** The mask of padding and the model's own as the option of a step. */
function both(own: Tensor | null, padding: Tensor | undefined): { mask?: Tensor } {
  if (own === null) return padding ? { mask: padding } : {};
  const plain = cast(plainMask(own), 'bool');
  return { mask: padding ? logicalAnd(plain, padding) : plain };
}

/** Calls a layer as a model does. */
function tokenwise(layer: tfLayers.Layer, given: readonly Flow[]): Flow {
  const values = given.map(({ value }) => value);
  const masks = given.map(({ mask }) => mask);
  const masked = masks.some((mask) => mask !== null);
  const options = { training: false, ...(masked && { mask: masks[0] }) };
  const value = isEmbedding(layer) ? embed(layer, values[0]) : (layer.apply(values, options) as Tensor);
  // tfjs hands its own layers null for no mask, too, whatever their types say.
  const mask = layer.supportsMasking ? layer.computeMask(values, masks as Tensor[]) : null;
  const first = (Array.isArray(mask) ? mask[0] : mask) as Tensor | null | undefined;
  return { value, mask: first ?? null };
}

/** An embedding by hand: tfjs's insists on `inputLength` tokens, where that was given. */
function embed(layer: tfLayers.Layer, ids: Tensor): Tensor {
  const table = layer.weights[0].read();
  const rows = gather(table, cast(reshape(ids, [ids.size]), 'int32'));
  return reshape(rows, [...ids.shape, table.shape[1] ?? 1]);
}
