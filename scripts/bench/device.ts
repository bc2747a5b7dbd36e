import { readFileSync } from 'node:fs';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

import { solverCounts } from '../../kernels/common/cpu/solve.js';
import { peakScratchBytes } from '../../kernels/common/cpu/workspace.js';
import { type CudaKernels, isTensorflow, usedOpLibrary } from '../../src/native/op_library.js';
import { type BackendName, initBackend } from '../../src/node.js';
import type { BenchCase } from './cases.js';
import { type Body, timeOnce, timeWall, type Timing, timingOf, warmUp } from './measure.js';
import { peakGrowth } from './peak_memory.js';
import type { Row } from './run_case.js';
import type { Yardstick } from './yardstick.js';

/** Iterations of local linear attention's solver in one call. */
export interface Iterations {
  /** Of a row. */
  readonly mean: number;
  readonly most: number;
  /** Of a tile, which goes on until its last row is done; null where rows are on their own. */
  readonly tileMean: number | null;
  /** Rows solved directly, where they are counted. */
  readonly direct: number | null;
}

/** Times of one call's kernels on the device. */
export interface KernelTimes {
  /** The sum of all passes, for every run. */
  readonly totals: readonly number[];
  /** Median milliseconds of each pass. */
  readonly passes: Readonly<Record<string, number>>;
}

/** What a call takes when nothing is compiled or reserved for it yet. */
export interface FirstCall {
  readonly milliseconds: number;
  /** Memory that it took beside its inputs and its result; null where nothing tells it. */
  readonly extraBytes: number | null;
}

/** What a backend is measured with. */
export interface BenchDevice {
  readonly backend: string;
  readonly adapter: string;
  readonly driver?: string;
  /** Whether a call returns before it is done: calls are then timed in a row, the last one's result being waited for. */
  readonly isQueued: boolean;
  /** Limits that the kernels choose by. */
  readonly limits?: Readonly<Record<string, number>>;
  /** Gets ready for a case, on a new device where it asks for one. */
  prepare(one: Pick<BenchCase, 'limits' | 'isFresh'>): Promise<void>;
  /**
   * Device times of `runs` calls that take about `perCall` milliseconds; absent where a backend has none, null for a call
   * without kernels that can be timed.
   */
  kernelTimes?(body: Body, runs: number, perCall: number): Promise<KernelTimes | null>;
  /** Makes the first call of a case. */
  firstCall(inputs: readonly Tensor[], body: Body): Promise<FirstCall>;
  /** The iterations of the one call that `body` makes. */
  iterations(one: BenchCase, body: Body): Promise<Iterations | null>;
  /** Peak scratch memory of a kernel call since the last question, in bytes; null where nothing counts it. */
  peakScratch(): number | null;
  /** Times a copy of so many bytes from buffers of the device to others; absent where there is nothing to compare with. */
  copyTime?(bytes: number): Promise<Timing>;
  /** Errors that the device has reported since the last question. */
  takeErrors(): string[];
  /** Where a case and the yardstick are measured elsewhere than in this process. */
  runCase?(one: BenchCase): Promise<Row>;
  matMul?(size: number): Promise<Yardstick>;
}

/** Backends of the processor: no clock of their own, one device. */
async function processorDevice(name: BackendName): Promise<BenchDevice> {
  const { backend, adapter } = await initBackend(name);
  return {
    backend,
    adapter,
    isQueued: false,
    prepare: () => Promise.resolve(),
    async firstCall(_, body) {
      if (backend === 'tensorflow') {
        // Native kernels have their scratch from TensorFlow, which keeps no count: the result is in this figure.
        const { result, bytes } = await peakGrowth(() => timeOnce(body));
        return { milliseconds: result, extraBytes: bytes };
      }
      peakScratchBytes();
      const milliseconds = await timeOnce(body);
      // Scratch memory is counted by the cpu kernels only.
      return { milliseconds, extraBytes: backend === 'cpu' ? peakScratchBytes() : null };
    },
    iterations(one, body) {
      solverCounts();
      tf.dispose(tf.tidy(body));
      const { rows, iterations, most, direct } = solverCounts();
      const isCounted = one.operator === 'localLinearAttention' && backend === 'cpu';
      const counts = { mean: rows > 0 ? iterations / rows : 0, most, tileMean: null, direct };
      return Promise.resolve(isCounted ? counts : null);
    },
    peakScratch: () => (backend === 'cpu' ? peakScratchBytes() : null),
    takeErrors: () => [],
  };
}

/** The version of NVIDIA's driver, where Linux tells it. */
function nvidiaDriver(): string | undefined {
  try {
    return /\b\d{3}\.\d+(\.\d+)?\b/.exec(readFileSync('/proc/driver/nvidia/version', 'utf8'))?.[0];
  } catch {
    return undefined;
  }
}

/** Times of the CUDA kernels of `runs` calls; null where there are none, as in composed operators. */
function cudaTimes({ time }: CudaKernels, body: Body, runs: number): KernelTimes | null {
  const times = time(() => {
    for (let i = 0; i < runs; i++) tf.dispose(tf.tidy(body));
  });
  const passes = times.length / runs;
  if (passes === 0) return null;
  if (!Number.isInteger(passes)) throw new Error(`${times.length} kernels ran in ${runs} equal calls`);
  const columns = Array.from({ length: passes }, (_, i) => times.filter((__, j) => j % passes === i));
  const totals = Array.from({ length: runs }, (_, run) =>
    columns.reduce((sum, column) => sum + column[run].milliseconds, 0),
  );
  const medians = columns.map((column, i) => {
    const { median } = timingOf(column.map(({ milliseconds }) => milliseconds));
    return [`${i}: ${column[0].kernel}`, median] as const;
  });
  return { totals, passes: Object.fromEntries(medians) };
}

/** Times a copy of so many bytes as TensorFlow makes one: two halves become one tensor. */
async function copyHalves(bytes: number): Promise<Timing> {
  const halves = [0, 1].map((x) => tf.fill([bytes / 8], x));
  const body = (): Tensor => tf.concat(halves);
  try {
    return await timeWall(body, await warmUp(body, 100));
  } finally {
    tf.dispose(halves);
  }
}

/** TensorFlow, which may compute on a GPU. */
async function tensorflowDevice(): Promise<BenchDevice> {
  const device = await processorDevice('tensorflow');
  const backend: unknown = tf.backend();
  if (!isTensorflow(backend) || !backend.isUsingGpuDevice) return device;
  const driver = nvidiaDriver();
  const { cuda } = usedOpLibrary();
  return {
    ...device,
    adapter: driver === undefined ? device.adapter : `${device.adapter}, driver ${driver}`,
    driver,
    isQueued: true,
    ...(cuda && { kernelTimes: (body: Body, runs: number) => Promise.resolve(cudaTimes(cuda, body, runs)) }),
    copyTime: copyHalves,
    // Nothing tells what TensorFlow's allocator has given out.
    firstCall: async (_, body) => ({ milliseconds: await timeOnce(body), extraBytes: null }),
  };
}

export async function benchDevice(name: string): Promise<BenchDevice> {
  if (name === 'webgl') {
    const { WebGlDevice } = await import('./webgl.js');
    return WebGlDevice.create();
  }
  if (name === 'tensorflow') return tensorflowDevice();
  if (name !== 'webgpu') return processorDevice(name as BackendName);
  const { WebGpuDevice } = await import('./webgpu.js');
  return WebGpuDevice.create();
}
