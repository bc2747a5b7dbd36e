import { reshape, type Tensor, tidy } from '@tensorflow/tfjs-core';

import type { OperatorSpec } from '../spec.js';
import { type ComposedCall, type ComposedContext, ComposedProblem } from './problem.js';

/** A kernel made of tfjs operators. */
export type ComposedKernel = (call: ComposedCall, context: ComposedContext) => Tensor[];

/** Runs the forward pass `body`, whose first result is `[heads, Tq, Dv]`; what follows has the query's shape. */
export function runForward(
  spec: OperatorSpec,
  call: ComposedCall,
  centred: boolean,
  body: (problem: ComposedProblem) => (Tensor | undefined)[],
): Tensor[] {
  return tidy(() => {
    const problem = new ComposedProblem(spec, call, centred);
    const [out, ...residuals] = body(problem);
    const queryShape = problem.tensor('query').shape;
    const shape = [...queryShape.slice(0, -1), problem.dims.Dv];
    if (out === undefined) throw new Error(`${spec.operator}: the composed kernel made no output`);
    return [reshape(out, shape), ...residuals.flatMap((x) => (x ? [reshape(x, queryShape)] : []))];
  });
}

/** Runs the gradient `body`, which returns one tensor by name for each input that has a gradient. */
export function runGradient(
  spec: OperatorSpec,
  call: ComposedCall,
  centred: boolean,
  body: (problem: ComposedProblem) => Partial<Record<string, Tensor>>,
): Tensor[] {
  return tidy(() => {
    const problem = new ComposedProblem(spec, call, centred);
    const gradients = body(problem);
    return spec.differentiable.flatMap((name) => {
      const input = problem.optional(name);
      if (input === undefined) return [];
      const gradient = gradients[name];
      if (gradient === undefined) throw new Error(`${spec.operator}: the composed kernel made no gradient of ${name}`);
      return [reshape(gradient, input.shape)];
    });
  });
}
