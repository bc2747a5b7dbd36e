/** The device that tfjs' WebGPU backend gets from this package, in Node and in browsers. */
import { env } from '@tensorflow/tfjs-core';

/** The adapter that tfjs itself would take; null where there is none. */
export function requestAdapter(gpu: GPU): Promise<GPUAdapter | null> {
  const isLowPower = env().getBool('WEBGPU_USE_LOW_POWER_GPU');
  return gpu.requestAdapter({ powerPreference: isLowPower ? 'low-power' : 'high-performance' });
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
