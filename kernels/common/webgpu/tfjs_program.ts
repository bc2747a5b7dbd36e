/**
 * Small kernels as programs of tfjs' `webgpu` backend, which records them in the pass of its own; what needs more than one
 * output, or scratch, is a `WebGpuCall`.
 */
import type { WebGPUBackend, WebGPUProgram } from '@tensorflow/tfjs-backend-webgpu';

/** Threads of a work group. */
export const THREADS = 64;

/** A program as its kernel says it. */
export interface ProgramParts {
  /** Names the program among all others: whatever the text depends on, beside ranks and types, is in it. */
  readonly key: string;
  /** Names of the inputs in the text; tfjs declares `NAMEShape` for each in the uniforms. */
  readonly inputs: readonly string[];
  /** Shape of the output, which the text calls `result`. */
  readonly shape: readonly number[];
  readonly workgroups: number;
  /** Declarations of the uniforms. */
  readonly uniforms: string;
  /** With `fn main(index: i32)`, the thread's index among all. There may be more work groups than were asked for. */
  readonly text: string;
}

export const tfjsProgram = ({ key, inputs, shape, workgroups, uniforms, text }: ProgramParts): WebGPUProgram => ({
  shaderKey: key,
  variableNames: [...inputs],
  outputShape: [...shape],
  dispatchLayout: { x: shape.map((_, axis) => axis) },
  dispatch: [workgroups, 1, 1],
  workgroupSize: [THREADS, 1, 1],
  uniforms,
  getUserCode: () => text,
});

/** The backend of a kernel's call. */
export const backendOf = ({ backend }: { readonly backend: unknown }) => backend as WebGPUBackend;

export const floatUniform = (value: unknown) => ({ type: 'float32', data: [Number(value)] });
export const intUniform = (value: number) => ({ type: 'int32', data: [value] });
