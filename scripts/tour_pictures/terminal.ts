/** What a program printed, as a picture of a terminal. */
import type { Spec } from 'vega';
import { svgOf } from '../../models/common/plot.js';

const COLUMNS = 124;
const FONT_SIZE = 12;
const LINE = 15;
/** Of a letter in nearly every fixed font. */
const LETTER = 0.602 * FONT_SIZE;

/** The forecast's tables but the first give way to a line that says so. */
export function shortened(text: string): string {
  const lines = text.split('\n');
  const headings = lines.flatMap((line, index) => (/: \d+ values, \d+ lags, /.test(line) ? [index] : []));
  const end = lines.findIndex((line) => line.startsWith('MSE: '));
  if (headings.length < 2 || end < headings[1]) throw new Error('there are no tables of several series in:\n' + text);
  return [
    ...lines.slice(0, headings[1]),
    `[... the tables of ${headings.length - 1} more series ...]`,
    '',
    ...lines.slice(end),
  ].join('\n');
}

/** Lines that are longer than the terminal is wide go on in the next one. */
const wrapped = (line: string): string[] => line.match(new RegExp(`.{1,${COLUMNS}}(?= |$)`, 'gu')) ?? [''];

/** Vega trims a text, and a picture has one space where several stand side by side. */
function placed(line: string, index: number) {
  const text = line.trimStart();
  return { index, indent: line.length - text.length, text: text.replaceAll(' ', '\u00a0') };
}

export function terminal(text: string): Promise<string> {
  const lines = text.trimEnd().split('\n').flatMap(wrapped);
  const spec: Spec = {
    background: '#1b1f27',
    padding: 14,
    // Vega guesses how wide letters are, and would make room for its guess.
    autosize: 'none',
    width: Math.ceil(COLUMNS * LETTER),
    height: lines.length * LINE,
    data: [{ name: 'lines', values: lines.map(placed) }],
    marks: [
      {
        type: 'text',
        from: { data: 'lines' },
        encode: {
          enter: {
            x: { signal: `datum.indent * ${LETTER}` },
            y: { signal: `datum.index * ${LINE}` },
            baseline: { value: 'top' },
            text: { field: 'text' },
            limit: { value: 0 },
            font: { value: 'ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace' },
            fontSize: { value: FONT_SIZE },
            fontWeight: { signal: "test(/^(==|\\$)/, datum.text) ? 'bold' : 'normal'" },
            fill: { signal: "test(/^(==|\\$)/, datum.text) ? '#8fd0ff' : '#e4e7ec'" },
          },
        },
      },
    ],
  };
  return svgOf(spec);
}
