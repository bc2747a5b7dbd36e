/** Means over the seeds of a comparison, as rows of a table and as lines of a plot. */
import { type Attention, ATTENTIONS, type Experiment, isTrained, type Metric } from './experiment.js';
import type { RunRecord } from './record.js';

export interface Spread {
  readonly mean: number;
  /** Standard deviation of the seeds (n - 1); 0 for one. */
  readonly deviation: number;
}

export interface Point extends Spread {
  readonly x: number;
}

export interface Line {
  readonly attention: Attention;
  readonly points: readonly Point[];
}

export interface Panel {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly lines: readonly Line[];
}

/** What figures and tables call them. */
export const LABELS: Readonly<Record<Attention, string>> = {
  localLinear: 'LLA',
  softmax: 'softmax',
  linear: 'linear',
  mesa: 'mesa',
  parallax: 'Parallax',
};

function spreadOf(values: readonly number[]): Spread {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0 };
}

/** The runs of each attention that has some, in the order of `ATTENTIONS`. */
function byAttention(records: readonly RunRecord[]): [Attention, RunRecord[]][] {
  return ATTENTIONS.map((attention): [Attention, RunRecord[]] => [
    attention,
    records.filter(({ key }) => key.attention === attention),
  ]).filter(([, runs]) => runs.length > 0);
}

/** Where every run has a value, their spread; runs that ended early leave the later places to the others. */
function lineOf(attention: Attention, curves: readonly (readonly (readonly [number, number])[])[]): Line {
  const places = [...new Set(curves.flatMap((curve) => curve.map(([x]) => x)))].sort((a, b) => a - b);
  const tables = curves.map((curve) => new Map(curve));
  const points = places.map((x) => {
    const values = tables.map((table) => table.get(x)).filter((value) => value !== undefined);
    return { x, ...spreadOf(values) };
  });
  return { attention, points: points.filter(({ mean }) => Number.isFinite(mean)) };
}

/** A panel for the loss and one for the first metric; of an experiment without training, its own. */
export function panelsOf(experiment: Experiment, records: readonly RunRecord[]): Panel[] {
  const groups = byAttention(records);
  if (!isTrained(experiment)) {
    return Object.entries(experiment.panels).map(([name, titles]) => ({
      ...titles,
      lines: groups.map(([attention, runs]) => {
        const curves = runs.flatMap(({ curves = {} }) => (Object.hasOwn(curves, name) ? [curves[name]] : []));
        return lineOf(
          attention,
          curves.map(({ at, values }) => at.map((x, i): [number, number] => [x, values[i]])),
        );
      }),
    }));
  }
  const [{ name, label }] = experiment.metrics;
  return [
    {
      title: 'training loss',
      x: 'step',
      y: 'loss',
      lines: groups.map(([attention, runs]) =>
        lineOf(
          attention,
          runs.map(({ losses }) => losses),
        ),
      ),
    },
    {
      title: label,
      x: 'step',
      y: label,
      lines: groups.map(([attention, runs]) =>
        lineOf(
          attention,
          runs.map(({ evaluations }) =>
            evaluations.map(({ step, metrics }): [number, number] => [step, metrics[name] ?? NaN]),
          ),
        ),
      ),
    },
  ];
}

/** Three digits, in the notation that is short. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const isPlain = value === 0 || (Math.abs(value) >= 1e-4 && Math.abs(value) < 1e5);
  return isPlain ? String(Number(value.toPrecision(3))) : value.toExponential(2);
}

/** `mean ± deviation`, to the digits that the deviation leaves. */
function cell(values: readonly number[], isBest: boolean): string {
  if (values.length === 0) return '-';
  const { mean, deviation } = spreadOf(values);
  const text = values.length > 1 ? `${digits(mean)} ± ${Number(deviation.toPrecision(2))}` : digits(mean);
  return isBest ? `**${text}**` : text;
}

/** A table in Markdown: an attention a row, its metrics, the best of each in bold. */
export function tableOf(experiment: Experiment, records: readonly RunRecord[]): string {
  const groups = byAttention(records);
  const { metrics } = experiment;
  const values = (runs: readonly RunRecord[], { name }: Metric): number[] =>
    runs.map((record) => record.metrics[name] ?? NaN).filter(Number.isFinite);
  const bests = metrics.map((metric) => {
    const means = groups.map(([, runs]) => spreadOf(values(runs, metric)).mean).filter(Number.isFinite);
    // What is the same for all, as that of a baseline, is nobody's best.
    if (groups.length > 1 && new Set(means).size === 1) return NaN;
    return metric.better === 'higher' ? Math.max(...means) : Math.min(...means);
  });
  const trained = isTrained(experiment);
  const head = [
    'attention',
    ...metrics.map(({ label }) => label),
    ...(trained ? ['steps', 's per run', 'weights'] : []),
  ];
  const rows = groups.map(([attention, runs]) => [
    LABELS[attention],
    ...metrics.map((metric, i) => cell(values(runs, metric), spreadOf(values(runs, metric)).mean === bests[i])),
    ...(trained
      ? [steps(runs), digits(spreadOf(runs.map(({ made }) => made.seconds)).mean), String(runs[0].weights)]
      : []),
  ]);
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n');
}

function steps(runs: readonly RunRecord[]): string {
  const all = [...new Set(runs.map(({ step }) => step))].sort((a, b) => a - b);
  const diverged = runs.filter(({ ending }) => ending === 'diverged').length;
  const text = all.length > 1 ? `${all[0]} to ${all[all.length - 1]}` : String(all[0]);
  return diverged > 0 ? `${text}, ${diverged} diverged` : text;
}
