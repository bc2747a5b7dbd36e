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

/** How a row stands against its own bars; wall times depend on the machine's processor. */
const barsOf = ({ verdicts }: JudgedRow): readonly Verdict[] => verdicts.filter(({ what }) => what !== 'wall ms');

/** How many bars of a table are met, and which rows miss one. */
export function summaryOf(rows: readonly JudgedRow[]): string {
  const all = rows.flatMap((row) => barsOf(row).map((verdict) => ({ name: row.name, ...verdict })));
  const missed = all.filter(({ isMet }) => isMet !== true);
  const texts = missed.map(({ name, what, value, bar }) => `\n  ${name}: ${what} ${figure(value)}, bar ${figure(bar)}`);
  return `bars: ${all.length - missed.length} met, ${missed.length} missed${texts.join('')}`;
}

/** A row in two lines: times, errors and how it stands against its bars; the times of its passes. */
export function lineOf(row: JudgedRow): string {
  const { name, kernel, wall, relations, errors, iterations, problems, passes } = row;
  const times = `${figure(kernel?.median)} ms (wall ${figure(wall.median)})`;
  const ratios = `x float32 ${figure(relations.timesHigh)}, x forward ${figure(relations.timesForward)}`;
  const wrong = errors.map((one) => `${one.name} ${one.relative.toExponential(1)}/${one.worstRow.toExponential(1)}`);
  const steps = iterations
    ? `; iterations ${figure(iterations.mean)} / ${figure(iterations.tileMean)} / ${iterations.most}`
    : '';
  const bars = barsOf(row).map(
    ({ what, value, bar, isMet }) =>
      `; ${isMet === true ? 'met' : 'MISSED'} ${what} ${figure(value)} of ${figure(bar)}`,
  );
  const problem = problems.length > 0 ? `; WRONG ${problems[0].slice(0, 300)}` : '';
  const ofPasses = Object.entries(passes).map(([pass, ms]) => `${pass} ${figure(ms)}`);
  return `${name}: ${times}, ${ratios}; ${wrong.join(', ')}${steps}${bars.join('')}${problem}\n    ${ofPasses.join(', ')}`;
}

/** The rows in `precision: 'fast'`, each beside the same in float32, as a table of Markdown. */
export function markdownOf(rows: readonly JudgedRow[]): string {
  const line = (row: JudgedRow): string => {
    const { name, kernel, relations, errors, problems } = row;
    const time = kernel?.median ?? null;
    const { timesHigh, timesForward } = relations;
    const high = time !== null && timesHigh !== null ? time / timesHigh : null;
    const one = (error: number): string => error.toExponential(1);
    const wrong = errors.map((e) => `${errors.length > 1 ? `${e.name} ` : ''}${one(e.relative)} (${one(e.worstRow)})`);
    const bars = barsOf(row).map(
      ({ what, bar, isMet }) => `${what} ${figure(bar)}: ${isMet === true ? 'met' : '**missed**'}`,
    );
    const cells = [
      name.replace(/ fast\b/, ''),
      ...[high, time, timesHigh, timesForward].map(figure),
      problems.length > 0 ? '**wrong**' : wrong.join(', '),
      bars.join(', '),
    ];
    return `| ${cells.join(' | ')} |`;
  };
  return [
    '| kernel | float32, ms | fast, ms | ratio | x fast forward | error of fast (worst row) | bars |',
    '|---|---|---|---|---|---|---|',
    ...rows.filter((row) => row.case.precision === 'fast').map(line),
    '',
  ].join('\n');
}
