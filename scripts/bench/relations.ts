import { type BenchCase, correlationName } from './cases.js';
import type { Row } from './run_case.js';

/** What a row is beside the others of its run. */
export interface Relations {
  /** Rate over that of tfjs' `matMul`. */
  readonly timesMatMul: number | null;
  /** Rate over that of softmax attention's forward of the same shape. */
  readonly timesSoftmax: number | null;
  /** Kernels of a gradient over those of the forward; of local linear attention, the one at tolerance 1e-3. */
  readonly timesForward: number | null;
  /** Time over that of the same call in float32 throughout. */
  readonly timesHigh: number | null;
  /** Time over that on a device without limits. */
  readonly timesDevice: number | null;
  /** Time and memory over those of the same case at the next shorter length, which is `length` times as long. */
  readonly growth: { readonly length: number; readonly time: number; readonly memory: number | null } | null;
}

/** A bar and how it went; `value` is null where it could not be measured. */
export interface Verdict {
  readonly what: string;
  readonly value: number | null;
  readonly bar: number;
  readonly isMet: boolean | null;
}

const isSquare = ({ queries, keys }: BenchCase): boolean => queries === keys;

/** Whether `other` is `one` but for what `change` says. */
function isSame(one: BenchCase, other: BenchCase, change: Partial<BenchCase>): boolean {
  const wanted = { ...one, ...change };
  const names = ['operator', 'direction', 'causal', 'heads', 'queries', 'keys', 'dim', 'limits'] as const;
  if (names.some((name) => other[name] !== wanted[name])) return false;
  if (correlationName(other.correlation).join() !== correlationName(wanted.correlation).join()) return false;
  if ((other.hasRidgeTensor ?? false) !== (wanted.hasRidgeTensor ?? false)) return false;
  if ((other.precision ?? 'high') !== (wanted.precision ?? 'high')) return false;
  return other.ridge === wanted.ridge && other.tolerance === wanted.tolerance;
}

const timeOf = (row: Row): number => (row.kernel ?? row.wall).median;

export function relationsOf(row: Row, rows: readonly Row[], matMulTeraflops: number | null): Relations {
  const { case: one } = row;
  const find = (change: Partial<BenchCase>): Row | undefined =>
    rows.find((other) => other !== row && isSame(one, other.case, change));
  const timesTime = (other: Row | undefined): number | null => (other ? timeOf(row) / timeOf(other) : null);
  const softmax = find({
    operator: 'softmaxAttention',
    direction: 'forward',
    ridge: undefined,
    tolerance: undefined,
    hasRidgeTensor: undefined,
  });
  const isLocal = one.operator === 'localLinearAttention';
  const forward = find({
    direction: 'forward',
    hasRidgeTensor: undefined,
    ...(isLocal && one.tolerance !== undefined && { tolerance: 1e-3 }),
  });
  const times = (rate: number | null | undefined): number | null =>
    row.teraflops !== null && rate ? row.teraflops / rate : null;
  return {
    timesMatMul: times(matMulTeraflops),
    timesSoftmax: times(softmax?.teraflops),
    // Without device times the gradient's time has the forward in it.
    timesForward: one.direction === 'gradient' && row.kernel !== null ? timesTime(forward) : null,
    timesHigh: one.precision === 'fast' ? timesTime(find({ precision: 'high' })) : null,
    timesDevice: one.limits === 'default' ? timesTime(find({ limits: 'device' })) : null,
    growth: growthOf(row, rows),
  };
}

function growthOf(row: Row, rows: readonly Row[]): Relations['growth'] {
  const { case: one } = row;
  if (!isSquare(one)) return null;
  const shorter = rows
    .filter(({ case: other }) => isSquare(other) && other.keys < one.keys)
    .filter(({ case: other }) => isSame(one, other, { keys: other.keys, queries: other.queries }))
    .sort((a, b) => b.case.keys - a.case.keys)
    .at(0);
  if (shorter === undefined) return null;
  const [now, before] = [row.firstCall?.extraBytes ?? null, shorter.firstCall?.extraBytes ?? null];
  return {
    length: one.keys / shorter.case.keys,
    time: timeOf(row) / timeOf(shorter),
    memory: now !== null && before !== null && before > 0 ? now / before : null,
  };
}

/** How a row stands against the bars of its case. */
export function verdictsOf(row: Row, relations: Relations): Verdict[] {
  const { bar } = row.case;
  if (bar === undefined) return [];
  const most = (what: string, value: number | null, limit: number | undefined): Verdict[] =>
    limit === undefined ? [] : [{ what, value, bar: limit, isMet: value === null ? null : value <= limit }];
  const least = (what: string, value: number | null, limit: number | undefined): Verdict[] =>
    limit === undefined ? [] : [{ what, value, bar: limit, isMet: value === null ? null : value >= limit }];
  const { extraBytes = null } = row.firstCall ?? {};
  // A ridge's gradient is a difference of large numbers: shown, but under no bar.
  const errors = row.errors.filter(({ name }) => name !== 'dridge');
  const error = errors.length > 0 ? Math.max(...errors.map(({ relative }) => relative)) : null;
  const kernels = row.kernelsOfWall;
  return [
    ...most('kernel ms', row.kernel?.median ?? null, bar.kernelMilliseconds),
    ...most('error', error, bar.error),
    ...most('x forward', relations.timesForward, bar.timesForward),
    ...most('x float32', relations.timesHigh, bar.timesHigh),
    ...least('x matMul', relations.timesMatMul, bar.timesMatMul),
    ...least('x softmax', relations.timesSoftmax, bar.timesSoftmax),
    ...most('growth', relations.growth?.time ?? null, bar.growth),
    ...most('extra MiB', extraBytes === null ? null : extraBytes / 2 ** 20, bar.extraMebibytes),
    // One call through tfjs: at most 15 % or so many milliseconds above its kernels.
    ...(kernels === null
      ? []
      : most('wall ms', row.wall.median, Math.max(1.15 * kernels, kernels + (bar.overheadMilliseconds ?? 0.2)))),
  ];
}
