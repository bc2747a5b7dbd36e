/** Lines with their spread over seeds, as an SVG: panels side by side, an attention a colour. */
import type { GroupMark, Mark, Spec } from 'vega';
import { COLOURS } from '../common/colours.js';
import { frame, heading, legend, rounded, svgOf } from '../common/plot.js';
import { ATTENTIONS } from './experiment.js';
import { LABELS, type Panel } from './summary.js';

const PANEL = { width: 400, height: 260 };
const GAP = 84;
/** From the top of the picture to the panels: the legend, and a heading. */
const TOP = 48;

/** Whether the values are positive and spread over decades, so that an even scale would hide the small ones. */
function isWide(values: readonly number[]): boolean {
  return values.every((value) => value > 0) && Math.max(...values) > 20 * Math.min(...values);
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
    ...frame(index * (PANEL.width + GAP), TOP, PANEL),
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
      heading(title, { y: -10 }),
    ],
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
    marks: [legend('attention', 90), ...panels.map(panel)],
  };
}

export const plot = (panels: readonly Panel[]): Promise<string> => svgOf(specOf(panels));
