/**
 * A view of a float64 matrix: element `(row, column)` lies at
 * `data[offset + row * rowStride + column * columnStride]`.
 *
 * Kernels of the `cpu` backend compute in float64: JavaScript has no float32 arithmetic to save time with, and the
 * solvers gain eight digits.
 */
export interface Matrix {
  readonly data: Float64Array;
  readonly offset: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

/** A row-major view of `columns` columns per row that starts at row `row`. */
export function rowMajor(data: Float64Array, columns: number, row = 0): Matrix {
  return { data, offset: row * columns, rowStride: columns, columnStride: 1 };
}

/** The same elements with rows and columns exchanged. */
export function transpose(matrix: Matrix): Matrix {
  return { ...matrix, rowStride: matrix.columnStride, columnStride: matrix.rowStride };
}

/** The view that starts at row `row`, column `column` of `matrix`. */
export function from(matrix: Matrix, row: number, column: number): Matrix {
  const offset = matrix.offset + row * matrix.rowStride + column * matrix.columnStride;
  return { ...matrix, offset };
}

/**
 * `C += A B` for `A [m, k]`, `B [k, n]`, `C [m, n]`.
 *
 * Works on 4 x 4 tiles of C held in local variables: 8 loads for 16 multiply-adds. Any of the three may be a transposed
 * view, which makes this the one product that the kernels need.
 */
export function multiplyAdd(C: Matrix, A: Matrix, B: Matrix, m: number, n: number, k: number): void {
  const m4 = m - (m % 4);
  const n4 = n - (n % 4);
  for (let j = 0; j < n4; j += 4) {
    for (let i = 0; i < m4; i += 4) multiplyAddTile(C, A, B, i, j, k);
  }
  if (m4 < m) multiplyAddEdge(C, A, B, m4, m, 0, n, k);
  if (n4 < n) multiplyAddEdge(C, A, B, 0, m4, n4, n, k);
}

function multiplyAddTile(C: Matrix, A: Matrix, B: Matrix, i: number, j: number, k: number): void {
  const a = A.data;
  const b = B.data;
  const aRow = A.rowStride;
  const aStep = A.columnStride;
  const bColumn = B.columnStride;
  const bStep = B.rowStride;
  let a0 = A.offset + i * aRow;
  let b0 = B.offset + j * bColumn;
  const a1 = aRow;
  const a2 = 2 * aRow;
  const a3 = 3 * aRow;
  const b1 = bColumn;
  const b2 = 2 * bColumn;
  const b3 = 3 * bColumn;
  let c00 = 0,
    c01 = 0,
    c02 = 0,
    c03 = 0;
  let c10 = 0,
    c11 = 0,
    c12 = 0,
    c13 = 0;
  let c20 = 0,
    c21 = 0,
    c22 = 0,
    c23 = 0;
  let c30 = 0,
    c31 = 0,
    c32 = 0,
    c33 = 0;
  for (let step = 0; step < k; step++) {
    const y0 = b[b0];
    const y1 = b[b0 + b1];
    const y2 = b[b0 + b2];
    const y3 = b[b0 + b3];
    let x = a[a0];
    c00 += x * y0;
    c01 += x * y1;
    c02 += x * y2;
    c03 += x * y3;
    x = a[a0 + a1];
    c10 += x * y0;
    c11 += x * y1;
    c12 += x * y2;
    c13 += x * y3;
    x = a[a0 + a2];
    c20 += x * y0;
    c21 += x * y1;
    c22 += x * y2;
    c23 += x * y3;
    x = a[a0 + a3];
    c30 += x * y0;
    c31 += x * y1;
    c32 += x * y2;
    c33 += x * y3;
    a0 += aStep;
    b0 += bStep;
  }
  const c = C.data;
  const cRow = C.rowStride;
  const cColumn = C.columnStride;
  let at = C.offset + i * cRow + j * cColumn;
  c[at] += c00;
  c[at + cColumn] += c01;
  c[at + 2 * cColumn] += c02;
  c[at + 3 * cColumn] += c03;
  at += cRow;
  c[at] += c10;
  c[at + cColumn] += c11;
  c[at + 2 * cColumn] += c12;
  c[at + 3 * cColumn] += c13;
  at += cRow;
  c[at] += c20;
  c[at + cColumn] += c21;
  c[at + 2 * cColumn] += c22;
  c[at + 3 * cColumn] += c23;
  at += cRow;
  c[at] += c30;
  c[at + cColumn] += c31;
  c[at + 2 * cColumn] += c32;
  c[at + 3 * cColumn] += c33;
}

function multiplyAddEdge(
  C: Matrix,
  A: Matrix,
  B: Matrix,
  rowStart: number,
  rowEnd: number,
  columnStart: number,
  columnEnd: number,
  k: number,
): void {
  for (let i = rowStart; i < rowEnd; i++) {
    for (let j = columnStart; j < columnEnd; j++) {
      let a = A.offset + i * A.rowStride;
      let b = B.offset + j * B.columnStride;
      let sum = 0;
      for (let step = 0; step < k; step++) {
        sum += A.data[a] * B.data[b];
        a += A.columnStride;
        b += B.rowStride;
      }
      C.data[C.offset + i * C.rowStride + j * C.columnStride] += sum;
    }
  }
}
