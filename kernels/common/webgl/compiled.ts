import { type GPGPUContext, webgl_util } from '@tensorflow/tfjs-backend-webgl';

import { fragmentText, type TexelProgram } from './texel_program.js';

/** A program on a device. */
export interface Compiled {
  readonly handle: ReturnType<GPGPUContext['createProgram']>;
  /** Where a uniform is; null where the program does not use it. */
  readonly uniform: (name: string) => WebGLUniformLocation | null;
}

const byContext = new WeakMap<GPGPUContext, Map<string, Compiled>>();

/** Compiles a program, once for a context. */
export function compiled(gpgpu: GPGPUContext, program: TexelProgram): Compiled {
  const known = byContext.get(gpgpu) ?? new Map<string, Compiled>();
  byContext.set(gpgpu, known);
  const found = known.get(program.key);
  if (found) return found;
  const { gl } = gpgpu;
  const fragment = webgl_util.createFragmentShader(gl, fragmentText(program));
  const handle = gpgpu.createProgram(fragment);
  gpgpu.buildVao(handle);
  const places = new Map<string, WebGLUniformLocation | null>();
  const uniform = (name: string): WebGLUniformLocation | null => {
    let place = places.get(name);
    if (place === undefined) {
      place = gl.getUniformLocation(handle, name);
      places.set(name, place);
    }
    return place;
  };
  const made = { handle, uniform };
  known.set(program.key, made);
  return made;
}
