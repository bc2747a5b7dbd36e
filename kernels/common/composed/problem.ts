import {
  add,
  all,
  cast,
  div,
  expandDims,
  fill,
  greater,
  isFinite,
  lessEqual,
  logicalAnd,
  logicalNot,
  maximum,
  mul,
  type NamedAttrMap,
  type NamedTensorInfoMap,
  type Rank,
  range,
  reshape,
  slice,
  sub,
  sum,
  type Tensor,
  tensor2d,
  type Tensor3D,
  tidy,
  tile,
  transpose,
  where,
  zerosLike,
} from '@tensorflow/tfjs-core';

import { type AttentionDims, visibleKeys } from '../dims.js';
import type { OperatorSpec } from '../spec.js';
import { toFloat32 } from '../to_float32.js';
import { attentionDims } from '../validate.js';

/** What tfjs hands to a kernel that is made of its operators. */
export interface ComposedCall {
  inputs: NamedTensorInfoMap;
  attrs?: NamedAttrMap;
}

/** What a composed kernel must know of the backend that it runs on. */
export interface ComposedContext {
  /** Whether a kernel may read a number back while it runs, to stop an iteration early. */
  readonly readsBack: boolean;
}

/** Floats of one intermediate tensor at the most: 16 MiB. */
export const BLOCK_FLOATS = 1 << 22;

/**
 * The tensors of one call with leading dimensions flattened to `heads`, made safe to multiply by zero: a hidden key or
 * a row that is not finite is zeros, and what must come out as NaN is put back at the end (see the `cpu` kernels' Head).
 */
export class ComposedProblem {
  readonly dims: AttentionDims;
  readonly causal: boolean;
  /** `[heads, Tq, D]` */
  readonly query: Tensor3D;
  /** `[heads, Tk, D]`, minus a vector per head where `centred`. */
  readonly key: Tensor3D;
  /** `[heads, Tk, Dv]` */
  readonly value: Tensor3D;
  /** `[heads, 1, D]`: what was subtracted from the keys; undefined where they are not centred. */
  readonly centre: Tensor | undefined;
  /** Mean over channels of the variance of the visible keys, `[heads, 1, 1]`; of no meaning where they are not centred. */
  readonly variance: Tensor3D;
  /** `[heads, 1, Tk]` */
  readonly bias: Tensor | undefined;
  /** 1 where key `j` is visible, `[heads, 1, Tk]`. */
  readonly visible: Tensor3D;
  /** 1 where a visible key or its value or bias is not finite, `[heads, 1, Tk]`. */
  readonly badKey: Tensor3D;
  /** 1 where the row has an own value that is not finite, `[heads, Tq, 1]`. */
  badRow: Tensor3D;

  constructor(
    private readonly spec: OperatorSpec,
    private readonly call: ComposedCall,
    centred: boolean,
  ) {
    const [query, key, value] = ['query', 'key', 'value'].map((name) => this.tensor(name));
    this.dims = attentionDims(spec.operator, { query: query.shape, key: key.shape, value: value.shape });
    this.causal = call.attrs?.causal === true;
    const { batch, heads, Tq, Tk, D, Dv } = this.dims;
    const keyRows: Tensor3D = reshape(key, [heads, Tk, D]);
    const valueRows: Tensor3D = reshape(value, [heads, Tk, Dv]);
    const bias = this.optional('keyBias');
    let finite = logicalAnd(all(isFinite(keyRows), 2), all(isFinite(valueRows), 2));
    let visible: Tensor = fill([heads, Tk], 1);
    const mask = this.optional('keyMask');
    if (mask) {
      const perBatch: Tensor3D = reshape(toFloat32(mask), [batch, 1, Tk]);
      visible = reshape(tile(perBatch, [1, heads / batch, 1]), [heads, Tk]);
    }
    if (bias) {
      const perHead = reshape(bias, [heads, Tk]);
      // A bias of -Infinity is a way to hide a key. Written with the largest float32: some devices have no infinities.
      const hides = lessEqual(perHead, -3.4e38);
      visible = mul(visible, toFloat32(logicalNot(hides)));
      finite = logicalAnd(finite, isFinite(perHead));
    }
    const usable = logicalAnd(finite, cast(visible, 'bool'));
    this.visible = reshape(visible, [heads, 1, Tk]);
    this.badKey = reshape(mul(visible, toFloat32(logicalNot(finite))), [heads, 1, Tk]);
    this.bias = bias && reshape(keepWhere(usable, reshape(bias, [heads, Tk])), [heads, 1, Tk]);
    const usableRows = expandDims(usable, 2);
    this.key = keepWhere(usableRows, keyRows);
    this.value = keepWhere(usableRows, valueRows);
    if (centred) {
      const weight = toFloat32(usableRows);
      this.centre = div(sum(this.key, 1, true), maximum(sum(weight, 1, true), 1));
      this.key = mul(sub(this.key, this.centre), weight);
    }
    const count = maximum(sum(this.visible, 2, true), 1);
    this.variance = div(sum(mul(this.key, this.key), [1, 2], true), mul(count, D));
    const queryRows: Tensor3D = reshape(query, [heads, Tq, D]);
    this.badRow = fill([heads, Tq, 1], 0);
    this.query = this.usableRows(queryRows);
  }

  /** An input that is always there. */
  tensor(name: string): Tensor {
    const tensor = this.optional(name);
    if (tensor === undefined) throw new Error(`${this.spec.operator}: the kernel was called without its input ${name}`);
    return tensor;
  }

  optional(name: string): Tensor | undefined {
    // Within the engine every input is a tensor; the type is that of kernels which see no more than an info.
    return this.call.inputs[name] as Tensor | undefined;
  }

  /** Rows `[heads, Tq, n]` of the input `name`, with zeros for those that are not finite, which are noted as bad. */
  rows(name: string): Tensor3D {
    const { heads, Tq } = this.dims;
    const tensor = this.tensor(name);
    return this.usableRows(reshape(tensor, [heads, Tq, tensor.size / (heads * Tq)]));
  }

  /** Visible keys of a head after these, `[heads]`, given those `before`; not a number from a bad key on. */
  countAfter(before: Tensor): Tensor {
    const { heads } = this.dims;
    const isBad = greater(sum(this.badKey, [1, 2]), 0);
    return where(isBad, fill([heads], NaN), add(before, sum(this.visible, [1, 2])));
  }

  /** Notes as bad the rows where the bool `[heads, Tq, 1]` does not hold. */
  requireRows(holds: Tensor): void {
    this.badRow = maximum(this.badRow, toFloat32(logicalNot(holds)));
  }

  private usableRows(rows: Tensor3D): Tensor3D {
    const finite = all(isFinite(rows), 2, true);
    this.requireRows(finite);
    return keepWhere(finite, rows);
  }

  /** Rows `start .. start + rows - 1` and the keys that the last of them may see. */
  block(start: number, rows: number): RowBlock {
    const { heads, Tk } = this.dims;
    const bounds = Array.from({ length: rows }, (_, r) => visibleKeys(this.dims, this.causal, start + r));
    const keys = bounds[rows - 1];
    let visible: Tensor3D = keys === Tk ? this.visible : slice(this.visible, [0, 0, 0], [heads, 1, keys]);
    const badKey = keys === Tk ? this.badKey : slice(this.badKey, [0, 0, 0], [heads, 1, keys]);
    if (bounds[0] < keys) {
      const column = tensor2d(bounds, [rows, 1]);
      visible = mul(visible, toFloat32(greater(column, expandDims(range(0, keys), 0))));
    }
    const seesAny = toFloat32(greater(sum(visible, 2, true), 0));
    const seesBad = toFloat32(greater(sum(mul(visible, badKey), 2, true), 0));
    const own = slice(this.badRow, [0, start, 0], [heads, rows, 1]);
    const bad: Tensor3D = mul(maximum(own, seesBad), seesAny);
    return { start, rows, keys, bounds, visible, ordinary: mul(sub(1, bad), seesAny), bad };
  }

  /** Rows of a `[heads, Tq, n]` tensor that belong to `block`, zeros where they are not ordinary. */
  blockRows(block: RowBlock, rows: Tensor3D): Tensor3D {
    const [heads, , n] = rows.shape;
    return mul(slice(rows, [0, block.start, 0], [heads, block.rows, n]), block.ordinary);
  }

  /** Keys of a `[heads, Tk, n]` tensor before the bound of `block`. */
  blockKeys(block: RowBlock, keys: Tensor3D): Tensor3D {
    const [heads, Tk, n] = keys.shape;
    return block.keys === Tk ? keys : slice(keys, [0, 0, 0], [heads, block.keys, n]);
  }
}

/** A block of query rows and what they see. */
export interface RowBlock {
  readonly start: number;
  readonly rows: number;
  /** Keys before the causal bound of the last row; those of each row in `bounds`. */
  readonly keys: number;
  readonly bounds: readonly number[];
  /** 1 where the row sees the key, `[heads, rows or 1, keys]`. */
  readonly visible: Tensor3D;
  /** 1 where a row sees a key and neither has nor sees a value that is not finite, `[heads, rows, 1]`. */
  readonly ordinary: Tensor3D;
  /** 1 where a row must come out as NaN, `[heads, rows, 1]`. */
  readonly bad: Tensor3D;
}

/** `x` where `condition` holds, else 0 (a product would keep NaN). */
export function keepWhere<T extends Tensor>(condition: Tensor, x: T): T {
  return where(condition, x, zerosLike(x));
}

/** A gradient `[heads, Tk, n]` with zeros for hidden keys, and NaN where `seenByBad [heads, Tk, 1]` is above 0. */
export function markKeys(problem: ComposedProblem, gradient: Tensor3D, seenByBad: Tensor3D): Tensor3D {
  return tidy(() => {
    const visible = cast(transpose(problem.visible, [0, 2, 1]), 'bool');
    return markBad(greater(seenByBad, 0), keepWhere(visible, gradient));
  });
}

/** NaN where `bad` is 1, `x` elsewhere. */
export function markBad(bad: Tensor, x: Tensor3D): Tensor3D {
  return where(cast(bad, 'bool'), fill<Rank.R3>(x.shape, NaN), x);
}
