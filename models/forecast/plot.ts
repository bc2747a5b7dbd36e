/** Forecast against truth as an SVG: one panel per series, the last steps of the reported part. */
import type { Data, GroupMark, LineMark, Spec, TextMark } from 'vega';
import { parse, View } from 'vega';
import type { Report } from './job.js';

/** Steps shown per panel: enough for some periods, few enough to tell the lines apart. */
const STEPS = 120;
const PANEL = { width: 460, height: 170 };
/** Room for an axis with its labels, and above a panel for its heading. */
const GAP = { x: 76, y: 84 };
/** From the top of the picture to the first panel. */
const TOP = 56;
const COLUMNS = 2;
const FONT = 'sans-serif';

const TRUTH = 'truth';
/** Persistence is the truth moved by one step and linear attention close to a mean: both would only hide the others. */
const COLOURS: Readonly<Record<string, string>> = {
  [TRUTH]: '#b8b8b8',
  mesa: '#e08a1e',
  softmax: '#3b6fb6',
  localLinear: '#c0262d',
};
const LABELS: Readonly<Record<string, string>> = {
  [TRUTH]: 'truth',
  mesa: 'mesa',
  softmax: 'softmax',
  localLinear: 'LLA',
};
const DRAWN = Object.keys(COLOURS);

type Point = { readonly step: number; readonly value: number; readonly line: string };

/** Six digits are more than a line shows; fewer bytes, and the same ones whichever backend computed them. */
const rounded = (value: number): number => Number(value.toPrecision(6));

/** Plain digits where a label has room for them, else an exponent. */
function axisFormat(values: readonly number[]): string {
  const largest = Math.max(...values.map(Math.abs));
  return largest >= 1e-2 && largest < 1e6 ? '~f' : '~g';
}

function points({ series, start, results }: Report): Point[] {
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

type HeadingStyle = { readonly y: number; readonly fontSize: number; readonly fontWeight: 'bold' | 'normal' };

/** Not Vega's own title: that one keeps clear of the axes' labels and so stands at another height in each panel. */
function heading(text: string, { y, fontSize, fontWeight }: HeadingStyle): TextMark {
  return {
    type: 'text',
    encode: {
      enter: {
        y: { value: y },
        text: { value: text },
        fill: { value: 'black' },
        font: { value: FONT },
        fontSize: { value: fontSize },
        fontWeight: { value: fontWeight },
      },
    },
  };
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
    encode: {
      enter: {
        x: { value: (index % COLUMNS) * (PANEL.width + GAP.x) },
        y: { value: Math.floor(index / COLUMNS) * (PANEL.height + GAP.y) + TOP },
        width: { value: PANEL.width },
        height: { value: PANEL.height },
      },
    },
    // Axes and their grids measure themselves by these two.
    signals: [
      { name: 'width', update: `${PANEL.width}` },
      { name: 'height', update: `${PANEL.height}` },
    ],
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

function legend(): TextMark {
  const gap = 80;
  return {
    type: 'text',
    from: { data: 'legend' },
    encode: {
      enter: {
        x: { signal: `datum.index * ${gap}` },
        y: { value: 0 },
        text: { field: 'label' },
        fill: { scale: 'colour', field: 'line' },
        font: { value: FONT },
        fontWeight: { value: 'bold' },
        fontSize: { value: 13 },
      },
    },
  };
}

function specOf(reports: readonly Report[]): Spec {
  const columns = Math.min(COLUMNS, reports.length);
  const rows = Math.ceil(reports.length / COLUMNS);
  const data: Data[] = reports.map((report, index) => ({ name: `series${index}`, values: points(report) }));
  data.push({ name: 'legend', values: DRAWN.map((line, index) => ({ line, label: LABELS[line], index })) });
  return {
    background: 'white',
    padding: 12,
    width: columns * (PANEL.width + GAP.x) - GAP.x,
    height: TOP + rows * (PANEL.height + GAP.y) - GAP.y,
    data,
    scales: [{ name: 'colour', type: 'ordinal', domain: DRAWN, range: Object.values(COLOURS) }],
    marks: [legend(), ...reports.map(panel)],
  };
}

export async function plot(reports: readonly Report[]): Promise<string> {
  const view = new View(parse(specOf(reports)), { renderer: 'none' });
  try {
    return `${await view.toSVG()}\n`;
  } finally {
    view.finalize();
  }
}
