import type { MathBackendWebGL } from '@tensorflow/tfjs-backend-webgl';
import type { TensorInfo } from '@tensorflow/tfjs-core';

import { CallInputs, type KernelCall } from '../kernel_call.js';
import type { AttentionAttrs, OperatorSpec } from '../spec.js';
import { type Image, imageBytes, WebGlDevice } from './device.js';
import type { Shader } from './shader.js';

/** A float32 tensor of tfjs with a texture of one number a texel, in the order of its elements. */
export interface FlatTensor {
  readonly info: TensorInfo;
  readonly texture: WebGLTexture;
  readonly width: number;
  readonly height: number;
}

/** Columns and rows of tiles (for a tensor: of texels) that a draw covers; rows from `y` on. */
export interface Region {
  readonly width: number;
  readonly height: number;
  readonly y?: number;
}

/** Most bytes of scratch that a call has taken since they were last asked for. */
let mostScratchBytes = 0;

/** Peak scratch memory of a call since the last question, in bytes: what benchmarks report. */
export function peakScratchBytes(): number {
  const bytes = mostScratchBytes;
  mostScratchBytes = 0;
  return bytes;
}

/** Notes that a call has taken so many bytes of scratch. */
export function noteScratchBytes(bytes: number): void {
  mostScratchBytes = Math.max(mostScratchBytes, bytes);
}

/** tfjs's number for a texture that is drawn to (`TextureUsage.RENDER`, which it does not export). */
const RENDER = 0;

/**
 * One kernel call on backend `webgl`: access to its inputs and outputs, matrices in tiles, and draws.
 *
 * tfjs's `runWebGLProgram` has one output of one texel a fragment and bakes shapes into its shaders, so draws are made here,
 * in the same context; tfjs sets up all of its state for each of its own.
 */
export class WebGlCall<Attrs extends AttentionAttrs> extends CallInputs<Attrs> {
  readonly device: WebGlDevice;
  private readonly backend: MathBackendWebGL;
  private readonly taken = new Set<Image>();
  private readonly made: TensorInfo[] = [];
  private readonly outputs: TensorInfo[] = [];
  private readonly flat = new Map<string, FlatTensor>();
  private scratchBytes = 0;

  /**
   * Runs a kernel: `body` draws and returns the outputs in tfjs's order, without those that are undefined (gradients of
   * inputs that were not given). What it made is taken back if it throws.
   */
  static run<Attrs extends AttentionAttrs>(
    spec: OperatorSpec<Attrs>,
    kernelCall: KernelCall,
    body: (call: WebGlCall<Attrs>) => readonly (FlatTensor | undefined)[],
  ): TensorInfo[] {
    const backend = kernelCall.backend as MathBackendWebGL;
    checkContext(spec.operator, backend);
    const call = new WebGlCall(spec, kernelCall);
    try {
      const outputs = body(call);
      checkContext(spec.operator, backend);
      return outputs.flatMap((output) => (output ? [output.info] : []));
    } catch (error) {
      for (const { dataId } of call.outputs) backend.disposeData(dataId);
      throw error;
    } finally {
      for (const image of call.taken) call.device.release(image);
      for (const { dataId } of call.made) backend.disposeData(dataId);
    }
  }

  private constructor(spec: OperatorSpec<Attrs>, call: KernelCall) {
    super(spec, call);
    this.backend = call.backend as MathBackendWebGL;
    this.device = WebGlDevice.of(this.backend);
  }

  /** An input as shaders read it; one that is packed, or a view into another, is copied first. */
  input(name: string): FlatTensor {
    const known = this.flat.get(name);
    if (known) return known;
    let info = this.tensor(name);
    this.backend.uploadToGPU(info.dataId);
    const { isPacked, slice } = this.backend.getDataInfo(info.dataId);
    if (isPacked === true || slice) {
      info = this.copied(info);
      this.made.push(info);
    }
    const flat = this.flatOf(info);
    this.flat.set(name, flat);
    return flat;
  }

  private copied(info: TensorInfo): TensorInfo {
    const program = {
      variableNames: ['A'],
      outputShape: info.shape,
      userCode: 'void main() { setOutput(getAAtOutCoords()); }',
    };
    return this.backend.runWebGLProgram(program, [info], 'float32');
  }

  private flatOf(info: TensorInfo): FlatTensor {
    const texture = this.backend.getTexture(info.dataId);
    const [height, width] = this.backend.getDataInfo(info.dataId).texShape ?? [0, 0];
    return { info, texture, width, height };
  }

  /** A float32 output, of arbitrary contents. */
  output(shape: readonly number[]): FlatTensor {
    const info = this.backend.makeTensorInfo([...shape], 'float32');
    this.outputs.push(info);
    Object.assign(this.backend.getDataInfo(info.dataId), { usage: RENDER });
    return this.flatOf(info);
  }

  /** A matrix of `width` by `height` tiles, of arbitrary contents, until the call is over. */
  image(what: string, width: number, height: number): Image {
    const { maxSize } = this.device;
    if (width > maxSize || height > maxSize) {
      throw new Error(
        `${this.spec.operator}: on this device a texture has at most ${maxSize} x ${maxSize} texels ` +
          `(MAX_TEXTURE_SIZE); ${what} would take ${width} x ${height}`,
      );
    }
    const image = this.device.acquire(width, height);
    this.taken.add(image);
    this.scratchBytes += imageBytes(image);
    noteScratchBytes(this.scratchBytes);
    return image;
  }

  /** Gives a matrix back before the call is over. */
  release(...images: Image[]): void {
    for (const image of images) {
      if (!this.taken.delete(image)) continue;
      this.device.release(image);
      this.scratchBytes -= imageBytes(image);
    }
  }

  /**
   * Draws `region` of the target, all of it where none is given; what lies outside keeps its contents. The target must
   * not be among the inputs.
   */
  run(
    shader: Shader,
    inputs: Readonly<Record<string, Image | FlatTensor>>,
    params: Readonly<Record<string, number>>,
    target: Image | FlatTensor,
    region: Region = target,
  ): void {
    const { gl } = this.device;
    const { program, locations } = this.device.program(shader);
    const isTile = shader.writes === 'tile';
    this.device.bindTarget(isTile ? target : target.texture, isTile);
    gl.useProgram(program);
    let unit = 0;
    for (const name of shader.images) {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D_ARRAY, inputs[name].texture);
      gl.uniform1i(locations[name], unit++);
    }
    for (const name of shader.tensors ?? []) {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, inputs[name].texture);
      gl.uniform1i(locations[name], unit++);
      gl.uniform1i(locations[`${name}At`], inputs[name].width);
    }
    for (const [name, type] of Object.entries(shader.params)) {
      if (!(name in params)) throw new Error(`webgl: the shader ${shader.name} lacks its parameter ${name}`);
      if (type === 'int') gl.uniform1i(locations[name], params[name]);
      else gl.uniform1f(locations[name], params[name]);
    }
    const { width, height, y = 0 } = region;
    gl.viewport(0, y, width, height);
    gl.scissor(0, y, width, height);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}

/** Throws where the context is lost. */
export function checkContext(operator: string, backend: MathBackendWebGL): void {
  if (!backend.getGPGPUContext().gl.isContextLost()) return;
  throw new Error(
    `${operator}: the WebGL context of backend webgl is lost; tensors on it are gone. ` +
      `tf.removeBackend('webgl') and tf.setBackend after registering it again start a new one`,
  );
}
