import { InputError } from '../models/common/input_error.js';
import { numberColumn } from '../models/forecast/csv.js';
import { fewestValues, windowsOf } from '../models/forecast/data.js';

/** A series like those that `--csv` makes. */
const series = (values: readonly number[]) => ({ title: 't', source: "f.csv, column 'x'", unit: 'u', values });

const counting = (length: number) => Array.from({ length }, (_, index) => index);

describe('a column of numbers', () => {
  test.each([
    ['commas', 'day,x\n1,2.5\n2,-3e2\n', [2.5, -300]],
    ['semicolons, carriage returns and a byte order mark', '\uFEFFday;x\r\n1;2.5\r\n2;.5\r\n', [2.5, 0.5]],
    ['tabs and spaces', 'day\tx\n1\t 2. \n2\t+3\n', [2, 3]],
    ['quotes around cells with commas and line breaks', '"the\nday",x\n"1,5",2\n"a ""b""",3\n', [2, 3]],
    ['blank lines and no line break at the end', 'day,x\n\n1,2\n\n\n2,3', [2, 3]],
  ])('is read with %s', (_, text, values) => {
    expect(numberColumn(text, 'f.csv', 'x')).toMatchObject({ name: 'x', values });
  });

  test('needs no name where it is the only one', () => {
    expect(numberColumn('x\n1\n2\n', 'f.csv').values).toEqual([1, 2]);
  });

  test('remembers the line that each value came from', () => {
    expect(numberColumn('x,y\n1,a\n\n2,"b\nc"\n3,d\n', 'f.csv', 'x').lines).toEqual([2, 5, 6]);
  });

  test.each([
    ['text in a cell', 'day,x\n1,2\n2,n/a\n', 'x', "f.csv, line 3, column 'x': 'n/a' is not a number"],
    ['a decimal comma', 'day;x\n1;2,5\n', 'x', "f.csv, line 2, column 'x': '2,5' is not a number"],
    ['hexadecimal', 'x\n0x10\n', 'x', "f.csv, line 2, column 'x': '0x10' is not a number"],
    ['NaN', 'x\nNaN\n', 'x', "f.csv, line 2, column 'x': 'NaN' is not a number"],
    ['a number beyond all numbers', 'x\n1e999\n', 'x', "f.csv, line 2, column 'x': '1e999' is too large"],
    ['a long text', `x\n${'y'.repeat(99)}\n`, 'x', `f.csv, line 2, column 'x': '${'y'.repeat(40)}...' is not a number`],
    ['an empty cell', 'a,x\n1,\n', 'x', "f.csv, line 2, column 'x': the cell is empty; a series must not have gaps"],
    ['a missing column', 'a,b\n1,2\n', 'x', "f.csv has no column 'x'; it has 'a', 'b'"],
    ['a column twice', 'x,x\n1,2\n', 'x', "f.csv has two columns called 'x'"],
    ['no name for several columns', 'a,b\n1,2\n', undefined, "f.csv has 2 columns: choose one by --column ('a', 'b')"],
    ['a short line', 'a,x\n1,2\n3\n', 'x', 'f.csv, line 3: number of cells is 1, but the header names 2 columns'],
    ['an empty text', ' \n\n', 'x', 'f.csv: the file is empty'],
    ['a byte order mark alone', '\uFEFF', 'x', 'f.csv: the file is empty'],
    [
      'no header',
      '1,2\n3,4\n',
      'x',
      "f.csv, line 1: the first line must name the columns, but it holds numbers: '1', '2'",
    ],
    ['bytes that are no text', 'x\n1\0\n', 'x', 'f.csv: this is not a text file (it contains zero bytes)'],
  ])('is refused with %s', (_, text, column, message) => {
    expect(() => numberColumn(text, 'f.csv', column)).toThrow(new InputError(message));
  });

  test('is refused with a quote that is never closed, with the line', () => {
    expect(() => numberColumn('a,x\n1,"2\n', 'f.csv', 'x')).toThrow(/^f\.csv: Quote Not Closed: .* line 2/);
  });
});

describe('windows', () => {
  test('pair each run of past values with the value after it', () => {
    const { inputs, targets, count, split, mean, deviation } = windowsOf(series(counting(24)), 2);
    const original = (standard: number) => Math.round(standard * deviation + mean);
    expect(count).toBe(22);
    expect(Array.from(inputs.slice(0, 6), original)).toEqual([0, 1, 1, 2, 2, 3]);
    expect(Array.from(targets, original)).toEqual(counting(24).slice(2));
    // The first reported target is the first value behind the first third.
    expect(original(targets[split])).toBe(8);
  });

  test('are standardised by the first third alone', () => {
    const past = counting(30).map((index) => Math.sin(index));
    const calm = windowsOf(series([...past, ...new Array<number>(60).fill(0)]), 3);
    const wild = windowsOf(series([...past, ...new Array<number>(60).fill(50)]), 3);
    expect([calm.mean, calm.deviation]).toEqual([wild.mean, wild.deviation]);
    expect(calm.inputs.slice(0, calm.split * 3)).toEqual(wild.inputs.slice(0, wild.split * 3));
  });

  test.each([1, 8, 128])('of %d lags are made from as few values as the message says', (lags) => {
    const fewest = fewestValues(lags);
    const { split } = windowsOf(series(counting(fewest)), lags);
    // At least one row is left to choose on, behind those with fewer pairs than a linear fit has coefficients.
    expect(split).toBeGreaterThan(lags + 1);
    expect(() => windowsOf(series(counting(fewest - 1)), lags)).toThrow(
      new InputError(`f.csv, column 'x': ${fewest - 1} values are too few; ${lags} lags need at least ${fewest}`),
    );
  });

  test.each([1e-300, 1e300])('are the same in another unit, %d times as large', (unit) => {
    const values = counting(60).map((index) => Math.sin(index));
    const plain = windowsOf(series(values), 3);
    const scaled = windowsOf(series(values.map((value) => value * unit)), 3);
    expect(scaled.deviation / unit).toBeCloseTo(plain.deviation, 12);
    scaled.inputs.forEach((value, index) => expect(value).toBeCloseTo(plain.inputs[index], 5));
  });

  test('are refused where the first third is constant', () => {
    const values = [...new Array<number>(30).fill(0.1), ...counting(60)];
    expect(() => windowsOf(series(values), 2)).toThrow(
      /^f\.csv, column 'x': the first third \(30 values\) is constant to twelve digits/,
    );
  });

  test('are refused where a value is too far out for float32', () => {
    const values = counting(60);
    values[45] = 1e9;
    expect(() => windowsOf(series(values), 2)).toThrow(/^f\.csv, column 'x': value 46 \(1000000000\) lies more than/);
  });
});
