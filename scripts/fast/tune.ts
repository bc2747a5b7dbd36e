import { tryTuning, type MatrixTuning } from '../../kernels/common/webgpu/tuning.js';
import { type BenchCase, caseName } from '../bench/cases.js';
import type { BenchDevice } from '../bench/device.js';
import { runCase } from '../bench/run_case.js';

/** A case under settings that were tried. */
export interface Tried {
  readonly name: string;
  readonly tuning: MatrixTuning;
  readonly kernelMilliseconds: number | null;
  readonly error: number | null;
  readonly problems: readonly string[];
}

const onePass: MatrixTuning[] = [2, 4, 1, 8].flatMap((subgroups) =>
  [8, 4].map((quads) => ({ subgroups, quads, workgroups: 528 })),
);

const keptWeights: MatrixTuning[] = [
  ...[4, 2, 8].map((subgroups) => ({ subgroups, quads: 8, workgroups: subgroups === 2 ? 1056 : 528 })),
  ...[264, 1056].map((workgroups) => ({ subgroups: 4, quads: 8, workgroups })),
  { subgroups: 4, quads: 4, workgroups: 528 },
];

const common = { heads: 32, dim: 64, limits: 'device', precision: 'fast', causal: true } as const;
const square = (n: number) => ({ queries: n, keys: n });

const CASES: readonly (readonly [BenchCase, readonly MatrixTuning[]])[] = [
  [{ operator: 'softmaxAttention', direction: 'forward', ...common, ...square(2048), causal: false }, onePass],
  [
    { operator: 'localLinearAttention', direction: 'forward', ...common, ...square(2048), ridge: 1, tolerance: 1e-3 },
    keptWeights,
  ],
];

/** Times the kernels by matrices under all settings, until the clock says `end`; `report` gets each result as it comes. */
export async function tune(device: BenchDevice, end: number, report: (one: Tried) => void): Promise<void> {
  for (const [one, tunings] of CASES) {
    for (const tuning of tunings) {
      if (Date.now() > end) return;
      tryTuning(tuning);
      try {
        const { kernel, errors, problems } = await runCase(one, device);
        report({
          name: caseName(one),
          tuning,
          kernelMilliseconds: kernel?.median ?? null,
          error: errors.at(0)?.relative ?? null,
          problems,
        });
      } catch (error) {
        report({ name: caseName(one), tuning, kernelMilliseconds: null, error: null, problems: [String(error)] });
      } finally {
        tryTuning(undefined);
      }
    }
  }
}
