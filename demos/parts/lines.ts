/** Lines over one pair of axes: the picture that most pages need. */
import type { Mark, Spec } from 'vega';
import { frame } from '../../models/common/plot.js';
import type { Look } from './plot.js';

export interface Line {
  readonly name: string;
  readonly colour: string;
  readonly width?: number;
  readonly dash?: readonly number[];
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Axes {
  readonly x: string;
  readonly y: string;
  readonly height: number;
  /** Default: what the points need. */
  readonly xDomain?: readonly [number, number];
  readonly yDomain?: readonly [number, number];
  readonly isLog?: boolean;
}

/** Room for the labels of the axes. */
export const MARGIN = { left: 52, right: 10, top: 8, bottom: 42 };

/** The scales are named `x` and `y`, in pixels inside the margins. */
export function linesSpec(lines: readonly Line[], axes: Axes, { width }: Look, more: readonly Mark[] = []): Spec {
  const size = { width: width - MARGIN.left - MARGIN.right, height: axes.height };
  const values = lines.flatMap(({ name, points }) => points.map(([x, y]) => ({ line: name, x, y })));
  const domain = (field: 'x' | 'y') => {
    const given = axes[`${field}Domain`];
    return given === undefined ? { data: 'points', field } : [...given];
  };
  const mark = ({ name, colour, width = 2, dash = [] }: Line): Mark => ({
    type: 'line',
    from: { data: `line ${name}` },
    encode: {
      enter: {
        x: { scale: 'x', field: 'x' },
        y: { scale: 'y', field: 'y' },
        stroke: { value: colour },
        strokeWidth: { value: width },
        strokeDash: { value: [...dash] },
        defined: { signal: 'isFinite(datum.y)' },
      },
    },
  });
  return {
    width: size.width,
    height: size.height,
    padding: MARGIN,
    autosize: 'none',
    data: [
      { name: 'points', values },
      ...lines.map(({ name }) => ({
        name: `line ${name}`,
        source: 'points',
        transform: [{ type: 'filter' as const, expr: `datum.line === ${JSON.stringify(name)}` }],
      })),
    ],
    scales: [
      { name: 'x', type: 'linear', domain: domain('x'), range: [0, size.width], zero: false, nice: false },
      {
        name: 'y',
        type: axes.isLog ? 'log' : 'linear',
        domain: domain('y'),
        range: [size.height, 0],
        nice: true,
        ...(axes.isLog ? {} : { zero: false }),
      },
    ],
    axes: [
      { orient: 'bottom', scale: 'x', title: axes.x, tickCount: Math.max(3, Math.round(size.width / 90)) },
      { orient: 'left', scale: 'y', title: axes.y, tickCount: 5, grid: true, format: '~g' },
    ],
    marks: [{ type: 'group', ...frame(0, 0, size), clip: true, marks: [...more, ...lines.map(mark)] }],
  };
}
