import type { BenchDevice } from './device.js';
import { relationsOf, type Verdict, verdictsOf } from './relations.js';
import type { Row } from './run_case.js';
import { fixed, type ReportSettings, spread, TableReport } from './table_report.js';
import type { Yardstick } from './yardstick.js';

/** The largest error of a row's arrays, by name where there are several. */
function errorText({ errors }: Row): string {
  if (errors.length === 0) return 'not checked';
  const worst = errors.reduce((a, b) => (a.relative >= b.relative ? a : b));
  const row = Math.max(...errors.map(({ worstRow }) => worstRow));
  const name = errors.length > 1 ? `${worst.name} ` : '';
  return `${name}${worst.relative.toExponential(1)} (${row.toExponential(1)})`;
}

function iterationsText({ iterations }: Row): string {
  if (iterations === null) return '';
  const { mean, tileMean, most, direct } = iterations;
  const parts = [mean.toFixed(1), ...(tileMean === null ? [] : [tileMean.toFixed(1)]), String(most)];
  return `${parts.join(' / ')}${direct ? `; ${direct} direct` : ''}`;
}

function verdictText(verdicts: readonly Verdict[]): string {
  if (verdicts.length === 0) return '';
  const missed = verdicts.filter(({ isMet }) => isMet !== true);
  if (missed.length === 0) return 'met';
  return missed
    .map(({ what, value, bar }) =>
      value === null ? `${what} unknown` : `${what} ${value.toPrecision(3)}, bar ${bar.toPrecision(3)}`,
    )
    .join('; ');
}

/** What is wrong, in a few words: one error of the device brings others. */
function problemText({ problems, composed }: Row): string {
  const shorten = (what: string, all: readonly string[]): string[] => {
    const [first] = all.map((text) => text.split('\n')[0].slice(0, 200));
    return all.length === 0 ? [] : [`${what}: ${first}${all.length > 1 ? ` (and ${all.length - 1} more)` : ''}`];
  };
  return [...shorten('WRONG', problems), ...shorten('composed is wrong', composed?.problems ?? [])].join('; ');
}

const HEAD = [
  'case',
  'iterations: row mean / tile mean / most',
  'error (worst row)',
  'kernel ms',
  'wall ms',
  'TFLOP/s',
  'x matMul',
  'x forward',
  'composed ms',
  'its error',
  'speed-up',
  'first call ms',
  'extra MiB',
  'x float32',
  'x default limits',
  'growth: n, time, memory',
  'bars',
];

/** Results of a suite. */
export class Report extends TableReport<Row> {
  private readonly limitsByName = new Map<string, BenchDevice['limits']>();

  constructor(
    device: BenchDevice,
    private readonly yardstick: Yardstick,
    private readonly suite: string,
    settings: ReportSettings,
  ) {
    super(HEAD, device, settings);
  }

  override add(row: Row): void {
    this.limitsByName.set(row.case.limits, this.device.limits);
    super.add(row);
  }

  protected override related(row: Row) {
    const relations = relationsOf(row, this.rows, this.yardstick.teraflops);
    return { relations, verdicts: verdictsOf(row, relations) };
  }

  protected override cells(row: Row): string[] {
    const { relations, verdicts } = this.related(row);
    const { growth } = relations;
    const extra = row.firstCall?.extraBytes;
    return [
      row.name,
      iterationsText(row),
      errorText(row),
      spread(row.kernel),
      spread(row.wall),
      fixed(row.teraflops),
      fixed(relations.timesMatMul),
      fixed(relations.timesForward),
      row.composed ? fixed((row.composed.kernel ?? row.composed.wall).median) : '',
      row.composed ? row.composed.error.relative.toExponential(1) : '',
      fixed(row.composed?.speedUp),
      fixed(row.firstCall?.milliseconds),
      extra === null || extra === undefined ? '' : fixed(extra / 2 ** 20),
      fixed(relations.timesHigh),
      fixed(relations.timesDevice),
      growth ? [growth.length, growth.time, growth.memory].map((x) => fixed(x)).join(', ') : '',
      problemText(row) || verdictText(verdicts),
    ];
  }

  protected override remarks(): string[] {
    const { size, time, teraflops, error } = this.yardstick;
    return [
      `tfjs matMul ${size}: ${spread(time)} ms, ${teraflops.toPrecision(3)} TFLOP/s, error ${error.toExponential(1)}`,
    ];
  }

  protected override details(): object {
    return { suite: this.suite, limits: Object.fromEntries(this.limitsByName), matMul: this.yardstick };
  }
}
