/** Weights in half the bytes, for models that are downloaded. */
import { io } from '@tensorflow/tfjs-core';
import { toFloat16 } from '../../src/safetensors/half.js';
import { InputError } from './input_error.js';

/**
 * A handler that saves float32 weights as float16, the nearest one each, and tells tfjs so: what loads the model gets float32
 * again. Half the digits are lost (relative error at most 2^-11), and weights beyond 65504.
 */
export function halved(handler: Required<Pick<io.IOHandler, 'save'>>): Required<Pick<io.IOHandler, 'save'>> {
  return {
    save({ weightSpecs = [], weightData, ...rest }) {
      const other = weightSpecs.find(({ dtype, quantization }) => dtype !== 'float32' || quantization !== undefined);
      if (other !== undefined)
        throw new InputError(`weight ${other.name} is not plain float32, so it cannot be halved`);
      const values = new Float32Array(io.CompositeArrayBuffer.join(weightData));
      const halves = Uint16Array.from(values, toFloat16);
      const specs = weightSpecs.map((spec) => ({ ...spec, quantization: { dtype: 'float16' as const } }));
      return handler.save({ ...rest, weightSpecs: specs, weightData: halves.buffer });
    },
  };
}
