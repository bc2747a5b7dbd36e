/**
 * How a device multiplies small matrices of half-precision numbers with float32 sums: by its own units, or, in tests only, by
 * portable text that computes the same. Matrices are 16 x 16 and belong to 32 neighbouring threads of a workgroup, a subgroup.
 */
export type Matrices = 'hardware' | 'emulated';

/** Rows and columns of a matrix. */
export const BLOCK = 16;

/** Threads that share a matrix. */
export const SUBGROUP = 32;

const FEATURE = 'chromium-experimental-subgroup-matrix';

/** Storage buffers that the kernels with most of them bind. */
const BUFFERS = 10;

let forced: Matrices | undefined;

/** Has `precision: 'fast'` computed in one way on every device, for tests of the kernels; undefined ends it. */
export function forceMatrices(matrices: Matrices | undefined): void {
  forced = matrices;
}

/** What devices were found to multiply by (matrix_probe.ts): what adapters list of matrices has been seen empty where there are some. */
const found = new WeakMap<GPUDevice, Matrices>();

export function rememberMatrices(device: GPUDevice, matrices: Matrices | undefined): void {
  if (matrices === undefined) found.delete(device);
  else found.set(device, matrices);
}

/** What an adapter says that it multiplies; not yet among the types of WebGPU. */
export interface MatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** Whether a list of what is multiplied has the matrices of the kernels; an empty one says nothing. */
function mayMultiply(configs: readonly MatrixConfig[] = []): boolean {
  const isOurs = ({ componentType, resultComponentType, M, N, K }: MatrixConfig): boolean =>
    componentType === 'f16' && resultComponentType === 'f32' && [M, N, K].every((size) => size === BLOCK);
  return configs.length === 0 || configs.some(isOurs);
}

/**
 * Whether a device may have matrix units that the kernels can use. `info`: what is known of its adapter; a device's own copy of
 * it has been seen without the list of matrices.
 */
export function hasMatrixFeatures(device: GPUDevice, info?: GPUAdapterInfo): boolean {
  const { features, limits } = device;
  if (![FEATURE, 'shader-f16', 'subgroups'].every((feature) => features.has(feature))) return false;
  // Browsers that have these features tell of the adapter at the device, too; older ones do not.
  const { subgroupMinSize, subgroupMaxSize } = device.adapterInfo;
  const { subgroupMatrixConfigs } = (info ?? device.adapterInfo) as GPUAdapterInfo & {
    readonly subgroupMatrixConfigs?: readonly MatrixConfig[];
  };
  return (
    limits.maxStorageBuffersPerShaderStage >= BUFFERS &&
    // Which threads own a row is laid out for one size of subgroups.
    subgroupMinSize === SUBGROUP &&
    subgroupMaxSize === SUBGROUP &&
    mayMultiply(subgroupMatrixConfigs)
  );
}

/** What a device multiplies half-precision matrices by; undefined where it has nothing for it, or has not been asked. */
export function matricesOf(device: GPUDevice): Matrices | undefined {
  if (forced === undefined) return found.get(device);
  return device.limits.maxStorageBuffersPerShaderStage < BUFFERS ? undefined : forced;
}
