import {
  add,
  concat,
  fill,
  greater,
  lessEqual,
  type NamedTensorMap,
  pad,
  reshape,
  slice,
  type Tensor,
  tile,
  where,
  zeros,
} from '@tensorflow/tfjs-core';

import { toFloat32 } from '../../kernels/common/to_float32.js';
import { gradientKernelName, runKernel } from '../gradients.js';
import type { StateKind, StateTensors, StepCall } from './state.js';

/** Written for a key that a mask hides, in place of its bias: the lowest float32. */
const HIDDEN = -3.4028234663852886e38;

/** The inputs of a call that have a row per query, with the axis of the rows counted from the end. */
const PER_ROW: readonly (readonly [string, number])[] = [
  ['query', 2],
  ['probe', 2],
  ['ridge', 1],
];

/** The inputs of a call that have a row per key. */
const PER_KEY: readonly (readonly [string, number])[] = [
  ['key', 2],
  ['value', 2],
  ['keyBias', 1],
];

/** Rows of a cache that may be copied for each new one. */
const MOST_COPIED = 16;

/** Part `first .. first + count - 1` of an axis that is counted from the end. */
function part(x: Tensor, fromEnd: number, first: number, count: number): Tensor {
  const axis = x.rank - fromEnd;
  if (first === 0 && count === x.shape[axis]) return x;
  const begin = x.shape.map((_, i) => (i === axis ? first : 0));
  return slice(
    x,
    begin,
    x.shape.map((size, i) => (i === axis ? count : size)),
  );
}

/** The `count` cached rows before position `end`, in the order of their positions: `[heads, count, ...]`. */
function rowsBefore(x: Tensor, end: number, count: number): Tensor {
  const [, capacity]: number[] = x.shape;
  const start = (end - count) % capacity;
  const straight = Math.min(count, capacity - start);
  const fromEnd = x.rank - 1;
  const first = part(x, fromEnd, start, straight);
  return straight === count ? first : concat([first, part(x, fromEnd, 0, count - straight)], 1);
}

/** `x [heads, capacity, ...]` with `rows [heads, t, ...]` written behind its `length` tokens, as a new tensor. */
function appended(x: Tensor, rows: Tensor, { length, total }: StepCall['place'], wraps: boolean): Tensor {
  const [, capacity]: number[] = x.shape;
  const fromEnd = x.rank - 1;
  const [, t]: number[] = rows.shape;
  if (!wraps) {
    const parts = [part(x, fromEnd, 0, length), rows, part(x, fromEnd, length + t, capacity - length - t)];
    return concat(
      parts.filter(({ size }) => size > 0),
      1,
    );
  }
  const written = Math.min(capacity, length + t);
  const old = Math.max(0, written - t);
  const parts = [rowsBefore(x, total, old), part(rows, fromEnd, t - (written - old), written - old)];
  if (written < capacity) parts.push(zeros([x.shape[0], capacity - written, ...x.shape.slice(2)]));
  const ordered = concat(
    parts.filter(({ size }) => size > 0),
    1,
  );
  // Position `total + t - written` is the first of them.
  const start = (total + t - written) % capacity;
  if (start === 0) return ordered;
  return concat([part(ordered, fromEnd, capacity - start, start), part(ordered, fromEnd, 0, capacity - start)], 1);
}

/** What is added to the scores of the new keys, `[heads, t]`. */
function newBias({ inputs, shape, dims }: StepCall): Tensor {
  const { heads } = shape;
  const t = dims.Tk;
  const bias = 'keyBias' in inputs ? reshape(inputs.keyBias, [heads, t]) : zeros([heads, t]);
  if (!('keyMask' in inputs)) return bias;
  const perBatch = reshape(toFloat32(inputs.keyMask), [dims.batch, 1, t]);
  const visible = greater(tile(perBatch, [1, heads / dims.batch, 1]), 0);
  return where(reshape(visible, [heads, t]), bias, fill([heads, t], HIDDEN));
}

/** A bias as the operators read it: minus infinity, not the lowest float32, for a hidden key. */
function operatorBias(bias: Tensor): Tensor {
  return where(lessEqual(bias, -3.4e38), fill(bias.shape, -Infinity), bias);
}

/** New rows in the shape of the cached ones, by the names of the latter. */
function newRows(call: StepCall): Record<string, Tensor> {
  const { inputs, shape, dims, state } = call;
  const { heads, D, Dv } = shape;
  return {
    cachedKey: reshape(inputs.key, [heads, dims.Tk, D]),
    cachedValue: reshape(inputs.value, [heads, dims.Tk, Dv]),
    ...('cachedBias' in state && { cachedBias: newBias(call) }),
  };
}

/** Rows of a step that see one range of keys, causally and aligned to its end. */
interface Segment {
  readonly row: number;
  readonly rows: number;
  readonly firstKey: number;
  readonly keys: number;
}

/** The rows of a step over `cached` older keys and the new ones: all at once where no window moves with the row. */
function segmentsOf(t: number, cached: number, window: number): Segment[] {
  const whole = window === 0 ? t : Math.min(t, window - cached);
  const segments: Segment[] = whole > 0 ? [{ row: 0, rows: whole, firstKey: 0, keys: cached + whole }] : [];
  for (let row = Math.max(0, whole); row < t; row++) {
    segments.push({ row, rows: 1, firstKey: cached + row + 1 - window, keys: window });
  }
  return segments;
}

/** Cached keys that the first of a step's rows sees. */
function cachedKeys({ length, window }: StepCall['place']): number {
  return window === 0 ? length : Math.min(length, window - 1);
}

/** The operator's own inputs for one segment. */
function segmentInputs(call: StepCall, context: NamedTensorMap, segment: Segment): NamedTensorMap {
  const inputs: NamedTensorMap = {};
  for (const [name, axis] of PER_ROW) {
    if (name in call.inputs) inputs[name] = part(call.inputs[name], axis, segment.row, segment.rows);
  }
  for (const [name, axis] of PER_KEY) {
    if (name in context) inputs[name] = part(context[name], axis, segment.firstKey, segment.keys);
  }
  return inputs;
}

function segments(call: StepCall): Segment[] {
  return segmentsOf(call.dims.Tq, cachedKeys(call.place), call.place.window);
}

/** `sum` plus a part that belongs to `first ...` of an axis which has `size` entries. */
function addPart(sum: Tensor | undefined, x: Tensor, fromEnd: number, first: number, size: number): Tensor {
  const axis = x.rank - fromEnd;
  const after = size - first - x.shape[axis];
  const isWhole = first === 0 && after === 0;
  const padded = isWhole ? x : pad(x, x.shape.map((_, i): [number, number] => (i === axis ? [first, after] : [0, 0]))); // prettier-ignore
  return sum ? add(sum, padded) : padded;
}

/**
 * Keys and values as they came, for the operators whose weights are a softmax of scores: `cachedKey [heads, capacity, D]`,
 * `cachedValue [heads, capacity, Dv]` and, once a mask or a bias was given, `cachedBias [heads, capacity]`.
 */
export const keyValueState: StateKind = {
  isConstantSize: false,

  create({ heads, D, Dv }, capacity) {
    // `zeros` would be made by the processor, and sent.
    return { cachedKey: fill([heads, capacity, D], 0), cachedValue: fill([heads, capacity, Dv], 0) };
  },

  complete(state, inputs, { heads }, capacity): StateTensors {
    const needsBias = 'keyBias' in inputs || 'keyMask' in inputs;
    return needsBias && !('cachedBias' in state) ? { cachedBias: zeros([heads, capacity]) } : {};
  },

  context(call) {
    const { place, shape, state, dims } = call;
    const count = cachedKeys(place);
    const rows = newRows(call);
    const names = { cachedKey: 'key', cachedValue: 'value', cachedBias: 'keyBias' } as const;
    const context: NamedTensorMap = {};
    for (const [cached, name] of Object.entries(names)) {
      if (!(cached in state)) continue;
      const all = count === 0 ? rows[cached] : concat([rowsBefore(state[cached], place.total, count), rows[cached]], 1);
      const read = name === 'keyBias' ? operatorBias(all) : all;
      context[name] = reshape(read, [...shape.lead, count + dims.Tk, ...all.shape.slice(2)]);
    }
    return context;
  },

  rowsOfMany(call) {
    const { spec, attrs, place, dims } = call;
    const cached = cachedKeys(place);
    const moves = place.window > 0 && cached + dims.Tq > place.window;
    // What the cache holds is copied for it.
    if (moves || cached > MOST_COPIED * dims.Tq) return undefined;
    const [whole] = segments(call);
    return runKernel(spec.kernelName, segmentInputs(call, this.context(call), whole), attrs)[0];
  },

  composedStep(call) {
    const { spec, attrs, state, place } = call;
    const context = this.context(call);
    const outs = segments(call).map(
      (segment) => runKernel(spec.kernelName, segmentInputs(call, context, segment), attrs)[0],
    );
    const out = outs.length === 1 ? outs[0] : concat(outs, outs[0].rank - 2);
    const rows = newRows(call);
    const next = Object.keys(state).map((name) => [name, appended(state[name], rows[name], place, place.window > 0)]);
    return { out, state: Object.fromEntries(next) as StateTensors };
  },

  gradient(call, context, dout) {
    const { spec, attrs, dims } = call;
    const sums: Partial<Record<string, Tensor>> = {};
    const keys = cachedKeys(call.place) + dims.Tk;
    for (const segment of segments(call)) {
      const inputs = segmentInputs(call, context, segment);
      const residuals = spec.residuals.length > 0 ? runKernel(spec.kernelName, inputs, attrs).slice(1) : [];
      const named = Object.fromEntries(residuals.map((residual, i) => [spec.residuals[i], residual]));
      const cotangent = part(dout, 2, segment.row, segment.rows);
      const gradients = runKernel(gradientKernelName(spec), { ...inputs, ...named, dout: cotangent }, attrs);
      const given = spec.differentiable.filter((name) => name in inputs);
      for (const [i, name] of given.entries()) {
        const perRow = PER_ROW.find(([input]) => input === name);
        const perKey = PER_KEY.find(([input]) => input === name);
        if (perRow) sums[name] = addPart(sums[name], gradients[i], perRow[1], segment.row, dims.Tq);
        if (perKey) sums[name] = addPart(sums[name], gradients[i], perKey[1], segment.firstKey, keys);
      }
    }
    for (const [name, fromEnd] of PER_KEY) {
      const sum = sums[name];
      if (sum) sums[name] = part(sum, fromEnd, keys - dims.Tk, dims.Tk);
    }
    return sums;
  },
};
