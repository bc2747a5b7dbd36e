/** CUDA device code as the set-up has compiled it, and which of it a GPU runs. */

/** Device code for one kind of GPU. */
export interface DeviceCode {
  /** As NVIDIA's compilers name it: `sm_80`, `sm_90a`; `compute_120` where it is PTX, which the driver compiles. */
  readonly architecture: string;
  readonly files: readonly string[];
}

/** A GPU, as the driver describes it. */
export interface CudaDevice {
  readonly name: string;
  /** Compute capability. */
  readonly major: number;
  readonly minor: number;
  /** The newest CUDA that the driver knows: 12040 is 12.4. */
  readonly driver: number;
}

/** The oldest compute capability that the kernels are written for. */
export const OLDEST_CAPABILITY = 80;

/** A compute capability as one number: 9.0 is 90. */
export function capabilityOf({ major, minor }: CudaDevice): number {
  return 10 * major + minor;
}

/** The device code that a GPU runs, the one made for it before any other; `undefined` where there is none. */
export function deviceCodeFor(codes: readonly DeviceCode[], device: CudaDevice): DeviceCode | undefined {
  const capability = capabilityOf(device);
  const ranked = codes.map((code) => ({ code, rank: rankOf(code.architecture, capability) }));
  const best = ranked.filter(({ rank }) => rank > 0).sort((a, b) => b.rank - a.rank);
  return best.at(0)?.code;
}

/** 0: does not run there. Machine code runs on later GPUs of its generation (`a`: on none but its own), PTX on all later ones. */
function rankOf(architecture: string, capability: number): number {
  const parts = /^(sm|compute)_(\d+)(a?)$/.exec(architecture);
  if (parts === null) return 0;
  const [, kind, digits, specific] = parts;
  const made = Number(digits);
  if (specific !== '') return made === capability ? 3000 : 0;
  if (kind === 'compute') return made <= capability ? 1000 + made : 0;
  const isSameGeneration = Math.floor(made / 10) === Math.floor(capability / 10);
  return isSameGeneration && made <= capability ? 2000 + made : 0;
}
