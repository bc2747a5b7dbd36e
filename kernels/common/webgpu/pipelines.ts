import { type Shader, shaderText } from './shader.js';

/** A pipeline, whether its compilation is known to have gone well, and what has been bound to it. */
export interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  state: 'pending' | 'good';
  failure?: Error;
  /** By the buffers, the one used last at the end. */
  readonly bindGroups: Map<string, GPUBindGroup>;
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
export function pipelineOf(device: GPUDevice, shader: Shader): Compiled {
  const cache = cacheOf(device);
  let compiled = cache.get(shader.key);
  if (compiled === undefined) cache.set(shader.key, (compiled = compile(device, shader)));
  if (compiled.failure !== undefined) throw compiled.failure;
  return compiled;
}

/** Numbers of buffers, by which bind groups are known. */
const numbers = new WeakMap<GPUBuffer, number>();
let buffersSoFar = 0;

function numberOf(buffer: GPUBuffer): number {
  let number = numbers.get(buffer);
  if (number === undefined) numbers.set(buffer, (number = buffersSoFar++));
  return number;
}

/** Bind groups that a pipeline keeps: one for every layer of a model, as tfjs's pool hands out the same buffers again. */
const MOST_BIND_GROUPS = 32;

/** The bind group of a pipeline for buffers in the order of their bindings; `check` is called before a new one is made. */
export function bindGroupOf(
  device: GPUDevice,
  { bindGroups, layout }: Compiled,
  bindings: readonly GPUBufferBinding[],
  check: () => void,
): GPUBindGroup {
  let key = '';
  for (const { buffer, offset = 0, size = -1 } of bindings) key += `${numberOf(buffer)} ${offset} ${size},`;
  let group = bindGroups.get(key);
  if (group === undefined) {
    check();
    const entries = bindings.map((resource, binding) => ({ binding, resource }));
    group = device.createBindGroup({ layout, entries });
    const oldest = bindGroups.keys().next();
    if (bindGroups.size === MOST_BIND_GROUPS && !oldest.done) bindGroups.delete(oldest.value);
  } else {
    bindGroups.delete(key);
  }
  bindGroups.set(key, group);
  return group;
}

/**
 * Compiles shaders at the same time, as far as the device can, so that calls find them ready. One that does not compile is left
 * to the first call that needs it, which reports it.
 */
export async function compileAhead(device: GPUDevice, shaders: readonly Shader[]): Promise<void> {
  const cache = cacheOf(device);
  const missing = new Map(shaders.filter(({ key }) => !cache.has(key)).map((shader) => [shader.key, shader]));
  device.pushErrorScope('validation');
  const all = [...missing.values()].map(async (shader) => {
    const pipeline = await device.createComputePipelineAsync(descriptorOf(device, shader.key, shaderText(shader)));
    if (!cache.has(shader.key)) cache.set(shader.key, compiledOf(pipeline, 'good'));
  });
  await Promise.all([device.popErrorScope(), Promise.allSettled(all)]);
}

function cacheOf(device: GPUDevice): Map<string, Compiled> {
  let cache = caches.get(device);
  if (cache === undefined) caches.set(device, (cache = new Map<string, Compiled>()));
  return cache;
}

function descriptorOf(device: GPUDevice, label: string, code: string): GPUComputePipelineDescriptor {
  const module = device.createShaderModule({ label, code });
  return { label, layout: 'auto', compute: { module, entryPoint: 'main' } };
}

const compiledOf = (pipeline: GPUComputePipeline, state: Compiled['state']): Compiled => ({
  pipeline,
  layout: pipeline.getBindGroupLayout(0),
  state,
  bindGroups: new Map<string, GPUBindGroup>(),
});

function compile(device: GPUDevice, shader: Shader): Compiled {
  checkLimits(device, shader);
  const code = shaderText(shader);
  for (const filter of ['validation', 'internal'] as const) device.pushErrorScope(filter);
  const compiled = compiledOf(device.createComputePipeline(descriptorOf(device, shader.key, code)), 'pending');
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
