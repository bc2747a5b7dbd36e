import { recordShaders } from '../../kernels/common/webgpu/call.js';
import { compileAhead } from '../../kernels/common/webgpu/pipelines.js';
import type { Shader } from '../../kernels/common/webgpu/shader.js';
import { chooseMatrixTile, type TileUse } from '../../kernels/common/webgpu/tile.js';
import { BLOCK } from '../../kernels/common/webgpu/matrices.js';
import { type DeviceInfo, type MatrixTuning, tryTuning } from '../../kernels/common/webgpu/tuning.js';
import { type BenchCase, caseName } from '../bench/cases.js';
import type { BenchDevice } from '../bench/device.js';
import { callOnce, measureKernels } from '../bench/run_case.js';

/** A case under settings that were tried. */
export interface Tried {
  readonly use: TileUse;
  readonly name: string;
  readonly tuning: MatrixTuning;
  /** The sum of all kernels of a call; null where they could not be timed. */
  readonly milliseconds: number | null;
  /** The largest relative error of an array, and the most that it may be. */
  readonly error: number | null;
  readonly bar: number;
  readonly problems: readonly string[];
}

/** What part `u` of `npm run fast` measured on a device. */
export interface TuningRun {
  readonly date: string;
  readonly device: DeviceInfo & { readonly driver: string };
  readonly measurements: Tried[];
}

/** Cases that tell what is best for a use, and the settings to try. */
interface Trial {
  readonly use: TileUse;
  readonly cases: readonly BenchCase[];
  readonly tunings: readonly MatrixTuning[];
  /** Sets of columns that the use stages at a time. */
  readonly regions?: number;
}

const rows = (subgroups: number, quads: number, workgroups = 528): MatrixTuning => ({ subgroups, quads, workgroups });

const passes: readonly MatrixTuning[] = [
  ...[4, 2, 8, 1].flatMap((subgroups) => [4, 8].map((quads) => rows(subgroups, quads))),
  rows(4, 2),
];

/** No tile of more than the 64 rows that share a flag: what such a tile leaves to float32 would not all be flagged. */
const keptWeights: readonly MatrixTuning[] = [
  ...[528, 264, 1056].map((workgroups) => rows(4, 4, workgroups)),
  rows(4, 8, 528),
  rows(2, 4, 1056),
  rows(2, 8, 1056),
  rows(4, 2, 528),
];

/** Rows are keys, which no flag concerns; workgroups take one tile each. */
const keys: readonly MatrixTuning[] = [rows(8, 2), rows(4, 2), rows(4, 4), rows(2, 2), rows(2, 4)];

const common = { direction: 'forward', heads: 32, dim: 64, limits: 'device', precision: 'fast', causal: true } as const;
const square = (n: number) => ({ queries: n, keys: n });
const [short, long] = [square(2048), square(4096)];
const solved = { ridge: 1, tolerance: 1e-3 };

const TRIALS: readonly Trial[] = [
  {
    use: 'onePass',
    cases: [
      { operator: 'softmaxAttention', ...common, ...short, causal: false },
      { operator: 'softmaxAttention', ...common, ...long },
    ],
    tunings: passes,
  },
  { use: 'passes', cases: [{ operator: 'parallaxAttention', ...common, ...short }], tunings: passes },
  {
    use: 'keptWeights',
    cases: [
      { operator: 'localLinearAttention', ...common, ...short, ...solved },
      { operator: 'localLinearAttention', ...common, ...long, ...solved },
    ],
    tunings: keptWeights,
  },
  {
    use: 'keys',
    cases: [{ operator: 'localLinearAttention', ...common, ...short, ...solved, direction: 'gradient' }],
    tunings: keys,
    regions: 4,
  },
];

/** Relative error, in L2, that the kernels promise of outputs (README.md, Precision). */
const MOST_ERROR = 1e-3;

/** Settings are timed so often, one after another; the best time counts. */
const ROUNDS = 2;

/** Has a use take a setting; whether the device has room for it. */
function take(device: GPUDevice, { use, regions }: Trial, dim: number, tuning: MatrixTuning): boolean {
  tryTuning(tuning, use);
  const tile = chooseMatrixTile(device, dim, use, regions);
  return tile?.threadsY === BLOCK * tuning.subgroups && tile.quads === tuning.quads;
}

/** So many as a measurement has. */
const digits = (x: number): number => Number(x.toPrecision(4));

async function measure({ use }: Trial, one: BenchCase, tuning: MatrixTuning, device: BenchDevice): Promise<Tried> {
  const row = { use, name: caseName(one), tuning, bar: MOST_ERROR };
  try {
    const { kernel, errors, problems } = await measureKernels(one, device);
    const error = errors.length > 0 ? Math.max(...errors.map(({ relative }) => relative)) : null;
    return { ...row, milliseconds: kernel ? digits(kernel.median) : null, error: error && digits(error), problems };
  } catch (error) {
    return { ...row, milliseconds: null, error: null, problems: [String(error)] };
  }
}

/** The better of two measurements of the same; one that went wrong stays wrong. */
const better = (one: Tried, other: Tried | undefined): Tried =>
  other === undefined || one.problems.length > 0 || (one.milliseconds ?? 0) < (other.milliseconds ?? 0) ? one : other;

/**
 * Times the kernels by matrices under all settings that the device has room for, each checked against float64 first, until the
 * clock says `end`; `report` gets every result as it comes. `only`: of cases of a name.
 */
export async function tune(
  device: BenchDevice,
  gpu: GPUDevice,
  end: number,
  report: (one: Tried) => void,
  only?: RegExp,
): Promise<void> {
  for (const trial of TRIALS) {
    const cases = trial.cases.filter((one) => only?.test(caseName(one)) ?? true);
    if (cases.length === 0) continue;
    try {
      const tunings = trial.tunings.filter((tuning) => take(gpu, trial, cases[0].dim, tuning));
      const shaders: Shader[] = [];
      for (const tuning of tunings) {
        take(gpu, trial, cases[0].dim, tuning);
        for (const one of cases) await callOnce(one, device, (body) => shaders.push(...recordShaders(body)));
      }
      await compileAhead(gpu, shaders);
      for (const one of cases) {
        const best = new Map<MatrixTuning, Tried>();
        for (let round = 0; round < ROUNDS; round++) {
          for (const tuning of tunings) {
            if (Date.now() > end) break;
            take(gpu, trial, one.dim, tuning);
            best.set(tuning, better(await measure(trial, one, tuning, device), best.get(tuning)));
          }
        }
        for (const tried of best.values()) report(tried);
      }
    } finally {
      tryTuning(undefined);
    }
  }
}
