/** The layer of an attention by name, made alike for each: what differs between two models is the operator alone. */
import { layers } from '../../src/layers/index.js';
import type { Attention } from '../trainer/experiment.js';

export interface AttentionLayerArgs {
  readonly name: string;
  readonly numHeads: number;
  readonly keyDim: number;
  /** At the start; each head trains its own. Only local linear and mesa attention have one. */
  readonly ridge: number;
  readonly rotary?: boolean;
}

/** Causal self-attention. The tolerance of the solver is the one at which training takes its gradients. */
export function attentionLayer(attention: Attention, { ridge, ...rest }: AttentionLayerArgs) {
  const args = { ...rest, useCausalMask: true };
  switch (attention) {
    case 'localLinear':
      return layers.localLinearAttention({ ...args, ridge, trainableRidge: true, tolerance: TOLERANCE });
    case 'softmax':
      return layers.softmaxAttention(args);
    case 'linear':
      return layers.linearAttention(args);
    case 'mesa':
      return layers.mesaAttention({ ...args, ridge, trainableRidge: true });
    case 'parallax':
      return layers.parallaxAttention(args);
  }
}

/** A tenth of the noise that a step of training has anyway; the ridge's gradient needs more than the others'. */
const TOLERANCE = 1e-4;
