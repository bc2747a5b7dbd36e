/** Lines with their spread over seeds, as an SVG: panels side by side, an attention a colour. */
import type { GroupMark, Mark, Spec } from 'vega';
import { parse, View } from 'vega';
import { type Attention, ATTENTIONS } from './experiment.js';
import { LABELS, type Panel } from './summary.js';

const PANEL = { width: 400, height: 260 };
const GAP = 84;
/** From the top of the picture to the panels: the legend, and a heading. */
const TOP = 48;
const FONT = 'sans-serif';

const COLOURS: Readonly<Record<Attention, string>> = {
  localLinear: '#c0262d',
  softmax: '#3b6fb6',
  linear: '#6b9e3f',
  mesa: '#e08a1e',
  parallax: '#7d4fa8',
};

/** Six digits are more than a line shows. */
const rounded = (value: number): number => Number(value.toPrecision(6));

/** Whether the values are positive and spread over decades, so that an even scale would hide the small ones. */
function isWide(values: readonly number[]): boolean {
  return values.every((value) => value > 0) && Math.max(...values) > 20 * Math.min(...values);
}

function text(content: string, y: number, fontWeight: 'bold' | 'normal'): Mark {
  return {
    type: 'text',
    encode: {
      enter: {
        y: { value: y },
        text: { value: content },
        fill: { value: 'black' },
        font: { value: FONT },
        fontSize: { value: 13 },
        fontWeight: { value: fontWeight },
      },
    },
  };
}

function panel({ title, x, y, lines }: Panel, index: number): GroupMark {
  const isLog = isWide(lines.flatMap(({ points }) => points.map(({ mean }) => mean)));
  const data = `panel${index}`;
  const at = { x: { scale: 'x', field: 'x' } };
  const colour = { scale: 'colour', field: 'attention' };
  const band: Mark = {
    type: 'area',
    from: { data: 'line' },
    encode: {
      enter: {
        ...at,
        y: { scale: 'y', field: 'low' },
        y2: { scale: 'y', field: 'high' },
        fill: colour,
        fillOpacity: { value: 0.15 },
      },
    },
  };
  const line: Mark = {
    type: 'line',
    from: { data: 'line' },
    encode: { enter: { ...at, y: { scale: 'y', field: 'mean' }, stroke: colour, strokeWidth: { value: 1.6 } } },
  };
  return {
    type: 'group',
    encode: {
      enter: {
        x: { value: index * (PANEL.width + GAP) },
        y: { value: TOP },
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
      { name: 'x', type: 'linear', domain: { data, field: 'x' }, range: [0, PANEL.width], zero: false, nice: false },
      {
        name: 'y',
        type: isLog ? 'log' : 'linear',
        domain: { data, fields: ['low', 'high'] },
        range: [PANEL.height, 0],
        nice: true,
        ...(isLog ? {} : { zero: false }),
      },
    ],
    axes: [
      { orient: 'bottom', scale: 'x', title: x, tickCount: 6 },
      { orient: 'left', scale: 'y', title: y, tickCount: 6, grid: true, gridOpacity: 0.4, format: '~g' },
    ],
    marks: [
      {
        type: 'group',
        from: { facet: { name: 'line', data, groupby: 'attention' } },
        marks: [band, line],
      },
      text(title, -10, 'bold'),
    ],
  };
}

function legend(): Mark {
  return {
    type: 'text',
    from: { data: 'legend' },
    encode: {
      enter: {
        x: { signal: 'datum.index * 90' },
        y: { value: 0 },
        text: { field: 'label' },
        fill: { scale: 'colour', field: 'attention' },
        font: { value: FONT },
        fontWeight: { value: 'bold' },
        fontSize: { value: 13 },
      },
    },
  };
}

/** Of each panel the points with a band of one deviation, cut where a logarithm needs it. */
function pointsOf({ lines }: Panel) {
  return lines.flatMap(({ attention, points }) =>
    points.map(({ x, mean, deviation }) => ({
      attention,
      x,
      mean: rounded(mean),
      low: rounded(mean > 0 ? Math.max(mean - deviation, mean / 10) : mean - deviation),
      high: rounded(mean + deviation),
    })),
  );
}

function specOf(panels: readonly Panel[]): Spec {
  const drawn = ATTENTIONS.filter((name) =>
    panels.some(({ lines }) => lines.some(({ attention }) => attention === name)),
  );
  return {
    background: 'white',
    padding: 12,
    width: panels.length * (PANEL.width + GAP) - GAP,
    height: TOP + PANEL.height,
    data: [
      ...panels.map((one, index) => ({ name: `panel${index}`, values: pointsOf(one) })),
      { name: 'legend', values: drawn.map((attention, index) => ({ attention, label: LABELS[attention], index })) },
    ],
    scales: [
      { name: 'colour', type: 'ordinal', domain: [...ATTENTIONS], range: ATTENTIONS.map((name) => COLOURS[name]) },
    ],
    marks: [legend(), ...panels.map(panel)],
  };
}

export async function plot(panels: readonly Panel[]): Promise<string> {
  const view = new View(parse(specOf(panels)), { renderer: 'none' });
  try {
    return `${await view.toSVG()}\n`;
  } finally {
    view.finalize();
  }
}
