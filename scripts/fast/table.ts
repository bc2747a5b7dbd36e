import { type Relations, relationsOf, type Verdict, verdictsOf } from '../bench/relations.js';
import type { Row } from '../bench/run_case.js';

/** A row of the table beside the others, and how it stands against its bars. */
export interface JudgedRow extends Row {
  readonly relations: Relations;
  readonly verdicts: readonly Verdict[];
}

export const figure = (x: number | null | undefined): string =>
  x === null || x === undefined ? '-' : x.toPrecision(3);

export function judged(row: Row, others: readonly Row[]): JudgedRow {
  const relations = relationsOf(row, others, null);
  return { ...row, relations, verdicts: verdictsOf(row, relations) };
}

/** A row in two lines: times, errors and what misses a bar; the times of its passes. */
export function lineOf({
  name,
  kernel,
  wall,
  relations,
  verdicts,
  errors,
  iterations,
  problems,
  passes,
}: JudgedRow): string {
  const times = `${figure(kernel?.median)} ms (wall ${figure(wall.median)})`;
  const ratios = `x float32 ${figure(relations.timesHigh)}, x forward ${figure(relations.timesForward)}`;
  const wrong = errors.map((one) => `${one.name} ${one.relative.toExponential(1)}/${one.worstRow.toExponential(1)}`);
  const steps = iterations
    ? `; iterations ${figure(iterations.mean)} / ${figure(iterations.tileMean)} / ${iterations.most}`
    : '';
  const missed = verdicts
    .filter(({ isMet, what }) => isMet !== true && what !== 'wall ms')
    .map(({ what, value, bar }) => `; MISSES ${what}: ${figure(value)}, bar ${figure(bar)}`);
  const problem = problems.length > 0 ? `; WRONG ${problems[0].slice(0, 300)}` : '';
  const ofPasses = Object.entries(passes).map(([pass, ms]) => `${pass} ${figure(ms)}`);
  return `${name}: ${times}, ${ratios}; ${wrong.join(', ')}${steps}${missed.join('')}${problem}\n    ${ofPasses.join(', ')}`;
}
