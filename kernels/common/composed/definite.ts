import {
  add,
  concat,
  div,
  eye,
  matMul,
  maximum,
  mul,
  reshape,
  slice,
  split,
  sub,
  type Tensor3D,
  tidy,
} from '@tensorflow/tfjs-core';

/**
 * Solves `A x = b` for many symmetric positive definite `A [n, D, D]`, `b [n, D, m]`, by elimination without pivoting,
 * which such matrices need none of. A pivot is never below the smallest eigenvalue, so rounding that takes it below
 * `smallestPivot [n, 1, 1]` is undone.
 */
export function solveDefinite(A: Tensor3D, b: Tensor3D, smallestPivot: Tensor3D): Tensor3D {
  const [n, D] = A.shape;
  const m = b.shape[2];
  return tidy(() => {
    // Row k of the upper triangular factor, divided by its pivot, without the 1: [n, 1, D - k - 1 + m].
    const eliminated: Tensor3D[] = [];
    let rest: Tensor3D = concat([A, b], 2);
    for (let k = 0; k < D; k++) {
      const left = D - k;
      const previous = rest;
      const [row, next] = tidy(() => {
        const pivot = maximum(slice(previous, [0, 0, 0], [n, 1, 1]), smallestPivot);
        const scaled = div<Tensor3D>(slice(previous, [0, 0, 1], [n, 1, left - 1 + m]), pivot);
        if (left === 1) return [scaled, scaled.clone()];
        const column = slice(previous, [0, 1, 0], [n, left - 1, 1]);
        const below = slice(previous, [0, 1, 1], [n, left - 1, left - 1 + m]);
        return [scaled, sub<Tensor3D>(below, mul(column, scaled))];
      });
      previous.dispose();
      eliminated.push(row);
      rest = next;
    }
    let x: Tensor3D | undefined;
    for (let k = D - 1; k >= 0; k--) {
      const row = eliminated[k];
      const known = D - k - 1;
      const previous: Tensor3D | undefined = x;
      x = tidy(() => {
        if (previous === undefined) return row.clone();
        const [coefficients, right] = split(row, [known, m], 2);
        return concat([sub<Tensor3D>(right, matMul(coefficients, previous)), previous], 1);
      });
      previous?.dispose();
    }
    return x ?? b;
  });
}

/** `A [n, D, D] + diag(d)` for `d [n, D, 1]` or `[n, 1, 1]`. */
export function addDiagonal(A: Tensor3D, d: Tensor3D): Tensor3D {
  const D = A.shape[1];
  return tidy(() => add(A, mul(reshape(eye(D), [1, D, D]), d)));
}
