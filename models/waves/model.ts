/** One layer of attention and a dense one: nothing but attention can look at earlier positions. */
import * as tfl from '@tensorflow/tfjs-layers';
import { attentionLayer } from '../common/attention_layer.js';
import type { Attention, Settings } from '../trainer/experiment.js';

/** `[batch, tokens, lags]` to `[batch, tokens, 1]`: the forecast of the next number at each position. */
export function waveModel(attention: Attention, { lags, heads, keyDim, ridge }: Settings): tfl.LayersModel {
  const input = tfl.input({ shape: [null, lags] });
  const attended = attentionLayer(attention, { name: 'attention', numHeads: heads, keyDim, ridge }).apply(input);
  const forecast = tfl.layers.dense({ units: 1, name: 'forecast' }).apply(attended);
  return tfl.model({ inputs: input, outputs: forecast as tfl.SymbolicTensor });
}
