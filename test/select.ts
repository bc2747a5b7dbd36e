import type { Call, TensorName, Tensors, Values } from './values.js';

/** `values` with the given indices of one axis, in their order. */
export function take(values: Values, axis: number, indices: readonly number[]): Values {
  const { shape, data } = values;
  const size = shape[axis];
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const outer = data.length / (size * inner);
  const taken = new Float64Array(outer * indices.length * inner);
  let at = 0;
  for (let o = 0; o < outer; o++) {
    for (const index of indices) {
      for (let i = 0; i < inner; i++) taken[at++] = data[(o * size + index) * inner + i];
    }
  }
  return { shape: shape.map((n, a) => (a === axis ? indices.length : n)), data: taken };
}

/** Axis of every input that counts keys (negative: from the end). */
const keyAxis: Partial<Record<TensorName, number>> = { key: -2, value: -2, keyBias: -1, keyMask: -1 };

/** Axis of every input that counts queries. */
const queryAxis: Partial<Record<TensorName, number>> = { query: -2, probe: -2 };

function takeAlong(call: Call, axes: typeof keyAxis, indices: readonly number[]): Call {
  const tensors: Partial<Record<TensorName, Values>> = { ...call.tensors };
  for (const [name, axis] of Object.entries(axes) as [TensorName, number][]) {
    const values = tensors[name];
    if (values) tensors[name] = take(values, values.shape.length + axis, indices);
  }
  return { ...call, tensors: tensors as Tensors };
}

/** A call with only some of its keys, in a new order. */
export function takeKeys(call: Call, indices: readonly number[]): Call {
  return takeAlong(call, keyAxis, indices);
}

/** A call with only some of its queries; its ridge must not be per row. */
export function takeQueries(call: Call, indices: readonly number[]): Call {
  return takeAlong(call, queryAxis, indices);
}

/** A call with other tensors in the place of some of its own. */
export function withTensors(call: Call, tensors: Partial<Tensors>): Call {
  return { ...call, tensors: { ...call.tensors, ...tensors } };
}

/** A copy of a call with some numbers of one input replaced. */
export function withNumbers(call: Call, name: TensorName, numbers: Readonly<Record<number, number>>): Call {
  const values = call.tensors[name];
  if (!values) throw new Error(`no ${name} in this call`);
  const data = Float64Array.from(values.data);
  for (const [element, number] of Object.entries(numbers)) data[Number(element)] = number;
  return withTensors(call, { [name]: { shape: values.shape, data } });
}
