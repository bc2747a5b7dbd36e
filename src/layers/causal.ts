import { concat, ones, pad, slice, type Tensor, zeros } from '@tensorflow/tfjs-core';

import type { NamedInputs } from './inputs.js';

/**
 * Keras aligns its causal mask to the top left (query `i` sees values `0 .. i`), the operators to the end. Both are the
 * same where there are as many values as queries, so the values are made that many: here, by leaving out those after the
 * last query, which no query sees.
 */
export function dropUnseen(inputs: NamedInputs<Tensor>, mask?: Tensor): [NamedInputs<Tensor>, Tensor | undefined] {
  const { query, value, key } = inputs;
  const Tq = query.shape[1] ?? 0;
  if ((value.shape[1] ?? 0) <= Tq) return [inputs, mask];
  const first = (x: Tensor) => slice(x, x.shape.map(() => 0), [x.shape[0], Tq, ...x.shape.slice(2)]); // prettier-ignore
  const seen = first(value);
  return [{ ...inputs, value: seen, key: key === value ? seen : first(key) }, mask && first(mask)];
}

/** The other case: appends hidden values, so that there are as many as queries. */
export function padHidden(
  heads: { query: Tensor; key: Tensor; value: Tensor },
  mask?: Tensor,
): { key: Tensor; value: Tensor; keyMask?: Tensor } {
  const { query, key, value } = heads;
  const [B, , Tq] = query.shape;
  const Tv = key.shape[2] ?? 0;
  if (Tv >= Tq) return { key, value, ...(mask && { keyMask: mask }) };
  const append = (x: Tensor) => pad(x, [[0, 0], [0, 0], [0, Tq - Tv], [0, 0]]); // prettier-ignore
  const visible = mask ?? ones([B, Tv], 'bool');
  return {
    key: append(key),
    value: append(value),
    keyMask: concat([visible, zeros([B, Tq - Tv], 'bool')], 1),
  };
}
