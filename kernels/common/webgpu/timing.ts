/** The time of one pass of a kernel on the device. */
export interface PassTime {
  readonly label: string;
  readonly milliseconds: number;
}

/** Timestamps that one query set holds: WebGPU's own limit. */
const MAX_TIMESTAMPS = 4096;

/** Collects device times of passes on one device, by timestamp queries. */
export class PassTimer {
  private readonly querySet: GPUQuerySet;
  private readonly labels: string[] = [];

  constructor(private readonly device: GPUDevice) {
    if (!device.features.has('timestamp-query')) {
      throw new Error("the device has no feature 'timestamp-query', which times of kernels need");
    }
    this.querySet = device.createQuerySet({ type: 'timestamp', count: MAX_TIMESTAMPS });
  }

  /** What a pass of that label is to be begun with. */
  next(label: string): GPUComputePassTimestampWrites {
    const first = 2 * this.labels.length;
    if (first + 2 > MAX_TIMESTAMPS) throw new Error(`more than ${MAX_TIMESTAMPS / 2} passes in one measurement`);
    this.labels.push(label);
    return { querySet: this.querySet, beginningOfPassWriteIndex: first, endOfPassWriteIndex: first + 1 };
  }

  /** Waits for all passes and returns their times in order. */
  async read(): Promise<PassTime[]> {
    const count = 2 * this.labels.length;
    if (count === 0) return [];
    const { device } = this;
    const size = count * 8;
    const resolved = device.createBuffer({ size, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC });
    const staging = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    const encoder = device.createCommandEncoder();
    encoder.resolveQuerySet(this.querySet, 0, count, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, size);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const stamps = new BigUint64Array(staging.getMappedRange().slice(0));
    for (const buffer of [resolved, staging]) buffer.destroy();
    return this.labels.map((label, i) => ({ label, milliseconds: Number(stamps[2 * i + 1] - stamps[2 * i]) / 1e6 }));
  }

  dispose(): void {
    this.querySet.destroy();
  }
}

const timers = new WeakMap<GPUDevice, PassTimer>();

/** The timer that passes on a device report to at present, if any. */
export function activeTimer(device: GPUDevice): PassTimer | undefined {
  return timers.get(device);
}

/** Device times of every pass of this package's kernels that `body` runs. */
export async function timePasses(device: GPUDevice, body: () => void): Promise<PassTime[]> {
  const timer = new PassTimer(device);
  timers.set(device, timer);
  try {
    body();
  } finally {
    timers.delete(device);
  }
  const times = await timer.read();
  timer.dispose();
  return times;
}
