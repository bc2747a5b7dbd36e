/** What a report says in words and numbers: a row for each operator, and who won where. */
import type { Report, Result } from './job.js';

/** The operator that the package is about: every table says how it did. */
const OURS = 'localLinear';

/** Three digits, in the notation that is short. */
const number = (value: number): string => {
  if (!Number.isFinite(value)) return String(value);
  const plain = value === 0 || (value >= 1e-4 && value < 1e4);
  return plain ? String(Number(value.toPrecision(3))) : value.toExponential(2);
};

const valueOf = (report: Report, name: string): Result | undefined =>
  report.results.find((result) => result.name === name);

/** Errors closer than this are called level: another year of data could swap them. */
const LEVEL = 1.02;

export type Score = {
  readonly label: string;
  readonly error: string;
  /** Relative to the error of persistence. */
  readonly share: string;
  readonly scale: string;
  readonly ridge: string;
  /** Whether it is the best, or as good. */
  readonly mark: string;
};

export const HEAD: Readonly<Record<keyof Score, string>> = {
  label: 'one step ahead by',
  error: 'MSE',
  share: 'x persistence',
  scale: 'scale',
  ridge: 'ridge',
  mark: '',
};

export function scoresOf(report: Report): Score[] {
  const yardstick = valueOf(report, 'persistence');
  const [first] = ranked(report);
  return report.results.map((result) => {
    const { label, error, settings, best } = result;
    return {
      label,
      error: number(error),
      share: yardstick === undefined || yardstick.error === 0 ? '-' : number(error / yardstick.error),
      scale: setting(settings.scale),
      ridge: setting(settings.ridge),
      mark: best ? '<- best' : level(result, first) ? 'level with it' : '',
    };
  });
}

/** The heading of a report's table. */
export function headingOf({ series, lags, start }: Report): string {
  const count = series.values.length;
  return `${series.title}: ${count} values, ${lags} lags, chosen on the first ${start}, reported on the last ${count - start}`;
}

const setting = (value: number | undefined): string => (value === undefined ? '-' : String(value));
const ranked = ({ results }: Report): Result[] => [...results].sort((a, b) => a.error - b.error);
const level = (a: Result, b: Result): boolean => a.error <= LEVEL * b.error && b.error <= LEVEL * a.error;
/** Without the explanation that the table gives. */
const short = ({ label }: Result): string => label.replace(/ \(.*/, '');
const times = (larger: Result, smaller: Result): string => number(larger.error / smaller.error);

/** One sentence on how LLA did in this series. */
export function verdict(report: Report): string {
  const ours = valueOf(report, OURS);
  const [first, second] = ranked(report);
  if (ours === undefined) return `the smallest error is that of ${first.label}`;
  if (!ours.best) {
    return level(ours, first)
      ? `LLA does not win here: ${first.label} has the smallest error, by less than ${percent}.`
      : `LLA does not win here: its error is ${times(ours, first)} times that of ${first.label}.`;
  }
  return level(ours, second)
    ? `LLA has the smallest error, but only by less than ${percent}: ${second.label} does as well.`
    : `LLA wins: the next, ${second.label}, has ${times(second, ours)} times its error.`;
}

const percent = `${Math.round(100 * (LEVEL - 1))} %`;

/** Which operator wins which series, and where several do equally well. */
export function summary(reports: readonly Report[]): string {
  const wins = new Map<string, string[]>();
  const ties: string[] = [];
  for (const report of reports) {
    const { title } = report.series;
    const [first, ...others] = ranked(report);
    const alike = others.filter((other) => level(other, first));
    if (alike.length > 0) ties.push(`${title} (${[first, ...alike].map(short).join(', ')})`);
    else wins.set(first.label, [...(wins.get(first.label) ?? []), title]);
  }
  const lines = [...wins]
    .sort((a, b) => b[1].length - a[1].length)
    .map(([label, titles]) => [`wins ${titles.length} of ${reports.length}: ${label}`, ...titles]);
  if (ties.length > 0) lines.push([`no winner, within ${percent}, on ${ties.length} of ${reports.length}:`, ...ties]);
  return lines.map((part) => part.join('\n  ')).join('\n');
}
