import { type BenchCase, correlationName } from './cases.js';
import { keptGradients } from './kept_gradients.js';
import { outputRow, queryGradients, type RowAt, sampledKeys, sampledRows } from './references.js';

/** Error of one array of a result, on the rows that were checked. */
export interface ArrayError {
  readonly name: string;
  /** Of all checked rows together, in L2. */
  readonly relative: number;
  /** Of the worst row, relative to its own norm or to a tenth of the usual one, whichever is larger. */
  readonly worstRow: number;
  readonly rows: number;
}

/** An expected row of an array `[heads, rows, width]`. */
interface ExpectedRow {
  readonly index: number;
  readonly values: ArrayLike<number>;
}

type Expected = Readonly<Record<string, readonly ExpectedRow[]>>;

/** Multiply-adds that the references of a case may take: seconds. */
const BUDGET = 1e9;
const MOST_ROWS = 40;
const FEWEST_ROWS = 5;

/** Cases that differ only in what the reference does not know of share its rows. */
const cache = new Map<string, Expected>();

const cacheName = ({ operator, direction, heads, queries, keys, dim, causal, ridge, correlation }: BenchCase): string =>
  [operator, direction, heads, queries, keys, dim, causal, ridge, ...correlationName(correlation)].join(' ');

function rowsToCheck({ operator, heads, queries, keys, dim }: BenchCase): RowAt[] {
  const isSolving = operator === 'localLinearAttention' || operator === 'mesaAttention';
  const count = Math.floor(BUDGET / (keys * dim * (isSolving ? dim : 16)));
  return sampledRows(heads, queries, Math.max(FEWEST_ROWS, Math.min(MOST_ROWS, count)));
}

function expectedGradients(one: BenchCase): Expected {
  const byName: Record<string, ExpectedRow[]> = {};
  for (const at of rowsToCheck(one)) {
    for (const [name, values] of Object.entries(queryGradients(one, at))) {
      (byName[name] ??= []).push({ index: at.head * one.queries + at.row, values });
    }
  }
  const kept = keptGradients(one);
  if (kept === undefined) return byName;
  const keys = sampledKeys(one.keys);
  for (const name of ['dkey', 'dvalue'] as const) {
    byName[name] = keys.map((index, i) => ({ index, values: kept[name].subarray(i * one.dim, (i + 1) * one.dim) }));
  }
  return byName;
}

function expected(one: BenchCase): Expected {
  const name = cacheName(one);
  let rows = cache.get(name);
  if (rows === undefined) {
    rows =
      one.direction === 'gradient'
        ? expectedGradients(one)
        : {
            out: rowsToCheck(one).map((at) => ({
              index: at.head * one.queries + at.row,
              values: outputRow(one, at),
            })),
          };
    cache.set(name, rows);
  }
  return rows;
}

function errorOf(name: string, actual: Float32Array, rows: readonly ExpectedRow[]): ArrayError {
  const squares = rows.map(({ index, values }) => {
    let difference = 0;
    let norm = 0;
    for (let d = 0; d < values.length; d++) {
      difference += (actual[index * values.length + d] - values[d]) ** 2;
      norm += values[d] ** 2;
    }
    return { difference, norm };
  });
  const total = squares.reduce((sum, { norm }) => sum + norm, 0);
  const least = total / rows.length / 100;
  return {
    name,
    relative: Math.sqrt(squares.reduce((sum, { difference }) => sum + difference, 0) / total),
    // NaN where any of them is.
    worstRow: Math.max(...squares.map(({ difference, norm }) => Math.sqrt(difference / Math.max(norm, least)))),
    rows: rows.length,
  };
}

/** Errors of a result's arrays by name, against float64 on sampled rows; of those that a reference tells. */
export function errorsOf(one: BenchCase, arrays: Readonly<Record<string, Float32Array>>): ArrayError[] {
  const rows = expected(one);
  return Object.entries(arrays).flatMap(([name, array]) => (name in rows ? [errorOf(name, array, rows[name])] : []));
}

/** How many numbers of an array are NaN or infinite. */
export const countBad = (array: Float32Array): number =>
  array.reduce((count, x) => (Number.isFinite(x) ? count : count + 1), 0);
