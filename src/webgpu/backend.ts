import {
  type BackendValues,
  type DataType,
  findBackendFactory,
  registerBackend,
  removeBackend,
} from '@tensorflow/tfjs-core';
import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { storageUsage } from '../../kernels/common/webgpu/work_buffers.js';

/** tfjs' backend on a device that may be lost or refuse a command: the next call then says so, instead of zeros. */
export class ReportingWebGPUBackend extends WebGPUBackend {
  /** Why the device is gone. */
  private loss: string | undefined;
  private refusal: string | undefined;

  /** @param renewal The call that makes a new device, for the error that a lost one is. */
  constructor(
    device: GPUDevice,
    info: GPUAdapterInfo,
    private readonly renewal: string,
  ) {
    super(device, info);
    void device.lost.then(({ reason, message }) => {
      this.loss = `${reason}: ${message}`;
    });
    device.addEventListener('uncapturederror', ({ error }) => {
      this.refusal ??= error.message;
    });
  }

  get isLost(): boolean {
    return this.loss !== undefined;
  }

  private throwIfLost(): void {
    if (this.loss === undefined) return;
    throw new Error(
      `tfjs-lla: the GPU device of backend 'webgpu' was lost (${this.loss}), and its tensors with it; ` +
        `call ${this.renewal} for a new device and make the tensors anew, or use another backend`,
    );
  }

  // Whatever is computed on the device comes through these two.
  override ensureCommandEncoderReady(): void {
    this.throwIfLost();
    super.ensureCommandEncoderReady();
  }

  /**
   * Values that the host made, by the queue's own copy. tfjs makes a staging buffer for each tensor, ends the pass that it
   * records and copies within the encoder, which for the scalar of `mul(x, 0.9)` takes longer than the product. The queue
   * copies before the commands that are not submitted yet; none of them uses this buffer, as tfjs hands a buffer out again
   * only when the commands that used it are submitted (it fills its uniforms in the same way).
   */
  override uploadToGPU(dataId: object): void {
    this.throwIfLost();
    const data = this.tensorMap.get(dataId);
    const values = data.values as BackendValues | null;
    const words = values && !data.resource ? wordsOf(data.dtype, values) : undefined;
    if (words !== undefined) {
      const buffer = this.bufferManager.acquireBuffer(words.byteLength, storageUsage());
      this.queue.writeBuffer(buffer, 0, words);
      data.resource = buffer;
      (data as { values: BackendValues | null }).values = null;
    }
    super.uploadToGPU(dataId);
  }

  override async getBufferData(buffer: GPUBuffer): Promise<ArrayBuffer> {
    const data = await super.getBufferData(buffer).catch(async (error: unknown) => {
      // A read that was under way fails a moment before the device says that it is lost.
      await new Promise((resolve) => setTimeout(resolve));
      this.throwIfLost();
      throw error;
    });
    const { refusal } = this;
    this.refusal = undefined;
    if (refusal === undefined) return data;
    throw new Error(`tfjs-lla: the GPU refused a command of backend 'webgpu', so results are wrong: ${refusal}`);
  }

  override dispose(): void {
    super.dispose();
    this.device.destroy();
  }
}

type Words = Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>;

/** Values as they lie on the device, converted only where they are not yet; undefined for none, and for what has no place there. */
function wordsOf(dtype: DataType, values: BackendValues): Words | undefined {
  if (values.length === 0 || !['float32', 'int32', 'bool'].includes(dtype)) return undefined;
  const Type = dtype === 'float32' ? Float32Array : Int32Array;
  return values instanceof Type ? (values as Words) : new Type(values as Uint8Array);
}

/** Whether tfjs knows the name, by its own registration where it finds `navigator.gpu`; its declaration lacks the `null`. */
const isRegistered = (): boolean => (findBackendFactory('webgpu') as (() => unknown) | null) !== null;

/** Takes tfjs' backend `webgpu` away, if it has one, with its tensors. */
export function unregister(): void {
  if (isRegistered()) removeBackend('webgpu');
}

/** Registers a backend in the place of tfjs' own, with that one's priority. */
export function register(backend: WebGPUBackend): void {
  unregister();
  registerBackend('webgpu', () => backend, 3);
}
