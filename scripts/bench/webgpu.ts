import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import '../../src/backends/webgpu.js';
import { copyProgressTo, latestSchedule } from '../../kernels/common/webgpu/solver.js';
import { timePasses } from '../../kernels/common/webgpu/timing.js';
import type { BenchCase } from './cases.js';
import type { BenchDevice, FirstCall, Iterations, KernelTimes } from './device.js';
import { type Body, timeOnce, timingOf } from './measure.js';

async function findGpu(): Promise<GPU> {
  const { create, globals } = await import('webgpu');
  Object.assign(globalThis, globals);
  const gpu = create(['enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia']);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu, userAgent: 'node' }, configurable: true });
  return gpu;
}

/** Limits that tfjs raises to what the adapter has. */
const RAISED_LIMITS = [
  'maxComputeWorkgroupStorageSize',
  'maxComputeWorkgroupsPerDimension',
  'maxStorageBufferBindingSize',
  'maxBufferSize',
  'maxComputeWorkgroupSizeX',
  'maxComputeInvocationsPerWorkgroup',
] as const;

/** A device as `initBackend('webgpu')` asks for it, or one of nothing beyond WebGPU's default limits. */
function requestDevice(adapter: GPUAdapter, limits: BenchCase['limits']): Promise<GPUDevice> {
  const timing: GPUFeatureName[] = adapter.features.has('timestamp-query') ? ['timestamp-query'] : [];
  if (limits === 'default') return adapter.requestDevice({ requiredFeatures: timing });
  return adapter.requestDevice({
    requiredFeatures: timing,
    requiredLimits: Object.fromEntries(RAISED_LIMITS.map((limit) => [limit, adapter.limits[limit]])),
  });
}

/** Most passes of a call times runs that one measurement holds. */
const MOST_PASSES = 2000;

/** Backend `webgpu` on Dawn: its devices come and go, so that a case gets the one it asks for. */
export class WebGpuDevice implements BenchDevice {
  readonly backend = 'webgpu';
  private backendInUse: WebGPUBackend | undefined;
  private limitsInUse: BenchCase['limits'] | undefined;
  private readonly errors: string[] = [];

  private constructor(private readonly gpu: GPU) {}

  static async create(): Promise<WebGpuDevice> {
    const one = new WebGpuDevice(await findGpu());
    await one.prepare({ limits: 'device' });
    return one;
  }

  private get tfjs(): WebGPUBackend {
    if (this.backendInUse === undefined) throw new Error('no device is prepared');
    return this.backendInUse;
  }

  private get device(): GPUDevice {
    return this.tfjs.device;
  }

  get adapter(): string {
    const { vendor, architecture, device, description } = this.device.adapterInfo;
    return [vendor, architecture, device, description].filter(Boolean).join(', ');
  }

  get driver(): string {
    return this.device.adapterInfo.description;
  }

  get limits(): Readonly<Record<string, number>> {
    return Object.fromEntries(RAISED_LIMITS.map((limit) => [limit, this.device.limits[limit]]));
  }

  async prepare({ limits, isFresh = false }: Pick<BenchCase, 'limits' | 'isFresh'>): Promise<void> {
    if (limits === this.limitsInUse && !isFresh) return;
    if (this.limitsInUse !== undefined) {
      const { device } = this;
      await device.queue.onSubmittedWorkDone();
      tf.removeBackend('webgpu');
      device.destroy();
    }
    const adapter = await this.gpu.requestAdapter({ powerPreference: 'high-performance' });
    if (adapter === null) throw new Error('no GPU adapter: a driver for Vulkan, Metal or D3D12 is needed');
    const device = await requestDevice(adapter, limits);
    device.addEventListener('uncapturederror', ({ error }) => this.errors.push(error.message));
    const backend = new WebGPUBackend(device, adapter.info);
    tf.registerBackend('webgpu', () => backend);
    if (!(await tf.setBackend('webgpu'))) throw new Error('tfjs refused its backend webgpu');
    this.backendInUse = backend;
    this.limitsInUse = limits;
  }

  async kernelTimes(body: Body, runs: number): Promise<KernelTimes> {
    const own = await this.passTimes(body, 1);
    const passesPerRun = own.length;
    // Kernels composed of tfjs operators have no passes of ours.
    if (passesPerRun === 0) return this.programTimes(body, runs);
    const perBatch = Math.max(1, Math.floor(MOST_PASSES / passesPerRun));
    const totals: number[] = [];
    const byPass = new Map<string, number[]>();
    for (let left = runs; left > 0; left -= perBatch) {
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

  takeErrors(): string[] {
    return this.errors.splice(0);
  }
}
