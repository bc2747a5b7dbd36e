import { type GPGPUContext, webgl_util } from '@tensorflow/tfjs-backend-webgl';

/** A program on a device. */
export interface Compiled {
  readonly handle: ReturnType<GPGPUContext['createProgram']>;
  /** Where a uniform is; null where the program does not use it. */
  readonly uniform: (name: string) => WebGLUniformLocation | null;
}

/** The text of a program; the vertex shader is tfjs's, over the whole of what is drawn to, where none is given. */
export interface ProgramText {
  readonly fragment: string;
  readonly vertex?: string;
}

const byContext = new WeakMap<GPGPUContext, Map<string, Compiled>>();

function link(gpgpu: GPGPUContext, { fragment, vertex }: ProgramText): Compiled['handle'] {
  const { gl } = gpgpu;
  const fragmentShader = webgl_util.createFragmentShader(gl, fragment);
  if (vertex === undefined) {
    const handle = gpgpu.createProgram(fragmentShader);
    gpgpu.buildVao(handle);
    return handle;
  }
  const program = webgl_util.createProgram(gl);
  gl.attachShader(program, webgl_util.createVertexShader(gl, vertex));
  gl.attachShader(program, fragmentShader);
  webgl_util.linkProgram(gl, program);
  // Its vertices are numbers only: no buffer belongs to them.
  const vao = gpgpu.createVertexArray();
  if (vao === null) throw new Error('the device made no vertex array');
  return Object.assign(program, { vao });
}

/** The program of that key, compiled once for a context. */
export function compiled(gpgpu: GPGPUContext, key: string, text: () => ProgramText): Compiled {
  const known = byContext.get(gpgpu) ?? new Map<string, Compiled>();
  byContext.set(gpgpu, known);
  const found = known.get(key);
  if (found) return found;
  const handle = link(gpgpu, text());
  const places = new Map<string, WebGLUniformLocation | null>();
  const uniform = (name: string): WebGLUniformLocation | null => {
    let place = places.get(name);
    if (place === undefined) {
      place = gpgpu.gl.getUniformLocation(handle, name);
      places.set(name, place);
    }
    return place;
  };
  const made = { handle, uniform };
  known.set(key, made);
  return made;
}
