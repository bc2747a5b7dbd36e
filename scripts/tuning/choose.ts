import { classesOf, type MatrixTuning, type Tunings, type TuningUse } from '../../kernels/common/webgpu/tuning.js';
import type { Tried, TuningRun } from '../fast/tune.js';

/** Whether a measurement counts: a time of a right result. Written so that NaN is wrong. */
const counts = ({ milliseconds, error, bar, problems }: Tried): boolean =>
  milliseconds !== null && error !== null && error <= bar && problems.length === 0;

/** The cases of a use that the clock did not end amid its settings. */
function completeCases(measurements: readonly Tried[]): string[] {
  const countOf = (name: string): number => measurements.filter((one) => one.name === name).length;
  const names = [...new Set(measurements.map(({ name }) => name))];
  const most = Math.max(...names.map(countOf));
  return names.filter((name) => countOf(name) === most);
}

/** The fastest setting of a use over its cases, each in relation to its best time; undefined where none is right in all. */
function fastest(measurements: readonly Tried[]): MatrixTuning | undefined {
  const names = completeCases(measurements);
  const right = measurements.filter((one) => counts(one) && names.includes(one.name));
  const timeOf = ({ milliseconds }: Tried): number => milliseconds ?? Infinity;
  const bestOf = new Map(
    names.map((name) => [name, Math.min(...right.filter((one) => one.name === name).map(timeOf))] as const),
  );
  const sums = new Map<string, { tuning: MatrixTuning; cases: number; sum: number }>();
  for (const one of right) {
    const key = JSON.stringify(one.tuning);
    const { cases, sum } = sums.get(key) ?? { cases: 0, sum: 0 };
    const relative = timeOf(one) / (bestOf.get(one.name) ?? 1);
    sums.set(key, { tuning: one.tuning, cases: cases + 1, sum: sum + relative });
  }
  const complete = [...sums.values()].filter(({ cases }) => cases === names.length);
  return complete.sort((a, b) => a.sum - b.sum).at(0)?.tuning;
}

/** The best settings of one device, for every use that was measured. */
function bestOf({ measurements }: TuningRun): Tunings {
  const uses = [...new Set(measurements.map(({ use }) => use))];
  const chosen = uses.flatMap((use): [TuningUse, MatrixTuning][] => {
    const tuning = fastest(measurements.filter((one) => one.use === use));
    return tuning === undefined ? [] : [[use, tuning]];
  });
  return Object.fromEntries(chosen);
}

/**
 * The table of settings by class of devices. A device's own class holds what was measured on it; a wider one, its
 * architecture, its vendor and '' for all others, what the first device of it in the list showed.
 */
export function tableOf(runs: readonly TuningRun[]): Record<string, Tunings> {
  const table: Record<string, Tunings> = {};
  for (const run of runs) {
    const best = bestOf(run);
    for (const name of classesOf(run.device)) table[name] ??= best;
  }
  return table;
}

/** Measurements in place of earlier ones of the same uses on the same device; a run of another device behind all others. */
export function withRun(runs: readonly TuningRun[], run: TuningRun): TuningRun[] {
  const isSame = ({ device }: TuningRun): boolean => classesOf(device)[0] === classesOf(run.device)[0];
  const uses = new Set(run.measurements.map(({ use }) => use));
  const merged = ({ measurements }: TuningRun): TuningRun => ({
    ...run,
    measurements: [...measurements.filter(({ use }) => !uses.has(use)), ...run.measurements],
  });
  return runs.some(isSame) ? runs.map((one) => (isSame(one) ? merged(one) : one)) : [...runs, run];
}

/** The module with the table; without classes that say what the next wider one says. */
export function moduleOf(runs: readonly TuningRun[]): string {
  const table = tableOf(runs);
  const kept = new Set(Object.keys(table));
  for (const { device } of runs) {
    classesOf(device).forEach((name, i, names) => {
      const next = names.slice(i + 1).find((wider) => kept.has(wider));
      if (next !== undefined && JSON.stringify(table[name]) === JSON.stringify(table[next])) kept.delete(name);
    });
  }
  const numbers = (tuning: MatrixTuning): string =>
    `{ ${Object.entries(tuning)
      .map(([name, value]) => `${name}: ${String(value)}`)
      .join(', ')} }`;
  const entries = Object.entries(table)
    .filter(([name]) => kept.has(name))
    .map(([name, tunings]) => {
      const uses = Object.entries(tunings).map(([use, tuning]) => `    '${use}': ${numbers(tuning)},`);
      return [`  '${name}': {`, ...uses, '  },'].join('\n');
    });
  return `import type { Tunings } from './tuning.js';

/*
 * Written by \`npm run fast:tune\` from docs/benchmarks/webgpu_tuning.json: the fastest right settings of every class of devices.
 * '' stands for devices of which nothing was measured.
 */
export const MEASURED: Readonly<Record<string, Tunings>> = {${entries.length > 0 ? `\n${entries.join('\n')}\n` : ''}};
`;
}
