import { type NamedTensorMap, type Tensor, tidy, zeros } from '@tensorflow/tfjs-core';

import type { ComposedKernel } from '../../kernels/common/composed/call.js';
import { runKernel } from '../gradients.js';
import { copied } from './copied.js';
import type { CacheShape, StateKind, StateTensors, StepCall } from './state.js';

/** The composed kernels of an operator, which take a state where there is one. */
interface Kernels {
  readonly forward: ComposedKernel;
  readonly gradient: ComposedKernel;
  /** The state after a step, in the order in which `create` names its tensors. */
  readonly state: ComposedKernel;
}

/** Their direct solver reads nothing back, so what they run on does not matter. */
const context = { readsBack: false };

function composedCall(call: StepCall, state: NamedTensorMap): Parameters<ComposedKernel>[0] {
  return { inputs: { ...call.inputs, ...state }, attrs: call.attrs };
}

/**
 * Sums over the keys that a row has seen, for the operators which need no more than that. `create` names them and makes
 * them empty; the last is always `count [heads]`, how many visible keys there were, not a number from the first key or
 * value on that is not finite: every later row sees it, and is NaN.
 */
export function summedState(create: (shape: CacheShape) => StateTensors, kernels: Kernels): StateKind {
  return {
    isConstantSize: true,
    create: (shape) => ({ ...create(shape), count: zeros([shape.heads]) }),
    complete: () => ({}),

    context({ state }) {
      return Object.fromEntries(Object.entries(state).map(([name, x]) => [name, copied(x)]));
    },

    rowsOfMany({ spec, inputs, attrs, place }) {
      return place.total === 0 ? runKernel(spec.kernelName, inputs, attrs)[0] : undefined;
    },

    composedStep(call) {
      const given = composedCall(call, call.state);
      const [out] = kernels.forward(given, context);
      const next = kernels.state(given, context);
      return { out, state: Object.fromEntries(Object.keys(call.state).map((name, i) => [name, next[i]])) };
    },

    gradient(call, saved, dout) {
      const { spec } = call;
      return tidy(() => {
        const given = composedCall(call, saved);
        const residuals = spec.residuals.length > 0 ? kernels.forward(given, context).slice(1) : [];
        const named = Object.fromEntries(
          residuals.map((residual, i): [string, Tensor] => [spec.residuals[i], residual]),
        );
        const gradients = kernels.gradient({ ...given, inputs: { ...given.inputs, ...named, dout } }, context);
        const names = spec.differentiable.filter((name) => name in call.inputs);
        return Object.fromEntries(names.map((name, i) => [name, gradients[i]]));
      });
    },
  };
}
