/**
 * Native kernels for backend `tensorflow` in Node: importing this module registers them. The backend has to be running:
 * by `initBackend('tensorflow')` of `tfjs-lla/node`, which also imports this, or by `import '@tensorflow/tfjs-node'`.
 *
 * @packageDocumentation
 */
import './index.js';
import { useOpLibrary } from './native/op_library.js';

const { instructionSet, cuda, problem } = useOpLibrary();

/** The processor's instructions that the native kernels use; `undefined` on a GPU and where the composed ones serve. */
export const nativeInstructionSet: string | undefined = instructionSet;

/** The operations that have CUDA kernels on this GPU, such as `'SoftmaxAttention'`; `undefined` where none has. */
export const cudaOperations: readonly string[] | undefined = cuda?.operations;

/** Why the composed kernels serve in place of the native ones; `undefined` where the native ones do. */
export const nativeKernelsProblem: string | undefined = problem;

if (nativeKernelsProblem !== undefined) {
  console.warn(`tfjs-lla/tensorflow: composed kernels instead of native ones, since ${nativeKernelsProblem}`);
}
