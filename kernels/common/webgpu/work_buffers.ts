import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';

/** Usage of tfjs's own tensor buffers: the same, so that its pool serves ours. */
export const storageUsage = (): number => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;

const all = new WeakMap<WebGPUBackend, WorkBuffers>();

/**
 * The one large buffer of a backend in which kernels keep the work of their running workgroups (weights of a tile,
 * solver state). Calls run one after another on the device, so one buffer serves them all; it grows and never shrinks,
 * for a new buffer of this size is filled with zeros by the device at every call.
 */
export class WorkBuffers {
  private buffer: GPUBuffer | undefined;
  /** Buffers that became too small, which passes that are not submitted yet may use. */
  private readonly outgrown: GPUBuffer[] = [];

  private constructor(private readonly backend: WebGPUBackend) {}

  static of(backend: WebGPUBackend): WorkBuffers {
    let one = all.get(backend);
    if (one === undefined) all.set(backend, (one = new WorkBuffers(backend)));
    return one;
  }

  /** A buffer of at least `bytes`. */
  atLeast(bytes: number): GPUBuffer {
    if (this.buffer !== undefined && this.buffer.size >= bytes) return this.buffer;
    if (this.buffer !== undefined) this.outgrown.push(this.buffer);
    this.buffer = this.backend.bufferManager.acquireBuffer(Math.ceil(bytes / 256) * 256, storageUsage(), false, false);
    return this.buffer;
  }

  /** Gives back what a call has outgrown, once it is submitted. */
  releaseOutgrown(): void {
    // Not pooled: a buffer that is too small for one call is of no use to the next.
    for (const buffer of this.outgrown.splice(0)) this.backend.bufferManager.releaseBuffer(buffer, false);
  }
}
