import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import { peakScratchBytes } from '../../kernels/common/webgpu/call.js';
import { copyProgressTo, latestSchedule } from '../../kernels/common/webgpu/solver.js';
import { timePasses } from '../../kernels/common/webgpu/timing.js';
import { findAdapter, findGpu } from '../../src/node/dawn.js';
import { registerWebGPU } from '../../src/node/webgpu_backend.js';
import { initBackend, type InitializedBackend } from '../../src/node.js';
import type { BenchCase } from './cases.js';
import type { BenchDevice, FirstCall, Iterations, KernelTimes } from './device.js';
import { type Body, timeOnce, type Timing, timingOf } from './measure.js';

/** A device of nothing beyond WebGPU's default limits, but with a clock. */
async function registerWithDefaultLimits(): Promise<void> {
  const adapter = await findAdapter(await findGpu());
  const clock: GPUFeatureName[] = adapter.features.has('timestamp-query') ? ['timestamp-query'] : [];
  const backend = new WebGPUBackend(await adapter.requestDevice({ requiredFeatures: clock }), adapter.info);
  tf.registerBackend('webgpu', () => backend);
}

/** Limits that the kernels, or tfjs, choose by. */
const SHOWN_LIMITS = [
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxStorageBuffersPerShaderStage',
  'maxStorageBufferBindingSize',
  'maxBufferSize',
] as const;

/** Most passes of a call times runs that one measurement holds. */
const MOST_PASSES = 2000;

/** Milliseconds of the same calls that are enqueued before those that are timed, and how many at most. */
const UNTIMED = 100;
const MOST_UNTIMED = 200;

/** Backend `webgpu` on Dawn: its devices come and go, so that a case gets the one it asks for. */
export class WebGpuDevice implements BenchDevice {
  readonly backend = 'webgpu';
  readonly isQueued = true;
  private backendInUse: WebGPUBackend | undefined;
  private limitsInUse: BenchCase['limits'] | undefined;
  private readonly errors: string[] = [];

  readonly adapter: string;

  private constructor({ adapter }: InitializedBackend) {
    this.adapter = adapter;
    this.take('device');
  }

  static async create(): Promise<WebGpuDevice> {
    return new WebGpuDevice(await initBackend('webgpu'));
  }

  /** Takes tfjs' backend of the moment for the one in use. */
  private take(limits: BenchCase['limits']): void {
    const backend = tf.backend();
    if (!(backend instanceof WebGPUBackend)) throw new Error('tfjs has no backend webgpu');
    backend.device.addEventListener('uncapturederror', ({ error }) => this.errors.push(error.message));
    this.backendInUse = backend;
    this.limitsInUse = limits;
  }

  private get tfjs(): WebGPUBackend {
    if (this.backendInUse === undefined) throw new Error('no device is prepared');
    return this.backendInUse;
  }

  private get device(): GPUDevice {
    return this.tfjs.device;
  }

  get driver(): string {
    const { vendor, architecture, description } = this.device.adapterInfo;
    return [vendor, architecture, description].filter(Boolean).join(', ');
  }

  get limits(): Readonly<Record<string, number>> {
    return Object.fromEntries(SHOWN_LIMITS.map((limit) => [limit, this.device.limits[limit]]));
  }

  async prepare({ limits, isFresh = false }: Pick<BenchCase, 'limits' | 'isFresh'>): Promise<void> {
    if (limits === this.limitsInUse && !isFresh) return;
    const { device } = this;
    await device.queue.onSubmittedWorkDone();
    tf.removeBackend('webgpu');
    device.destroy();
    await (limits === 'default' ? registerWithDefaultLimits() : registerWebGPU());
    await tf.setBackend('webgpu');
    this.take(limits);
  }

  async kernelTimes(body: Body, runs: number, perCall: number): Promise<KernelTimes> {
    const own = await this.passTimes(body, 1);
    const passesPerRun = own.length;
    // Kernels composed of tfjs operators have no passes of ours.
    if (passesPerRun === 0) return this.programTimes(body, runs);
    const perBatch = Math.max(1, Math.floor(MOST_PASSES / passesPerRun));
    const totals: number[] = [];
    const byPass = new Map<string, number[]>();
    for (let left = runs; left > 0; left -= perBatch) {
      // Reading the times of the first call has let the clock drop.
      for (let i = 0; i < Math.min(MOST_UNTIMED, UNTIMED / perCall); i++) tf.dispose(tf.tidy(body));
      const times = await this.passTimes(body, Math.min(left, perBatch));
      for (let first = 0; first < times.length; first += passesPerRun) {
        const run = times.slice(first, first + passesPerRun);
        totals.push(run.reduce((sum, { milliseconds }) => sum + milliseconds, 0));
        run.forEach(({ label, milliseconds }, i) => {
          const name = `${i}: ${label.split(' ')[0]}`;
          byPass.set(name, [...(byPass.get(name) ?? []), milliseconds]);
        });
      }
    }
    return { totals, passes: Object.fromEntries([...byPass].map(([name, all]) => [name, timingOf(all).median])) };
  }

  private passTimes(body: Body, runs: number) {
    return timePasses(this.device, () => {
      for (let run = 0; run < runs; run++) tf.dispose(tf.tidy(body));
    });
  }

  private async programTimes(body: Body, runs: number): Promise<KernelTimes> {
    const totals: number[] = [];
    for (let run = 0; run < runs; run++) {
      const { kernelMs } = await tf.time(() => tf.dispose(tf.tidy(body)));
      if (typeof kernelMs !== 'number') throw new Error('the device measures no time');
      totals.push(kernelMs);
    }
    return { totals, passes: {} };
  }

  /**
   * The memory is what tfjs' pool has taken from the device: it keeps every buffer that a call used, so on a new device
   * the growth is what the call needed, less its result, which stays.
   */
  async firstCall(inputs: readonly tf.Tensor[], body: Body): Promise<FirstCall> {
    const { tfjs } = this;
    for (const { dataId } of inputs) tfjs.uploadToGPU(dataId);
    tfjs.ensureCommandEncoderReady();
    tfjs.endComputePassEncoder();
    tfjs.submitQueue();
    await tfjs.queue.onSubmittedWorkDone();
    const before = tfjs.memory().numBytesAllocatedInGPU;
    let resultBytes = 0;
    const milliseconds = await timeOnce(() => {
      const result = body();
      resultBytes = [result].flat().reduce((sum, { size }) => sum + 4 * size, 0);
      return result;
    });
    return { milliseconds, extraBytes: tfjs.memory().numBytesAllocatedInGPU - before - resultBytes };
  }

  async iterations(one: BenchCase, body: Body): Promise<Iterations | null> {
    const { device } = this;
    const size = 16;
    const counters = device.createBuffer({ size, usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST });
    copyProgressTo(counters);
    tf.dispose(tf.tidy(body));
    copyProgressTo(undefined);
    const [taken, rowSum, most, tileSum] = new Uint32Array(await this.readBuffer(counters));
    counters.destroy();
    const schedule = latestSchedule();
    if (one.operator !== 'localLinearAttention' || taken === 0 || schedule === undefined) return null;
    // A call of many heads solves for some of them at a time; these are the counters of the last ones.
    const { tiles, rowTiles } = schedule;
    const rows = (tiles / rowTiles) * one.queries;
    return { mean: rowSum / rows, tileMean: tileSum / tiles, most, direct: null };
  }

  private async readBuffer(buffer: GPUBuffer): Promise<ArrayBuffer> {
    const { device } = this;
    const { size } = buffer;
    const staging = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, staging, 0, size);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const bytes = staging.getMappedRange().slice(0);
    staging.destroy();
    return bytes;
  }

  peakScratch(): number {
    return peakScratchBytes();
  }

  /** Half of the bytes from one buffer, half from another, as keys and values lie: the slope over the number of copies. */
  async copyTime(bytes: number): Promise<Timing> {
    const { device } = this;
    const size = Math.ceil(bytes / 8) * 4;
    const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffers = Array.from({ length: 4 }, () => device.createBuffer({ size, usage }));
    const copies = async (count: number): Promise<number> => {
      const encoder = device.createCommandEncoder();
      for (let i = 0; i < count; i++) {
        encoder.copyBufferToBuffer(buffers[0], 0, buffers[1], 0, size);
        encoder.copyBufferToBuffer(buffers[2], 0, buffers[3], 0, size);
      }
      const start = performance.now();
      device.queue.submit([encoder.finish()]);
      await device.queue.onSubmittedWorkDone();
      return performance.now() - start;
    };
    const once = await copies(2);
    const many = Math.max(4, Math.min(400, Math.round(100 / once)));
    await copies(many);
    const times: number[] = [];
    for (let run = 0; run < 5; run++) times.push(((await copies(2 * many)) - (await copies(many))) / many);
    for (const buffer of buffers) buffer.destroy();
    return timingOf(times);
  }

  takeErrors(): string[] {
    return this.errors.splice(0);
  }
}
