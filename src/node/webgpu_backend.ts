import { probeMatrices } from '../../kernels/common/webgpu/matrix_probe.js';
import '../backends/webgpu.js';
import { register, ReportingWebGPUBackend, unregister } from '../webgpu/backend.js';
import { requestDevice } from '../webgpu/device.js';
import { findAdapter, findGpu } from './dawn.js';

/** The backend in Node, where it has no canvas to read data through. */
class NodeWebGPUBackend extends ReportingWebGPUBackend {
  override readSync(dataId: object): ReturnType<ReportingWebGPUBackend['readSync']> {
    const values = this.tensorMap.get(dataId).values as ReturnType<ReportingWebGPUBackend['readSync']> | null;
    if (values) return values;
    throw new Error("tfjs-lla: backend 'webgpu' cannot read data synchronously in Node; use await tensor.data()");
  }
}

/** Registers the backend, and the kernels of this package for it, on the GPU of this machine. */
export async function registerWebGPU(): Promise<void> {
  // Its package has just been imported, and where it finds `navigator.gpu` it registers what does not report errors.
  unregister();
  const adapter = await findAdapter(await findGpu());
  const device = await requestDevice(adapter);
  await probeMatrices(device, adapter.info);
  register(new NodeWebGPUBackend(device, adapter.info, "initBackend('webgpu')"));
}
