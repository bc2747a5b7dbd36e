import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';

/** Distance of two shaders' uniforms in a buffer: the alignment that every device accepts. */
const SLOT_BYTES = 256;

/** Shaders whose uniforms share a buffer: those of a few models' calls. */
const SLOTS = 256;

const all = new WeakMap<WebGPUBackend, Uniforms>();

/**
 * The uniforms of a backend's passes, by what they hold. A place once written is not written again: calls of the same
 * shapes find theirs where they lie, and bind groups can be kept. What is new in a call lies side by side, for one write;
 * a write costs more than a pass.
 */
export class Uniforms {
  private readonly places = new Map<string, GPUBufferBinding>();
  private readonly data = new Uint8Array(SLOTS * SLOT_BYTES);
  private buffer: GPUBuffer | undefined;
  private used = SLOTS;
  /** Places below this are written. */
  private written = 0;
  /** Full buffers, which passes that are not submitted yet may use. */
  private readonly full: GPUBuffer[] = [];

  private constructor(private readonly backend: WebGPUBackend) {}

  static of(backend: WebGPUBackend): Uniforms {
    let one = all.get(backend);
    if (one === undefined) all.set(backend, (one = new Uniforms(backend)));
    return one;
  }

  /** Where a shader finds `packed`, once `write` has been called. */
  add(packed: ArrayBuffer): GPUBufferBinding {
    const content = String.fromCharCode(...new Uint16Array(packed));
    const known = this.places.get(content);
    if (known !== undefined) return known;
    const buffer = this.withRoom();
    const offset = this.used * SLOT_BYTES;
    this.used++;
    this.data.set(new Uint8Array(packed), offset);
    const place = { buffer, offset, size: packed.byteLength };
    this.places.set(content, place);
    return place;
  }

  private withRoom(): GPUBuffer {
    if (this.buffer !== undefined && this.used < SLOTS) return this.buffer;
    if (this.buffer !== undefined) {
      this.write();
      this.full.push(this.buffer);
      this.places.clear();
    }
    const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
    this.buffer = this.backend.bufferManager.acquireBuffer(SLOTS * SLOT_BYTES, usage);
    this.used = 0;
    this.written = 0;
    return this.buffer;
  }

  /** Writes what is new, before the passes are submitted. */
  write(): void {
    if (this.buffer === undefined || this.written === this.used) return;
    const [begin, end] = [this.written * SLOT_BYTES, this.used * SLOT_BYTES];
    this.backend.queue.writeBuffer(this.buffer, begin, this.data, begin, end - begin);
    this.written = this.used;
  }

  /** Gives back full buffers, once the passes are submitted. */
  release(): void {
    for (const buffer of this.full.splice(0)) this.backend.bufferManager.releaseBuffer(buffer);
  }
}
