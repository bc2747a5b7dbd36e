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

/** What an adapter says of the matrices that it multiplies; not yet among the types of WebGPU. */
interface MatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** Storage buffers that the kernels with most of them bind. */
const BUFFERS = 10;

type MatrixInfo = GPUAdapterInfo & { readonly subgroupMatrixConfigs?: readonly MatrixConfig[] };

let forced: Matrices | undefined;

/**
 * Has `precision: 'fast'` computed in one way on every device: for tests of the kernels where no device has the units, and
 * for devices whose adapter does not tell. Undefined ends it.
 */
export function forceMatrices(matrices: Matrices | undefined): void {
  forced = matrices;
}

const isHalfWithFloatSums = ({ componentType, resultComponentType, M, N, K }: MatrixConfig): boolean =>
  componentType === 'f16' && resultComponentType === 'f32' && M === BLOCK && N === BLOCK && K === BLOCK;

/** What a device multiplies half-precision matrices by; undefined where it has nothing for it. */
export function matricesOf(device: GPUDevice): Matrices | undefined {
  if (device.limits.maxStorageBuffersPerShaderStage < BUFFERS) return undefined;
  if (forced !== undefined) return forced;
  const has = (feature: string): boolean => device.features.has(feature);
  if (!has(FEATURE) || !has('shader-f16') || !has('subgroups')) return undefined;
  const { subgroupMatrixConfigs, subgroupMinSize, subgroupMaxSize } = device.adapterInfo as MatrixInfo;
  // Which threads own a row is laid out for one size of subgroups.
  if (subgroupMinSize !== SUBGROUP || subgroupMaxSize !== SUBGROUP) return undefined;
  return subgroupMatrixConfigs?.some(isHalfWithFloatSums) ? 'hardware' : undefined;
}
