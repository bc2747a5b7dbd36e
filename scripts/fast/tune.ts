import { recordShaders } from '../../kernels/common/webgpu/call.js';
import { compileAhead } from '../../kernels/common/webgpu/pipelines.js';
import type { Shader } from '../../kernels/common/webgpu/shader.js';
import { chooseMatrixTile, type TileUse } from '../../kernels/common/webgpu/tile.js';
import { BLOCK } from '../../kernels/common/webgpu/matrices.js';
import {
  type DeviceInfo,
  type MatrixTuning,
  tryTuning,
  type TuningUse,
  tuningUse,
} from '../../kernels/common/webgpu/tuning.js';
import { type BenchCase, caseName } from '../bench/cases.js';
import type { BenchDevice } from '../bench/device.js';
import { callOnce, measureKernels } from '../bench/run_case.js';

/** A case under settings that were tried. */
export interface Tried {
  readonly use: TuningUse;
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
  /** Sets of columns that the use stages together. */
  readonly regions?: number;
  /** The kernel whose time counts, where it is not the sum of all. */
  readonly pass?: string;
}

const rows = (subgroups: number, quads: number, buffers?: number, workgroups = 528): MatrixTuning => ({
  subgroups,
  quads,
  ...(buffers !== undefined && { buffers }),
  workgroups,
});

const onePass = [rows(4, 2), rows(8, 2), rows(4, 2, 2)];
const passes = [rows(4, 4), rows(4, 2), rows(4, 2, 2)];

/** No tile of more than the 64 rows that share a flag: what such a tile leaves to float32 would not all be flagged. */
const keptWeights = [rows(4, 4), rows(4, 2), rows(4, 2, 2)];
const gradientRows = [rows(4, 2, 2), rows(4, 2, 1)];
const wideRows = [rows(4, 2, 1), rows(4, 4, 1)];

/** Rows are keys, which no flag concerns; workgroups take one tile each. */
const keys = [rows(8, 2, 2), rows(4, 2, 1)];
const wideKeys = [rows(8, 2, 1), rows(4, 2, 1)];

const common = { direction: 'forward', heads: 32, dim: 64, limits: 'device', precision: 'fast', causal: true } as const;
const square = (n: number) => ({ queries: n, keys: n });
const [short, long] = [square(2048), square(4096)];
const wide = { ...short, dim: 128 };
const softmax = { operator: 'softmaxAttention', ...common } as const;
const parallax = { operator: 'parallaxAttention', ...common } as const;
const solving = { operator: 'localLinearAttention', ...common, ridge: 1, tolerance: 1e-3 } as const;
const both: readonly BenchCase[] = [
  { ...solving, ...short },
  { ...solving, ...long, ridge: 10 },
];
const gradient = { direction: 'gradient' } as const;
const gradients = both.map((one) => ({ ...one, ...gradient }));
const wideGradient = [{ ...solving, ...wide, ...gradient }];

const TRIALS: readonly Trial[] = [
  { use: 'gradientRows', cases: gradients, tunings: gradientRows, pass: 'gradientRows' },
  { use: 'keys', cases: gradients, tunings: keys, regions: 4, pass: 'gradientKeys' },
  { use: 'keptWeights', cases: both, tunings: keptWeights },
  {
    use: 'onePass',
    cases: [
      { ...softmax, ...short },
      { ...softmax, ...long, causal: false },
    ],
    tunings: onePass,
  },
  { use: 'passes', cases: [{ ...parallax, ...short }], tunings: passes },
  { use: 'gradientRows', cases: wideGradient, tunings: wideRows, pass: 'gradientRows' },
  { use: 'keys', cases: wideGradient, tunings: wideKeys, regions: 4, pass: 'gradientKeys' },
  { use: 'keptWeights', cases: [{ ...solving, ...wide }], tunings: keptWeights.slice(0, 2) },
  { use: 'onePass', cases: [{ ...softmax, ...wide }], tunings: [rows(4, 2), rows(4, 4)] },
  { use: 'passes', cases: [{ ...parallax, ...wide }], tunings: passes.slice(0, 2) },
];

/** Relative error, in L2, that the kernels promise of outputs (README.md, Precision). */
const MOST_ERROR = 1e-3;

/** Settings are timed so often, one after another; the best time counts. */
const ROUNDS = 2;

/** Has a use take a setting; whether the device has room for it. */
function take(device: GPUDevice, { use, regions }: Trial, dim: number, tuning: MatrixTuning): boolean {
  tryTuning(tuning, use);
  const tile = chooseMatrixTile(device, dim, use, regions);
  return tile?.threadsY === BLOCK * tuning.subgroups && tile.quads === tuning.quads && tile.buffers === tuning.buffers;
}

/** So many as a measurement has. */
const digits = (x: number): number => Number(x.toPrecision(4));

async function measure(
  { use, pass }: Trial,
  one: BenchCase,
  tuning: MatrixTuning,
  device: BenchDevice,
): Promise<Tried> {
  const row = { use: tuningUse(use, one.dim), name: caseName(one), tuning, bar: MOST_ERROR };
  try {
    const { kernel, passes, errors, problems } = await measureKernels(one, device);
    const error = errors.length > 0 ? Math.max(...errors.map(({ relative }) => relative)) : null;
    // The first of a name is the kernel by matrices; the other one takes what it leaves.
    const ofPass = Object.entries(passes).find(([name]) => pass !== undefined && name.endsWith(` ${pass}`));
    const time = ofPass?.[1] ?? kernel?.median;
    return { ...row, milliseconds: time === undefined ? null : digits(time), error: error && digits(error), problems };
  } catch (error) {
    return { ...row, milliseconds: null, error: null, problems: [String(error)] };
  }
}

/** The better of two measurements of the same; one that went wrong stays wrong. */
const better = (one: Tried, other: Tried | undefined): Tried =>
  other === undefined || one.problems.length > 0 || (one.milliseconds ?? 0) < (other.milliseconds ?? 0) ? one : other;

/**
 * Times the kernels by matrices under all settings that the device has room for, all of them compiled ahead, each checked against float64 first, until the
 * clock says `end`; `report` gets every result as it comes. `only`: of cases of a name.
 */
export async function tune(
  device: BenchDevice,
  gpu: GPUDevice,
  end: number,
  report: (one: Tried) => void,
  only?: RegExp,
): Promise<void> {
  const trials = TRIALS.map((trial) => ({
    ...trial,
    cases: trial.cases.filter((one) => only?.test(caseName(one)) ?? true),
  }));
  try {
    const shaders: Shader[] = [];
    for (const trial of trials) {
      for (const one of trial.cases) {
        for (const tuning of trial.tunings) {
          if (!take(gpu, trial, one.dim, tuning)) continue;
          await callOnce(one, device, (body) => shaders.push(...recordShaders(body)));
        }
      }
    }
    await compileAhead(gpu, shaders);
    for (const trial of trials) {
      for (const one of trial.cases) {
        const best = new Map<MatrixTuning, Tried>();
        for (let round = 0; round < ROUNDS; round++) {
          for (const tuning of trial.tunings) {
            if (Date.now() > end) break;
            if (!take(gpu, trial, one.dim, tuning)) continue;
            best.set(tuning, better(await measure(trial, one, tuning, device), best.get(tuning)));
          }
        }
        for (const tried of best.values()) report(tried);
      }
    }
  } finally {
    tryTuning(undefined);
  }
}
