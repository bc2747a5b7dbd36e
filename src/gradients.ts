import {
  customGrad,
  engine,
  type GradSaveFunc,
  type NamedAttrMap,
  type NamedTensorMap,
  registerGradient,
  type Tensor,
} from '@tensorflow/tfjs-core';

import type { OperatorSpec } from '../kernels/common/spec.js';
import { operatorSpecs } from './operators.js';
import { findGradient } from './registry.js';

/** Name of the kernel that computes an operator's gradient, on every backend. */
export function gradientKernelName(spec: OperatorSpec): string {
  return `${spec.kernelName}Grad`;
}

/**
 * Runs an operator's forward kernel and ties it to its gradient kernel: the one place where gradients are defined, for
 * all operators and all backends.
 *
 * The gradient kernel gets the forward's inputs and residuals and `dout`, and returns the gradients of the inputs that
 * `spec.differentiable` names. `customGrad` rather than `registerGradient` (docs/decisions/0001).
 */
export function runDifferentiable(spec: OperatorSpec, inputs: NamedTensorMap, attrs: NamedAttrMap): Tensor {
  const names = spec.differentiable.filter((name) => name in inputs);
  const operator = customGrad((...args: (Tensor | GradSaveFunc)[]) => {
    const save = args[args.length - 1] as GradSaveFunc;
    const outputs = runKernel(spec.kernelName, inputs, attrs);
    const residuals = outputs.slice(1);
    const savedNames = [...Object.keys(inputs), ...spec.residuals.slice(0, residuals.length)];
    save([...Object.values(inputs), ...residuals]);
    return {
      value: outputs[0],
      gradFunc: (dout: Tensor, saved: Tensor[]) => {
        const byName = Object.fromEntries(savedNames.map((name, i) => [name, saved[i]]));
        return runKernel(gradientKernelName(spec), { ...byName, dout }, attrs);
      },
    };
  });
  return operator(...names.map((name) => inputs[name]));
}

/** Runs a kernel of several outputs on the current backend. */
export function runKernel(kernelName: string, inputs: NamedTensorMap, attrs: NamedAttrMap): Tensor[] {
  return engine().runKernel<Tensor[]>(kernelName, inputs, attrs);
}

for (const spec of operatorSpecs) {
  // Asked for only when a gradient of a gradient is taken, which the closed forms do not cover.
  if (findGradient(gradientKernelName(spec)) === undefined) {
    registerGradient({
      kernelName: gradientKernelName(spec),
      gradFunc: () => {
        throw new Error(`${spec.operator}: a gradient of its gradient is not available; only first derivatives are`);
      },
    });
  }
}
