import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';

import { CallInputs, type KernelCall } from '../kernel_call.js';
import type { AttentionAttrs, OperatorSpec } from '../spec.js';
import { floatInputs } from './float_inputs.js';
import { limitsOf } from './limits.js';
import { bindGroupOf, pipelineOf } from './pipelines.js';
import { packParams, type Shader } from './shader.js';
import { activeTimer } from './timing.js';
import { Uniforms } from './uniforms.js';
import { storageUsage, WorkBuffers } from './work_buffers.js';

/** A part of a buffer as a shader sees it: the whole of it, or `size` bytes from `offset`. */
export type Binding = GPUBuffer | GPUBufferBinding;

/** A tensor that a kernel makes. */
export interface Output {
  readonly info: TensorInfo;
  readonly buffer: GPUBuffer;
}

/** Where calls put their shaders instead of running them. */
let recorded: Shader[] | undefined;

/** The shaders of the calls that `body` makes, which compute nothing: their results are arbitrary. For compiling many at once. */
export function recordShaders(body: () => void): Shader[] {
  const shaders: Shader[] = [];
  recorded = shaders;
  try {
    body();
  } finally {
    recorded = undefined;
  }
  return shaders;
}

/** Whether tfjs has recorded what is not submitted yet: it has an encoder then. */
const hasRecorded = (backend: WebGPUBackend): boolean => Reflect.get(backend, 'commandEncoder') !== null;

/** Most bytes of scratch that a call has taken since they were last asked for. */
let mostScratchBytes = 0;

/** Peak scratch memory of a call since the last question, in bytes: what benchmarks report. */
export function peakScratchBytes(): number {
  const bytes = mostScratchBytes;
  mostScratchBytes = 0;
  return bytes;
}

/**
 * One kernel call on backend `webgpu`: access to its inputs, outputs and scratch, and the passes that it records.
 *
 * tfjs's `runWebGPUProgram` knows one output a program and no pass that writes several buffers, so passes are recorded
 * here, in an encoder of their own, and submitted at the end behind whatever tfjs has recorded before.
 */
export class WebGpuCall<Attrs extends AttentionAttrs> extends CallInputs<Attrs> {
  readonly device: GPUDevice;
  private readonly backend: WebGPUBackend;
  private readonly encoder: GPUCommandEncoder;
  private readonly scratchBuffers: GPUBuffer[] = [];
  private readonly outputs: Output[] = [];
  private readonly uniforms: Uniforms;
  private pass: GPUComputePassEncoder | undefined;
  private hasUnprovenShader = false;
  private scratchBytes = 0;
  private workBytes = 0;

  /**
   * Runs a kernel: `body` records passes and returns the outputs in tfjs's order, without those that are undefined
   * (gradients of inputs that were not given). What it made is taken back if it throws.
   */
  static run<Attrs extends AttentionAttrs>(
    spec: OperatorSpec<Attrs>,
    kernelCall: KernelCall,
    body: (call: WebGpuCall<Attrs>) => readonly (Output | undefined)[],
  ): TensorInfo[] {
    const backend = kernelCall.backend as WebGPUBackend;
    const { inputs, made } = floatInputs(backend, kernelCall.inputs);
    const call = new WebGpuCall(spec, { ...kernelCall, inputs });
    try {
      const outputs = body(call);
      call.submit();
      return outputs.flatMap((output) => (output ? [output.info] : []));
    } catch (error) {
      for (const { info } of call.outputs) call.backend.disposeData(info.dataId);
      throw error;
    } finally {
      // What other calls will find there has to be there, also if this one threw.
      call.uniforms.write();
      call.releaseScratch();
      for (const { dataId } of made) backend.disposeData(dataId);
    }
  }

  private constructor(spec: OperatorSpec<Attrs>, call: KernelCall) {
    super(spec, call);
    this.backend = call.backend as WebGPUBackend;
    this.device = this.backend.device;
    this.uniforms = Uniforms.of(this.backend);
    // Uploads are recorded in tfjs's encoder, which must be submitted before ours.
    for (const tensor of Object.values(call.inputs)) if (tensor) this.backend.uploadToGPU(tensor.dataId);
    this.encoder = this.device.createCommandEncoder({ label: spec.kernelName });
  }

  /** The buffer of an input that is always there. */
  input(name: string): GPUBuffer {
    return this.bufferOf(this.tensor(name));
  }

  /** A float32 output. */
  output(shape: readonly number[]): Output {
    const info = this.backend.makeTensorInfo([...shape], 'float32');
    this.backend.uploadToGPU(info.dataId);
    const output = { info, buffer: this.bufferOf(info) };
    this.outputs.push(output);
    return output;
  }

  /** A buffer of `bytes` from tfjs's pool, which goes back there when the call is over. Its contents are arbitrary. */
  scratch(bytes: number): GPUBuffer {
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    this.checkSize('scratch', size);
    const buffer = this.backend.bufferManager.acquireBuffer(size, storageUsage());
    this.scratchBuffers.push(buffer);
    this.scratchBytes += size;
    return buffer;
  }

  /** The device's one large buffer for kernels' work in progress, at least `bytes` large; shared by all calls in turn. */
  work(bytes: number): GPUBuffer {
    this.checkSize('work', bytes);
    this.workBytes = Math.max(this.workBytes, bytes);
    return WorkBuffers.of(this.backend).atLeast(bytes);
  }

  /** Fills a buffer with zeros, before the passes that follow. */
  clear(buffer: GPUBuffer): void {
    this.endPass();
    this.encoder.clearBuffer(buffer);
  }

  /** Copies the first `bytes` of a buffer, behind the passes so far. */
  copy(source: GPUBuffer, destination: GPUBuffer, bytes: number): void {
    this.endPass();
    this.encoder.copyBufferToBuffer(source, 0, destination, 0, bytes);
  }

  /**
   * Records one pass.
   *
   * @param buffers one binding for each buffer that the shader names.
   * @param params one value for each uniform that it names.
   * @param workgroups how many, in up to three dimensions.
   */
  run(
    shader: Shader,
    buffers: Readonly<Record<string, Binding>>,
    params: Readonly<Record<string, number>>,
    workgroups: readonly [number, number?, number?],
  ): void {
    if (recorded !== undefined) {
      recorded.push(shader);
      return;
    }
    this.checkWorkgroups(shader, workgroups);
    const compiled = pipelineOf(this.device, shader);
    this.hasUnprovenShader ||= compiled.state !== 'good';
    const uniforms = this.uniforms.add(packParams(shader, params));
    const storage = Object.keys(shader.buffers).map((name) => {
      const binding = buffers[name] as Binding | undefined;
      if (binding === undefined) throw new Error(`shader ${shader.key}: nothing is bound to its buffer ${name}`);
      return 'buffer' in binding ? binding : { buffer: binding };
    });
    const bindGroup = bindGroupOf(this.device, compiled, [uniforms, ...storage], () => {
      Object.keys(shader.buffers).forEach((name, i) => this.checkBinding(name, storage[i]));
    });
    const pass = this.passFor(shader);
    pass.setPipeline(compiled.pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(...(workgroups as [number, number?, number?]));
  }

  /** An output of the shape of an input, for its gradient; undefined where that input was not given. */
  gradientOf(name: string): Output | undefined {
    return this.has(name) ? this.output(this.tensor(name).shape) : undefined;
  }

  /** The pass to record a shader in: one for all, or, while times are taken, one for each. */
  private passFor(shader: Shader): GPUComputePassEncoder {
    const timestampWrites = activeTimer(this.device)?.next(shader.key);
    if (timestampWrites !== undefined) this.endPass();
    this.pass ??= this.encoder.beginComputePass({
      label: this.spec.kernelName,
      ...(timestampWrites && { timestampWrites }),
    });
    return this.pass;
  }

  private endPass(): void {
    this.pass?.end();
    this.pass = undefined;
  }

  /** Submits the passes. */
  private submit(): void {
    const { backend } = this;
    this.endPass();
    this.uniforms.write();
    if (hasRecorded(backend)) {
      backend.endComputePassEncoder();
      backend.submitQueue();
    }
    if (this.hasUnprovenShader) this.poisonOutputs();
    this.device.queue.submit([this.encoder.finish()]);
  }

  private releaseScratch(): void {
    mostScratchBytes = Math.max(mostScratchBytes, this.scratchBytes + this.workBytes);
    this.uniforms.release();
    WorkBuffers.of(this.backend).releaseOutgrown();
    // The pool gives out last what it got first: in this order the next call of the kind binds the same buffers.
    for (const buffer of this.scratchBuffers.reverse()) this.backend.bufferManager.releaseBuffer(buffer);
  }

  /**
   * Whether a shader compiles is known only later, and a pass with a bad one leaves its outputs as they were: as zeros,
   * which might pass for a result. Until it is known they start as NaN.
   */
  private poisonOutputs(): void {
    for (const { buffer } of this.outputs) {
      this.device.queue.writeBuffer(buffer, 0, new Float32Array(buffer.size / 4).fill(NaN));
    }
  }

  private bufferOf(tensor: TensorInfo): GPUBuffer {
    const { resource } = this.backend.tensorMap.get(tensor.dataId);
    if (!(resource instanceof GPUBuffer)) {
      throw new Error(
        `${this.spec.operator}: a tensor of shape [${tensor.shape.join(', ')}] has no buffer on the device`,
      );
    }
    return resource;
  }

  private checkSize(name: string, bytes: number): void {
    const most = limitsOf(this.device).maxBufferSize;
    if (bytes > most) this.exceeds(`its ${name} buffer takes ${bytes} bytes`, 'maxBufferSize', most);
  }

  private checkBinding(name: string, { buffer, size }: GPUBufferBinding): void {
    const most = limitsOf(this.device).maxStorageBufferBindingSize;
    const bytes = size ?? buffer.size;
    if (bytes > most) this.exceeds(`its buffer ${name} takes ${bytes} bytes`, 'maxStorageBufferBindingSize', most);
  }

  private checkWorkgroups(shader: Shader, workgroups: readonly (number | undefined)[]): void {
    const most = limitsOf(this.device).maxComputeWorkgroupsPerDimension;
    for (const count of workgroups) {
      if (count !== undefined && count > most) {
        this.exceeds(`${shader.key} runs ${count} workgroups`, 'maxComputeWorkgroupsPerDimension', most);
      }
    }
  }

  private exceeds(what: string, limit: string, most: number): never {
    const { heads, Tq, Tk, D, Dv } = this.dims;
    const shape = `heads ${heads}, Tq ${Tq}, Tk ${Tk}, D ${D}, Dv ${Dv}`;
    throw new Error(`${this.spec.operator}: ${what} (${shape}), over the device's limit ${limit} of ${most}`);
  }
}
