/** How a workgroup factors a symmetric positive definite system and solves it for one right-hand side. */
export interface Factor {
  readonly D: number;
  readonly threads: number;
  /** Whether the triangle lies in workgroup memory (`triangle`) or in the buffer `work`, from `region` on. */
  readonly isLocal: boolean;
}

/** Numbers of the lower triangle with the right-hand side as one more row. */
export const factorFloats = (D: number): number => ((D + 1) * (D + 2)) / 2;

/** `entry(r, c)` and `setEntry(r, c, x)` of the lower triangle; row D is the right-hand side. */
export function declareFactor({ D, isLocal }: Factor): string {
  const element = isLocal ? 'triangle[place(r, c)]' : 'work[place(r, c)]';
  return `
${isLocal ? `var<workgroup> triangle: array<f32, ${factorFloats(D)}>;` : 'var<private> region: u32;'}
var<workgroup> solution: array<f32, ${4 * Math.ceil(D / 4)}>;
fn place(r: u32, c: u32) -> u32 { return ${isLocal ? '' : 'region + '}r * (r + 1u) / 2u + c; }
fn entry(r: u32, c: u32) -> f32 { return ${element}; }
fn setEntry(r: u32, c: u32, x: f32) { ${element} = x; }`;
}

/** Bytes of workgroup memory that `declareFactor` takes. */
export const factorBytes = ({ D, isLocal }: Factor): number =>
  (isLocal ? 4 * factorFloats(D) : 0) + 16 * Math.ceil(D / 4);

/**
 * Solves in place and writes `solution`, zeros in its padding; `ridge(k)` is a lower bound of pivot `k`, an expression.
 *
 * Right-looking elimination without square roots: a column stays as it is when its turn is over (`L_rk d_k`), and only the
 * columns behind it are written, so one barrier a column is enough. The right-hand side, eliminated as one more row, is
 * the forward substitution. A barrier must have followed the entries.
 */
export function solveFactor({ D, threads, isLocal }: Factor, ridge: string): string {
  const barrier = isLocal ? 'workgroupBarrier();' : 'storageBarrier(); workgroupBarrier();';
  const columns = 16;
  return `
  for (var k = 0u; k < ${D}u; k++) {
    let inverse = 1.0 / max(entry(k, k), ${ridge});
    for (var r = k + 1u + tid / ${columns}u; r <= ${D}u; r += ${threads / columns}u) {
      let factor = entry(r, k) * inverse;
      for (var c = k + 1u + tid % ${columns}u; c <= min(r, ${D - 1}u); c += ${columns}u) {
        setEntry(r, c, entry(r, c) - factor * entry(c, k));
      }
    }
    ${barrier}
  }
  for (var back = 0u; back < ${D}u; back++) {
    let k = ${D - 1}u - back;
    let x = entry(${D}u, k) / max(entry(k, k), ${ridge});
    if (tid == 0u) { solution[k] = x; }
    for (var c = tid; c < k; c += ${threads}u) { setEntry(${D}u, c, entry(${D}u, c) - entry(k, c) * x); }
    ${barrier}
  }
  if (tid >= ${D}u && tid < ${4 * Math.ceil(D / 4)}u) { solution[tid] = 0.0; }
  workgroupBarrier();`;
}
