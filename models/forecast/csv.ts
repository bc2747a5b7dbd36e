/**
 * One column of numbers out of a CSV text. Whatever is wrong with the text ends in an `InputError` that names the place;
 * nothing here touches a file, so that a page in a browser can use it on text of its own.
 */
import { parse } from 'csv-parse/sync';
import { InputError } from '../common/input_error.js';

export type Row = {
  /** Line in the text on which the row ends, counted from 1: what an editor shows. */
  readonly line: number;
  readonly cells: readonly string[];
};

export type Table = { readonly header: readonly string[]; readonly rows: readonly Row[] };

export type Column = { readonly name: string; readonly values: number[]; readonly lines: number[] };

/** The separators that spreadsheets write; the one that occurs most often in the header is taken. */
const DELIMITERS = [',', ';', '\t'];

/** Longest part of a bad cell that a message repeats. */
const SHOWN = 40;

/** Decimal notation only: `Number` would also take '', '0x10' and ' '. */
const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;

const quote = (text: string): string =>
  JSON.stringify(text.length > SHOWN ? `${text.slice(0, SHOWN)}...` : text).replace(/^"|"$/g, "'");

const list = (names: readonly string[]): string => names.map(quote).join(', ');

/** What csv-parse yields per record with `info: true`. */
type Parsed = { readonly record: string[]; readonly info: { readonly lines: number } };

function isParsed(value: unknown): value is Parsed {
  return typeof value === 'object' && value !== null && 'record' in value && 'info' in value;
}

function delimiterOf(text: string): string {
  const header = text.slice(0, text.search(/[\r\n]|$/));
  const count = (delimiter: string): number => header.split(delimiter).length;
  return DELIMITERS.reduce((best, delimiter) => (count(delimiter) > count(best) ? delimiter : best));
}

/** Splits a CSV text into its header and rows; `source` is the name that messages give it. */
export function parseTable(text: string, source: string): Table {
  if (text.includes('\0')) throw new InputError(`${source}: this is not a text file (it contains zero bytes)`);
  if (text.replace(/^\uFEFF/, '').trim() === '') throw new InputError(`${source}: the file is empty`);
  let records: unknown[];
  try {
    records = parse(text, {
      delimiter: delimiterOf(text),
      bom: true,
      info: true,
      trim: true,
      // A blank line is skipped, a line of empty cells is not: in that one a value is missing.
      skip_empty_lines: true,
      // Uneven rows are reported below, with the line and both counts.
      relax_column_count: true,
    });
  } catch (error) {
    throw new InputError(`${source}: ${error instanceof Error ? error.message : String(error)}`);
  }
  const [head, ...rows] = records
    .filter(isParsed)
    .map(({ record, info }): Row => ({ line: info.lines, cells: record }));
  const header = head.cells;
  if (header.every((cell) => DECIMAL.test(cell))) {
    throw new InputError(
      `${source}, line ${head.line}: the first line must name the columns, but it holds numbers: ${list(header)}`,
    );
  }
  for (const { line, cells } of rows) {
    if (cells.length !== header.length) {
      throw new InputError(
        `${source}, line ${line}: number of cells is ${cells.length}, but the header names ${header.length} columns`,
      );
    }
  }
  return { header, rows };
}

/** Index of the column called `name`, or of the only column there is. */
function columnIndex(table: Table, name: string | undefined, source: string): number {
  const { header } = table;
  if (name === undefined) {
    if (header.length === 1) return 0;
    throw new InputError(`${source} has ${header.length} columns: choose one by --column (${list(header)})`);
  }
  const index = header.indexOf(name);
  if (index < 0) throw new InputError(`${source} has no column ${quote(name)}; it has ${list(header)}`);
  if (header.includes(name, index + 1)) throw new InputError(`${source} has two columns called ${quote(name)}`);
  return index;
}

/** The numbers of one column, with the line each came from. */
export function numberColumn(text: string, source: string, columnName?: string): Column {
  const table = parseTable(text, source);
  const index = columnIndex(table, columnName, source);
  const name = table.header[index];
  const values = table.rows.map(({ line, cells }) => {
    const cell = cells[index];
    const where = `${source}, line ${line}, column ${quote(name)}`;
    if (cell === '') throw new InputError(`${where}: the cell is empty; a series must not have gaps`);
    if (!DECIMAL.test(cell)) throw new InputError(`${where}: ${quote(cell)} is not a number`);
    const value = Number(cell);
    if (!Number.isFinite(value)) throw new InputError(`${where}: ${quote(cell)} is too large`);
    return value;
  });
  return { name, values, lines: table.rows.map(({ line }) => line) };
}
