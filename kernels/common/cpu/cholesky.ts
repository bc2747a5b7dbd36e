/**
 * Factors the lower triangle of the symmetric matrix `A [n, n]` in place: `A = L L^T`.
 *
 * A pivot below `smallestPivot` is raised to it: in exact arithmetic the pivots of a matrix are never below its smallest
 * eigenvalue, so for `A + ridge I` the ridge is such a bound, and only rounding can go below it.
 */
export function cholesky(A: Float64Array, n: number, smallestPivot: number): void {
  for (let j = 0; j < n; j++) {
    const rowJ = j * n;
    let pivot = A[rowJ + j];
    for (let k = 0; k < j; k++) pivot -= A[rowJ + k] * A[rowJ + k];
    const diagonal = Math.sqrt(Math.max(pivot, smallestPivot));
    A[rowJ + j] = diagonal;
    const inverse = 1 / diagonal;
    for (let i = j + 1; i < n; i++) {
      const rowI = i * n;
      let sum = A[rowI + j];
      for (let k = 0; k < j; k++) sum -= A[rowI + k] * A[rowJ + k];
      A[rowI + j] = sum * inverse;
    }
  }
}

/** Overwrites `b [n]`, which starts at `offset`, with the solution of `L L^T x = b`. */
export function choleskySolve(L: Float64Array, n: number, b: Float64Array, offset: number): void {
  for (let i = 0; i < n; i++) {
    let sum = b[offset + i];
    for (let k = 0; k < i; k++) sum -= L[i * n + k] * b[offset + k];
    b[offset + i] = sum / L[i * n + i];
  }
  for (let i = n - 1; i >= 0; i--) {
    const x = b[offset + i] / L[i * n + i];
    b[offset + i] = x;
    for (let k = 0; k < i; k++) b[offset + k] -= L[i * n + k] * x;
  }
}

/** Updates the factor of `A` to that of `A + v v^T` (Givens rotations); `v [n]` is overwritten. */
export function choleskyUpdate(L: Float64Array, n: number, v: Float64Array): void {
  for (let k = 0; k < n; k++) {
    const diagonal = L[k * n + k];
    const radius = Math.hypot(diagonal, v[k]);
    const c = radius / diagonal;
    const s = v[k] / diagonal;
    L[k * n + k] = radius;
    for (let i = k + 1; i < n; i++) {
      const updated = (L[i * n + k] + s * v[i]) / c;
      v[i] = c * v[i] - s * updated;
      L[i * n + k] = updated;
    }
  }
}
