/** Forecast against truth as an SVG: one panel per series, the last steps of the reported part. */
import type { Data, GroupMark, LineMark, Spec } from 'vega';
import { COLOURS as ATTENTION_COLOURS } from '../common/colours.js';
import { frame, heading, legend, rounded, svgOf } from '../common/plot.js';
import type { Report } from './job.js';

/** Steps shown per panel: enough for some periods, few enough to tell the lines apart. */
const STEPS = 120;
const PANEL = { width: 460, height: 170 };
/** Room for an axis with its labels, and above a panel for its heading. */
const GAP = { x: 76, y: 84 };
/** From the top of the picture to the first panel. */
const TOP = 56;
const COLUMNS = 2;

export const TRUTH = 'truth';
/** Persistence is the truth moved by one step and linear attention close to a mean: both would only hide the others. */
export const COLOURS: Readonly<Record<string, string>> = {
  [TRUTH]: '#b8b8b8',
  mesa: ATTENTION_COLOURS.mesa,
  softmax: ATTENTION_COLOURS.softmax,
  localLinear: ATTENTION_COLOURS.localLinear,
};
export const LABELS: Readonly<Record<string, string>> = {
  [TRUTH]: 'truth',
  mesa: 'mesa',
  softmax: 'softmax',
  localLinear: 'LLA',
};
export const DRAWN = Object.keys(COLOURS);

type Point = { readonly step: number; readonly value: number; readonly line: string };

/** Plain digits where a label has room for them, else an exponent. */
function axisFormat(values: readonly number[]): string {
  const largest = Math.max(...values.map(Math.abs));
  return largest >= 1e-2 && largest < 1e6 ? '~f' : '~g';
}

/** The last steps of the truth and of the forecasts that are drawn. */
export function points({ series, start, results }: Report): Point[] {
  const from = Math.max(start, series.values.length - STEPS);
  const line = (name: string, values: readonly number[], offset: number): Point[] =>
    values.slice(from - offset).map((value, index) => ({ step: from + index, value: rounded(value), line: name }));
  return [
    ...line(TRUTH, series.values, 0),
    ...results.filter(({ name }) => DRAWN.includes(name)).flatMap(({ name, forecast }) => line(name, forecast, start)),
  ];
}

function subtitle({ results }: Report): string {
  const errors = results
    .filter(({ name, best }) => best || DRAWN.includes(name))
    .map(({ name, error, best }) => `${LABELS[name] ?? name} ${error.toPrecision(2)}${best ? ' (best)' : ''}`);
  return `MSE: ${errors.join(', ')}`;
}

function panel(report: Report, index: number): GroupMark {
  const data = `series${index}`;
  const line: LineMark = {
    type: 'line',
    from: { data: 'line' },
    encode: {
      enter: {
        x: { scale: 'x', field: 'step' },
        y: { scale: 'y', field: 'value' },
        stroke: { scale: 'colour', field: 'line' },
        strokeWidth: { signal: `datum.line === '${TRUTH}' ? 4 : 1.4` },
      },
    },
  };
  return {
    type: 'group',
    ...frame(
      (index % COLUMNS) * (PANEL.width + GAP.x),
      Math.floor(index / COLUMNS) * (PANEL.height + GAP.y) + TOP,
      PANEL,
    ),
    scales: [
      { name: 'x', type: 'linear', domain: { data, field: 'step' }, range: [0, PANEL.width], zero: false, nice: false },
      {
        name: 'y',
        type: 'linear',
        domain: { data, field: 'value' },
        range: [PANEL.height, 0],
        zero: false,
        nice: true,
      },
    ],
    axes: [
      { orient: 'bottom', scale: 'x', title: 'step', tickCount: 6, format: 'd' },
      {
        orient: 'left',
        scale: 'y',
        title: report.series.unit,
        tickCount: 5,
        format: axisFormat(report.series.values),
        grid: true,
        gridOpacity: 0.4,
      },
    ],
    marks: [
      { type: 'group', from: { facet: { name: 'line', data, groupby: 'line' } }, marks: [line] },
      heading(report.series.title, { y: -24, fontSize: 13, fontWeight: 'bold' }),
      heading(subtitle(report), { y: -8, fontSize: 11, fontWeight: 'normal' }),
    ],
  };
}

function specOf(reports: readonly Report[]): Spec {
  const columns = Math.min(COLUMNS, reports.length);
  const rows = Math.ceil(reports.length / COLUMNS);
  const data: Data[] = reports.map((report, index) => ({ name: `series${index}`, values: points(report) }));
  data.push({ name: 'legend', values: DRAWN.map((line, index) => ({ line, label: LABELS[line], index })) });
  return {
    padding: 12,
    width: columns * (PANEL.width + GAP.x) - GAP.x,
    height: TOP + rows * (PANEL.height + GAP.y) - GAP.y,
    data,
    scales: [{ name: 'colour', type: 'ordinal', domain: DRAWN, range: Object.values(COLOURS) }],
    marks: [legend('line', 80), ...reports.map(panel)],
  };
}

export const plot = (reports: readonly Report[]): Promise<string> => svgOf(specOf(reports));
