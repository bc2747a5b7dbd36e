import { keep } from '@tensorflow/tfjs-core';

import type { StateTensors } from './state.js';

/** Takes tensors out of every surrounding `tf.tidy`. */
export function keepAll(tensors: StateTensors): StateTensors {
  for (const tensor of Object.values(tensors)) keep(tensor);
  return tensors;
}
