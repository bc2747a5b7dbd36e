/** The WebGPU of this process: one that is there already, or Dawn out of the npm package `webgpu`. */
import { requestAdapter } from '../webgpu/device.js';

/** What the package `webgpu` exports. A bundle may put another source of Dawn in its place by an alias. */
const loadDawn = () => import('webgpu');

/**
 * The object behind `navigator.gpu`. Where Node has none it is made, together with the globals of WebGPU, and stays
 * there: Dawn ends the process with a crash when its instance is collected before its devices.
 */
export async function findGpu(): Promise<GPU> {
  // Node has `navigator` from version 21 on, and none has the `gpu` in it.
  const present = (globalThis as { navigator?: { gpu?: GPU } }).navigator;
  if (present?.gpu) return present.gpu;
  const { create, globals } = await loadDawn();
  Object.assign(globalThis, globals);
  // Half precision and subgroup matrices, which a device has only when it is asked for them.
  const gpu = create([
    'enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia',
    // Else times of kernels are multiples of 66 microseconds, which hides a web page's neighbours, of which Node has none.
    'disable-dawn-features=timestamp_quantization',
  ]);
  if (present) {
    Object.defineProperty(present, 'gpu', { value: gpu, enumerable: true });
  } else {
    const [major] = process.versions.node.split('.');
    const value = { gpu, userAgent: `Node.js/${major}` };
    Object.defineProperty(globalThis, 'navigator', { value, configurable: true, enumerable: true, writable: true });
  }
  return gpu;
}

/** The fastest adapter; throws, and says what to do, where there is none. */
export async function findAdapter(gpu: GPU): Promise<GPUAdapter> {
  const adapter = await requestAdapter(gpu);
  if (adapter) return adapter;
  throw new Error(`finds no GPU that it can use; ${adviceFor(process.platform)}`);
}

function adviceFor(platform: NodeJS.Platform): string {
  if (platform === 'darwin') return 'it needs macOS with Metal';
  if (platform === 'win32') return "it needs a GPU with a D3D12 driver: update the GPU's driver";
  return (
    "install the GPU's driver with its part for Vulkan and the loader libvulkan.so.1 (Debian: libvulkan1; " +
    'Mesa: mesa-vulkan-drivers), then check with vulkaninfo'
  );
}

/** The name of a GPU with its driver. */
export function describeGpu({ vendor, architecture, device, description }: GPUAdapterInfo): string {
  const name = device || [vendor, architecture].filter(Boolean).join(' ') || 'unnamed GPU';
  return description ? `${name} (${description})` : name;
}
