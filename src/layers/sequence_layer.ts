import { dropout, type serialization, type Tensor } from '@tensorflow/tfjs-core';
import { layers as tfLayers, SymbolicTensor } from '@tensorflow/tfjs-layers';

import { printed, reject } from '../../kernels/common/validate.js';
import { checkCallArguments, type LayerArgs, layerLabel } from './arguments.js';
import { isTensor, type NamedInputs } from './inputs.js';
import { canBeMasked, findMasks, type FoundMasks, type MaskContext, plainMask } from './masks.js';

/** What tfjs and users pass to a call besides its inputs. */
export type CallOptions = Record<string, unknown>;

/** A layer on sequences that knows what to believe of the masks that tfjs hands it. */
export abstract class SequenceLayer extends tfLayers.Layer {
  /** How errors call this layer. */
  protected readonly label: string;
  /** Whether weights are about to be loaded, so that what they begin as does not matter. */
  protected fastInit = false;
  private warned = false;
  /** Number of calls that dropped something: each has a seed of its own. */
  private dropped = 0;

  protected constructor(kind: string, args: LayerArgs) {
    super(args);
    this.label = layerLabel(kind, this.name);
    this.supportsMasking = true;
  }

  /** The inputs of a call by their names, checked. */
  protected abstract named(inputs: Tensor | Tensor[]): NamedInputs<Tensor>;

  override setFastWeightInitDuringBuild(value: boolean): void {
    super.setFastWeightInitDuringBuild(value);
    this.fastInit = value;
  }

  override apply(
    inputs: Tensor | Tensor[] | SymbolicTensor | SymbolicTensor[],
    options?: CallOptions | null,
  ): Tensor | Tensor[] | SymbolicTensor | SymbolicTensor[] {
    const kwargs = options ?? {};
    checkCallArguments(this.label, kwargs);
    const list: unknown[] = Array.isArray(inputs) ? inputs : [inputs];
    if (list.length === 0) reject(this.label, 'inputs', 'must be at least one tensor, got 0');
    const odd = list.find((input) => !isTensor(input) && !(input instanceof SymbolicTensor));
    if (list.includes(odd)) reject(this.label, 'inputs', `must be tensors, got ${printed(odd)}`);
    if (list.some((input) => input instanceof SymbolicTensor)) {
      if (kwargs.mask !== undefined && kwargs.mask !== null) {
        reject(this.label, 'mask', 'has no effect in a symbolic call: tfjs would drop it; make it the last input');
      }
      return super.apply(inputs, kwargs);
    }
    const output = super.apply(inputs, kwargs);
    // tfjs asks `computeMask`, which it does not tell the mask that the call was given.
    if (isTensor(output)) this.handOn(inputs as Tensor | Tensor[], kwargs.mask, output);
    return output;
  }

  /** Leaves the query's mask on an output. */
  protected handOn(inputs: Tensor | Tensor[], mask: unknown, output: Tensor): void {
    const { query } = findMasks(this.maskContext(inputs), this.named(inputs), mask);
    // Its own, since a tensor takes its mask along when it is disposed.
    if (query !== undefined) output.kerasMask = plainMask(query);
  }

  /** The mask of a step as options of a call. */
  protected stepMask(mask: Tensor | undefined): CallOptions {
    return mask ? { mask: [mask] } : {};
  }

  /** The masks of a call with these inputs; warns once of one that is ignored. */
  protected masks(inputs: Tensor | Tensor[], kwargs: CallOptions): FoundMasks {
    const warn = (problem: string) => {
      if (this.warned) return;
      this.warned = true;
      console.warn(
        `${this.label}: ignored a mask: ${problem}. TensorFlow.js hands a layer that has no mask the one of an earlier ` +
          'layer; if it was meant for this one, make it the last input',
      );
    };
    return findMasks({ ...this.maskContext(inputs), warn }, this.named(inputs), kwargs.mask);
  }

  private maskContext(inputs: Tensor | Tensor[]): MaskContext {
    // A model calls a layer with a list, also of one tensor; what a user gives with one tensor is believed.
    const byModel = Array.isArray(inputs) && this.inboundNodes.length > 0;
    const expected = !byModel || this.inboundNodes.some(({ inputTensors: [query] }) => canBeMasked(query));
    return { label: this.label, expected, warn: () => undefined };
  }

  /** Drops a share of the numbers of `x` and scales the others up. */
  protected drop(x: Tensor, rate: number, seed: number | undefined): Tensor {
    if (rate === 0) return x;
    return dropout(x, rate, undefined, seed === undefined ? undefined : seed + this.dropped++);
  }

  /** As tfjs's own; tfjs puts the custom objects of a load into the configuration of every layer. */
  static override fromConfig<T extends serialization.Serializable>(
    cls: serialization.SerializableConstructor<T>,
    config: serialization.ConfigDict,
  ): T {
    return new cls(Object.fromEntries(Object.entries(config).filter(([name]) => name !== 'customObjects')));
  }
}
