/** The WebGPU of this process: one that is there already, or Dawn out of the npm package `webgpu`. */

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
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
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

/** Features that are of use here; a device has one only if it was asked for. */
const FEATURES = [
  'timestamp-query',
  'bgra8unorm-storage',
  'shader-f16',
  'subgroups',
  'chromium-experimental-subgroup-matrix',
];

/** Limits that tfjs raises to what the adapter has, and the number of buffers that kernels by matrices bind; all others stay at WebGPU's defaults. */
const RAISED_LIMITS = [
  'maxComputeWorkgroupStorageSize',
  'maxComputeWorkgroupsPerDimension',
  'maxStorageBufferBindingSize',
  'maxBufferSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupSizeX',
  'maxComputeInvocationsPerWorkgroup',
] as const;

/** A device as tfjs' own WebGPU backend asks for it, and with what the kernels can make use of. */
export function requestDevice(adapter: GPUAdapter): Promise<GPUDevice> {
  return adapter.requestDevice({
    requiredFeatures: FEATURES.filter((feature) => adapter.features.has(feature)) as GPUFeatureName[],
    requiredLimits: Object.fromEntries(RAISED_LIMITS.map((limit) => [limit, adapter.limits[limit]])),
  });
}

/** The name of a GPU with its driver. */
export function describeGpu({ vendor, architecture, device, description }: GPUAdapterInfo): string {
  const name = device || [vendor, architecture].filter(Boolean).join(' ') || 'unnamed GPU';
  return description ? `${name} (${description})` : name;
}
