import type { MathBackendWebGL } from '@tensorflow/tfjs-backend-webgl';
import { env, type TensorInfo } from '@tensorflow/tfjs-core';

import { CallInputs, type KernelCall } from '../../kernel_call.js';
import type { AttentionAttrs, OperatorSpec } from '../../spec.js';
import { checkContext, noteScratchBytes } from '../call.js';
import { type Compiled, compiled } from './compiled.js';
import { BUFFER_WIDTH, fragmentText, type PointsProgram, pointsText, type TexelProgram } from './program.js';

/** Scratch of a call: texels of four numbers, in the order of their indices. */
export interface TexelBuffer {
  readonly info: TensorInfo;
  readonly texels: number;
}

/** A tensor of tfjs, unpacked: one number a texel. */
export interface NumberTensor {
  readonly info: TensorInfo;
}

/** What a program writes to: all of it, or `count` texels or numbers from `first`. */
export interface Target {
  readonly to: TexelBuffer | NumberTensor;
  readonly first?: number;
  readonly count?: number;
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/**
 * One kernel call on backend `webgl`: access to its inputs, outputs and scratch, and the programs that it runs.
 *
 * tfjs's `runWebGLProgram` bakes every shape into a program of its own and writes whole tensors only, so programs are run
 * here, on tfjs's context, with textures from tfjs's pool.
 */
export class TexelCall<Attrs extends AttentionAttrs> extends CallInputs<Attrs> {
  readonly backend: MathBackendWebGL;
  private readonly inputs = new Map<string, NumberTensor>();
  private readonly buffers = new Map<string, TexelBuffer>();
  private readonly made: TensorInfo[] = [];
  private readonly outputs: TensorInfo[] = [];
  private bytes = 0;

  /**
   * Runs a kernel: `body` runs programs and returns the outputs in tfjs's order, without those that are undefined
   * (gradients of inputs that were not given). What it made is taken back if it throws.
   */
  static run<Attrs extends AttentionAttrs>(
    spec: OperatorSpec<Attrs>,
    kernelCall: KernelCall,
    body: (call: TexelCall<Attrs>) => readonly (NumberTensor | undefined)[],
  ): TensorInfo[] {
    const call = new TexelCall(spec, kernelCall);
    try {
      return body(call).flatMap((output) => (output ? [output.info] : []));
    } catch (error) {
      for (const { dataId } of call.outputs) call.backend.disposeData(dataId);
      throw error;
    } finally {
      for (const { dataId } of call.made) call.backend.disposeData(dataId);
    }
  }

  private constructor(spec: OperatorSpec<Attrs>, call: KernelCall) {
    super(spec, call);
    this.backend = call.backend as MathBackendWebGL;
    checkContext(spec.operator, this.backend);
  }

  /** An input that is always there, unpacked. */
  input(name: string): NumberTensor {
    const known = this.inputs.get(name);
    if (known) return known;
    const { dataId, shape, dtype } = this.tensor(name);
    this.backend.uploadToGPU(dataId);
    let info: TensorInfo = { dataId, shape, dtype };
    if (this.backend.texData.get(dataId).isPacked) {
      info = this.backend.unpackTensor(info);
      this.made.push(info);
    }
    this.inputs.set(name, { info });
    return { info };
  }

  /** A float32 output; its numbers are arbitrary until a program writes them. */
  output(shape: readonly number[]): NumberTensor {
    const info = this.backend.makeTensorInfo([...shape], 'float32');
    this.outputs.push(info);
    this.backend.uploadToGPU(info.dataId);
    return { info };
  }

  /** An output of the shape of an input, for its gradient; undefined where that input was not given. */
  gradientOf(name: string): NumberTensor | undefined {
    return this.has(name) ? this.output(this.tensor(name).shape) : undefined;
  }

  /**
   * Scratch by name, of so many texels: it keeps its contents until the name is asked for again, and is given back when the
   * call ends. What it begins with is arbitrary.
   */
  buffer(name: string, texels: number): TexelBuffer {
    const known = this.buffers.get(name);
    if (known && known.texels >= texels) return { ...known, texels };
    const made = this.newBuffer(texels);
    this.buffers.set(name, made);
    return made;
  }

  /** Whether a buffer is what that name stands for. */
  isNamed({ info }: TexelBuffer, name: string): boolean {
    return this.buffers.get(name)?.info === info;
  }

  private newBuffer(texels: number): TexelBuffer {
    const width = Math.min(BUFFER_WIDTH, Math.max(1, texels));
    const height = Math.max(1, Math.ceil(texels / BUFFER_WIDTH));
    const most = env().getNumber('WEBGL_MAX_TEXTURE_SIZE');
    if (height > most) {
      const { heads, Tq, Tk, D, Dv } = this.dims;
      throw new Error(
        `${this.spec.operator}: a texture of ${width} x ${height} texels (heads ${heads}, Tq ${Tq}, Tk ${Tk}, D ${D}, ` +
          `Dv ${Dv}) is over the device's limit of ${most} (MAX_TEXTURE_SIZE)`,
      );
    }
    const info = this.backend.makeTensorInfo([4 * width * height], 'float32');
    this.made.push(info);
    // A packed texture has a texel for each two rows and two columns.
    Object.assign(this.backend.texData.get(info.dataId), { isPacked: true, texShape: [2 * height, 2 * width] });
    this.backend.uploadToGPU(info.dataId);
    this.bytes += 16 * width * height;
    noteScratchBytes(this.bytes);
    return { info, texels };
  }

  /** An input that the kernel writes to, unpacked for good; what tfjs has read of it before is out of date. */
  held(name: string): NumberTensor {
    const info = this.tensor(name);
    const { backend } = this;
    backend.uploadToGPU(info.dataId);
    if (backend.texData.get(info.dataId).isPacked) {
      const unpacked = backend.unpackTensor(info);
      this.replace(name, { info: unpacked });
      backend.disposeData(unpacked.dataId);
    }
    Object.assign(backend.texData.get(info.dataId), { values: null });
    return { info };
  }

  /** A float32 tensor that is gone when the call ends. */
  temporary(shape: readonly number[]): NumberTensor {
    const info = this.backend.makeTensorInfo([...shape], 'float32');
    this.made.push(info);
    this.backend.uploadToGPU(info.dataId);
    return { info };
  }

  /** Gives an input the numbers of a tensor of the same shape, which gets its own: their textures change places. */
  replace(name: string, { info }: NumberTensor): void {
    const { texData } = this.backend;
    const [old, next] = [this.tensor(name).dataId, info.dataId].map((dataId) => texData.get(dataId));
    const { texture, texShape, isPacked, usage } = old;
    Object.assign(old, {
      texture: next.texture,
      texShape: next.texShape,
      isPacked: next.isPacked,
      usage: next.usage,
      values: null,
    });
    Object.assign(next, { texture, texShape, isPacked, usage });
  }

  /**
   * Runs one program.
   *
   * @param sources one for each buffer and tensor that the program names.
   * @param params one value for each uniform that it names.
   */
  run(
    program: TexelProgram,
    sources: Readonly<Record<string, TexelBuffer | NumberTensor>>,
    params: Readonly<Record<string, number>>,
    { to, first = 0, count }: Target,
  ): void {
    const { gpgpu } = this.backend;
    const own = compiled(gpgpu, program.key, () => ({ fragment: fragmentText(program) }));
    const isBuffer = 'texels' in to;
    const { texture, texShape } = this.textureOf(to.info);
    const [height, width] = isBuffer ? texShape.map((size) => size / 2) : texShape;
    const end = first + (count ?? (isBuffer ? to.texels : sizeOf(to.info.shape)) - first);
    gpgpu.setOutputMatrixTexture(texture, height, width);
    const top = Math.floor(first / width);
    gpgpu.setOutputMatrixWriteRegion(top, Math.ceil(end / width) - top, 0, width);
    this.use(program, own, sources, params);
    gpgpu.gl.uniform3i(own.uniform('target'), width, first, end);
    gpgpu.executeProgram();
  }

  /** Writes `count` numbers of a tensor, a point each; the others stay as they are. */
  runPoints(
    program: PointsProgram,
    sources: Readonly<Record<string, NumberTensor>>,
    params: Readonly<Record<string, number>>,
    to: NumberTensor,
    count: number,
  ): void {
    const { gpgpu } = this.backend;
    const { gl } = gpgpu;
    const own = compiled(gpgpu, program.key, () => pointsText(program));
    const { texture, texShape } = this.textureOf(to.info);
    const [height, width] = texShape;
    gpgpu.setOutputMatrixTexture(texture, height, width);
    this.use({ ...program, buffers: [] }, own, sources, params);
    gl.uniform2i(own.uniform('target'), width, height);
    gl.drawArrays(gl.POINTS, 0, count);
  }

  /** Makes a program the current one and gives it what it reads. */
  private use(
    program: Pick<TexelProgram, 'key' | 'buffers' | 'tensors' | 'params'>,
    { handle, uniform }: Compiled,
    sources: Readonly<Record<string, TexelBuffer | NumberTensor>>,
    params: Readonly<Record<string, number>>,
  ): void {
    const { gpgpu } = this.backend;
    const { gl } = gpgpu;
    gpgpu.setProgram(handle);
    gpgpu.bindVertexArray(handle.vao);
    gl.uniform1f(uniform('nan'), NaN);
    for (const [name, type] of Object.entries(program.params)) {
      const value = params[name] as number | undefined;
      if (value === undefined) throw new Error(`program ${program.key}: its uniform ${name} has no value`);
      if (type === 'int') gl.uniform1i(uniform(name), value);
      else gl.uniform1f(uniform(name), value);
    }
    [...program.buffers, ...program.tensors].forEach((name, unit) => {
      const source = sources[name] as TexelBuffer | NumberTensor | undefined;
      if (source === undefined) throw new Error(`program ${program.key}: nothing is bound to ${name}`);
      const { texture, texShape, offset } = this.textureOf(source.info);
      const place = uniform(name);
      if (place === null) return;
      gpgpu.setInputMatrixTexture(texture, place, unit);
      if (!('texels' in source)) gl.uniform2i(uniform(`${name}Place`), texShape[1], offset);
    });
  }

  private textureOf({ dataId, shape }: TensorInfo): { texture: WebGLTexture; texShape: number[]; offset: number } {
    const { texture, texShape, slice } = this.backend.texData.get(dataId);
    if (!texture || !texShape) {
      throw new Error(`${this.spec.operator}: a tensor of shape [${shape.join(', ')}] has no texture on the device`);
    }
    return { texture: texture.texture, texShape, offset: slice?.flatOffset ?? 0 };
  }
}
