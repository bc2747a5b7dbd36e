import { type Shader, shaderText } from './shader.js';

/** A pipeline, and whether its compilation is known to have gone well. */
interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  state: 'pending' | 'good';
  failure?: Error;
}

const caches = new WeakMap<GPUDevice, Map<string, Compiled>>();

/** Fails where a shader asks for more than the device has. */
function checkLimits(device: GPUDevice, shader: Shader): void {
  const { limits } = device;
  const wanted = {
    maxComputeWorkgroupStorageSize: shader.workgroupBytes,
    maxComputeInvocationsPerWorkgroup: shader.workgroupSize,
    maxComputeWorkgroupSizeX: shader.workgroupSize,
    maxStorageBuffersPerShaderStage: Object.keys(shader.buffers).length,
  };
  for (const [limit, value] of Object.entries(wanted)) {
    const most = limits[limit as keyof typeof wanted];
    if (value > most) throw new Error(`shader ${shader.key} needs ${limit} ${value}, the device has ${most}`);
  }
}

/**
 * The pipeline of a shader on a device, and whether it is already known to be good. A device tells of a shader that fails
 * to compile when its first use is over: that has NaN for outputs (`WebGpuCall`) and a warning, every later use an error.
 */
export function pipelineOf(
  device: GPUDevice,
  shader: Shader,
): { pipeline: GPUComputePipeline; layout: GPUBindGroupLayout; isProven: boolean } {
  let cache = caches.get(device);
  if (cache === undefined) caches.set(device, (cache = new Map<string, Compiled>()));
  let compiled = cache.get(shader.key);
  if (compiled === undefined) cache.set(shader.key, (compiled = compile(device, shader)));
  if (compiled.failure !== undefined) throw compiled.failure;
  const { pipeline, layout, state } = compiled;
  return { pipeline, layout, isProven: state === 'good' };
}

function compile(device: GPUDevice, shader: Shader): Compiled {
  checkLimits(device, shader);
  const code = shaderText(shader);
  for (const filter of ['validation', 'internal'] as const) device.pushErrorScope(filter);
  const module = device.createShaderModule({ label: shader.key, code });
  const pipeline = device.createComputePipeline({
    label: shader.key,
    layout: 'auto',
    compute: { module, entryPoint: 'main' },
  });
  const compiled: Compiled = { pipeline, layout: pipeline.getBindGroupLayout(0), state: 'pending' };
  const errors = Promise.all([device.popErrorScope(), device.popErrorScope()]);
  void errors.then((found) => {
    const error = found.find((one) => one !== null);
    if (!error) {
      compiled.state = 'good';
      return;
    }
    compiled.failure = new Error(`shader ${shader.key} does not compile on this device: ${error.message}`);
    console.warn(compiled.failure.message);
  });
  return compiled;
}
