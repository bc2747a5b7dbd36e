/** Parts of the pictures: panels, their headings, a legend in words, an SVG. */
import type { Config, GroupMark, Spec, TextMark } from 'vega';
import { parse, View } from 'vega';

const FONT = 'sans-serif';

/** Six digits are more than a line shows; fewer bytes, and the same ones whichever backend computed them. */
export const rounded = (value: number): number => Number(value.toPrecision(6));

export interface HeadingStyle {
  readonly y: number;
  readonly fontSize?: number;
  readonly fontWeight?: 'bold' | 'normal';
}

/** Not Vega's own title: that one keeps clear of the axes' labels and so stands at another height in each panel. */
export function heading(text: string, { y, fontSize = 13, fontWeight = 'bold' }: HeadingStyle): TextMark {
  return {
    type: 'text',
    encode: {
      enter: {
        y: { value: y },
        text: { value: text },
        font: { value: FONT },
        fontSize: { value: fontSize },
        fontWeight: { value: fontWeight },
      },
    },
  };
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Place and size of a panel, for a group that has axes. */
export function frame(x: number, y: number, { width, height }: Size): Pick<GroupMark, 'encode' | 'signals'> {
  return {
    encode: {
      enter: { x: { value: x }, y: { value: y }, width: { value: width }, height: { value: height } },
    },
    // Axes and their grids measure themselves by these two.
    signals: [
      { name: 'width', update: `${width}` },
      { name: 'height', update: `${height}` },
    ],
  };
}

/** The labels of data `legend` (`index`, `label`) side by side, in the colours that scale `colour` gives their `field`. */
export function legend(field: string, gap: number): TextMark {
  return {
    type: 'text',
    from: { data: 'legend' },
    encode: {
      enter: {
        x: { signal: `datum.index * ${gap}` },
        y: { value: 0 },
        text: { field: 'label' },
        fill: { scale: 'colour', field },
        font: { value: FONT },
        fontWeight: { value: 'bold' },
        fontSize: { value: 13 },
      },
    },
  };
}

/** A file's picture is on white, whatever the reader's theme. */
const ON_WHITE: Config = { background: 'white', text: { fill: 'black' } };

export async function svgOf(spec: Spec): Promise<string> {
  const view = new View(parse(spec, ON_WHITE), { renderer: 'none' });
  try {
    return `${await view.toSVG()}\n`;
  } finally {
    view.finalize();
  }
}
