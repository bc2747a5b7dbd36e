import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';

/** Distance of two shaders' uniforms in a buffer: the alignment that every device accepts. */
const SLOT_BYTES = 256;

/** Shaders whose uniforms share a buffer: more than most calls run. */
const SLOTS = 16;

/** The uniforms of one call's passes, side by side in few buffers, each written at once: a write costs more than a pass. */
export class Uniforms {
  private readonly full: { buffer: GPUBuffer; data: Uint8Array<ArrayBuffer> }[] = [];
  private used = SLOTS;

  constructor(private readonly backend: WebGPUBackend) {}

  /** Where a shader finds `packed`, once `write` has been called. */
  add(packed: ArrayBuffer): GPUBufferBinding {
    if (this.used === SLOTS) {
      const size = SLOTS * SLOT_BYTES;
      const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
      const buffer = this.backend.bufferManager.acquireBuffer(size, usage);
      this.full.push({ buffer, data: new Uint8Array(size) });
      this.used = 0;
    }
    const { buffer, data } = this.full[this.full.length - 1];
    const offset = this.used * SLOT_BYTES;
    this.used++;
    data.set(new Uint8Array(packed), offset);
    return { buffer, offset, size: packed.byteLength };
  }

  write(): void {
    for (const { buffer, data } of this.full) this.backend.queue.writeBuffer(buffer, 0, data);
  }

  release(): void {
    for (const { buffer } of this.full) this.backend.bufferManager.releaseBuffer(buffer);
  }
}
