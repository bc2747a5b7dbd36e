import { customGrad, engine, type GradSaveFunc, type NamedTensorMap, type Tensor } from '@tensorflow/tfjs-core';

import { reject } from '../../kernels/common/validate.js';
import { runKernel } from '../gradients.js';
import { ensureKernels } from '../ops/fallback.js';
import { currentBackend } from '../ops/run.js';
import { findKernel } from '../registry.js';
import { keepAll } from './keep_all.js';
import type { StateKind, StateTensors, StepCall } from './state.js';

/** Name of the kernel that attends and appends in place, on backends that have one. */
function stepKernelName(call: StepCall): string {
  return `${call.spec.kernelName}Step`;
}

/** Name of the kernel that only appends, where the rows of many tokens are better left to the operator's own kernel. */
function appendKernelName(call: StepCall): string {
  return `${call.spec.kernelName}Append`;
}

/** New tokens from which on they are many. */
const MANY = 16;

/**
 * Runs a step on the current backend: its result, and the tensors that hold the state from then on, which are those of
 * the call where the backend's kernel has written into them, else new ones, kept.
 *
 * Nothing is copied unless a gradient is being recorded; then what the rows see is saved as it was.
 */
export function runStep(kind: StateKind, call: StepCall): { out: Tensor; state: StateTensors } {
  const { spec, inputs, attrs, place } = call;
  const backend = currentBackend();
  ensureKernels(spec, backend);
  const isRecorded = engine().state.gradientDepth > 0;
  const names = spec.differentiable.filter((name) => name in inputs);
  let state = call.state;
  const step = customGrad((...args: (Tensor | GradSaveFunc)[]) => {
    const save = args[args.length - 1] as GradSaveFunc;
    const context: NamedTensorMap = isRecorded ? kind.context(call) : {};
    const write = (kernelName: string): Tensor[] =>
      runKernel(kernelName, { ...inputs, ...state }, { ...attrs, ...place });
    const canAppend = call.dims.Tq >= MANY && findKernel(appendKernelName(call), backend) !== undefined;
    const many = canAppend ? kind.rowsOfMany(call) : undefined;
    let out: Tensor;
    if (many) {
      out = many;
      write(appendKernelName(call));
    } else if (findKernel(stepKernelName(call), backend)) {
      [out] = write(stepKernelName(call));
    } else {
      const made = kind.composedStep(call);
      out = made.out;
      state = keepAll(made.state);
    }
    const [inputNames, contextNames] = [Object.keys(inputs), Object.keys(context)];
    save([...Object.values(inputs), ...Object.values(context)]);
    return {
      value: out,
      gradFunc: (dout: Tensor, saved: Tensor[]) => {
        const savedInputs = Object.fromEntries(inputNames.map((name, i) => [name, saved[i]]));
        const savedContext = Object.fromEntries(contextNames.map((name, i) => [name, saved[inputNames.length + i]]));
        const gradients = kind.gradient({ ...call, inputs: savedInputs }, savedContext, dout);
        return names.map(
          (name) => gradients[name] ?? reject(spec.operator, name, 'has got no gradient from its kernel'),
        );
      },
    };
  });
  const out = step(...names.map((name) => inputs[name]));
  return { out, state };
}
