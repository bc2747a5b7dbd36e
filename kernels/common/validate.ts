import type { AttentionDims } from './dims.js';

/** Throws the one form of error that every operator uses: operator, argument, what is wrong with it. */
export function reject(operator: string, argument: string, problem: string): never {
  throw new Error(`${operator}: ${argument} ${problem}`);
}

/** How a value is printed in an error: short, and telling `'1'` from `1`. */
export function printed(value: unknown): string {
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) {
    return typeof value === 'string' ? `'${value}'` : String(value);
  }
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) return Object.prototype.toString.call(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** Checks one option's value; throws by `reject`. */
export type OptionCheck = (operator: string, option: string, value: unknown) => void;

export const isBoolean: OptionCheck = (operator, option, value) => {
  if (typeof value !== 'boolean') reject(operator, option, `must be true or false, got ${printed(value)}`);
};

export const isFiniteNumber: OptionCheck = (operator, option, value) => {
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    reject(operator, option, `must be a finite number, got ${printed(value)}`);
  }
};

export const isPositiveNumber: OptionCheck = (operator, option, value) => {
  if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) {
    reject(operator, option, `must be a positive finite number, got ${printed(value)}`);
  }
};

export const isPositiveInteger: OptionCheck = (operator, option, value) => {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value <= 0) {
    reject(operator, option, `must be a positive integer, got ${printed(value)}`);
  }
};

export function isOneOf(...accepted: readonly string[]): OptionCheck {
  return (operator, option, value) => {
    if (typeof value !== 'string' || !accepted.includes(value)) {
      const names = accepted.map((name) => `'${name}'`).join(', ');
      reject(operator, option, `must be one of ${names}, got ${printed(value)}`);
    }
  };
}

/** For options that hold tensors: their dtype and shape are checked where they are converted. */
export const isTensorLike: OptionCheck = (operator, option, value) => {
  const accepted = typeof value === 'number' || typeof value === 'boolean' || typeof value === 'object';
  if (value === null || !accepted) reject(operator, option, `must be a tensor or an array, got ${printed(value)}`);
};

/** Refuses an option that the operator does not have, and checks the value of each that was given. */
export function checkOptions(operator: string, options: unknown, checks: Readonly<Record<string, OptionCheck>>): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    reject(operator, 'options', `must be an object, got ${printed(options)}`);
  }
  for (const [option, value] of Object.entries(options)) {
    if (!Object.hasOwn(checks, option)) {
      reject(operator, option, `is no option of this operator; it has ${Object.keys(checks).join(', ')}`);
    }
    if (value !== undefined) checks[option](operator, option, value);
  }
}

type Shape = readonly number[];

const shown = (shape: Shape): string => `[${shape.join(', ')}]`;

function checkRank(operator: string, argument: string, shape: Shape): void {
  if (shape.length !== 3 && shape.length !== 4) {
    reject(operator, argument, `must have rank 3 [B, T, D] or 4 [B, H, T, D], got shape ${shown(shape)}`);
  }
  if (shape.includes(0)) reject(operator, argument, `has an empty axis, got shape ${shown(shape)}`);
}

function checkSame(operator: string, argument: string, shape: Shape, expected: Shape, why: string): void {
  if (shape.length !== expected.length || shape.some((size, axis) => size !== expected[axis])) {
    reject(operator, argument, `must have shape ${shown(expected)} (${why}), got ${shown(shape)}`);
  }
}

/** Checks the shapes of the tensors that every operator takes and names their sizes. */
export function attentionDims(
  operator: string,
  shapes: { query: Shape; key: Shape; value: Shape; probe?: Shape },
): AttentionDims {
  const { query, key, value, probe } = shapes;
  for (const [argument, shape] of Object.entries(shapes)) {
    checkRank(operator, argument, shape);
  }
  const lead = query.slice(0, -2);
  const [Tq, D] = query.slice(-2);
  const [Tk] = key.slice(-2);
  const [Dv] = value.slice(-1);
  checkSame(operator, 'key', key, [...lead, Tk, D], `leading dimensions and D of query ${shown(query)}`);
  checkSame(operator, 'value', value, [...lead, Tk, Dv], `leading dimensions and Tk of key ${shown(key)}`);
  if (probe !== undefined) checkSame(operator, 'probe', probe, query, 'that of query');
  return { batch: lead[0], heads: lead.reduce((product, size) => product * size, 1), Tq, Tk, D, Dv };
}

/** `keyMask [B, Tk]`. */
export function checkKeyMask(operator: string, shape: Shape, dims: AttentionDims): void {
  checkSame(operator, 'keyMask', shape, [dims.batch, dims.Tk], '[B, Tk]');
}

/** `keyBias [B, Tk]` or `[..., Tk]`. */
export function checkKeyBias(operator: string, shape: Shape, lead: Shape, dims: AttentionDims): void {
  if (shape.length === 2) checkSame(operator, 'keyBias', shape, [dims.batch, dims.Tk], '[B, Tk]');
  else checkSame(operator, 'keyBias', shape, [...lead, dims.Tk], '[..., Tk]');
}

/** A ridge that broadcasts to `target`, as NumPy broadcasts. */
export function checkRidge(operator: string, shape: Shape, target: Shape, name: string): void {
  const offset = target.length - shape.length;
  const fits = offset >= 0 && shape.every((size, axis) => size === 1 || size === target[axis + offset]);
  if (!fits) reject(operator, 'ridge', `must broadcast to ${name} ${shown(target)}, got shape ${shown(shape)}`);
}

/** The values of a ridge that is given as a number or as nested arrays; a tensor's values are never read. */
export function checkRidgeValues(operator: string, ridge: unknown): void {
  if (Array.isArray(ridge) || ArrayBuffer.isView(ridge)) {
    for (const value of ridge as Iterable<unknown>) checkRidgeValues(operator, value);
  } else {
    isPositiveNumber(operator, 'ridge', ridge);
  }
}
