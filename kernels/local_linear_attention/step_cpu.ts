import type { TensorInfo } from '@tensorflow/tfjs-core';

import { cholesky, choleskySolve } from '../common/cpu/cholesky.js';
import { CpuCall } from '../common/cpu/problem.js';
import type { KernelCall } from '../common/kernel_call.js';
import { breakEven, DIRECT_BELOW_D, dot } from '../common/cpu/solve.js';
import { attendAndAppend, type StepAttrs, type StepRow } from '../common/cpu/step_rows.js';
import { withWorkspace, type Workspace } from '../common/cpu/workspace.js';
import type { OperatorSpec } from '../common/spec.js';
import { type LocalLinearAttentionAttrs, localLinearAttentionSpec, SMALL_RIDGE } from './spec.js';

type Attrs = LocalLinearAttentionAttrs & StepAttrs;

/** Solves `(C + ridge I) x = q - kbar` for one row after the other over the keys where they stand. */
class RowSolver {
  private readonly kbar: Float64Array;
  private readonly b: Float64Array;
  private readonly x: Float64Array;
  private readonly residual: Float64Array;
  private readonly direction: Float64Array;
  private readonly image: Float64Array;
  private readonly covariance: Float64Array;
  private readonly products: Float64Array;

  constructor(
    workspace: Workspace,
    private readonly row: StepRow<Attrs>,
    private readonly attrs: Attrs,
  ) {
    const { D } = row.dims;
    this.kbar = workspace.take(D);
    this.b = workspace.take(D);
    this.x = workspace.take(D);
    this.residual = workspace.take(D);
    this.direction = workspace.take(D);
    this.image = workspace.take(D);
    this.covariance = workspace.take(D * D);
    this.products = workspace.take(row.weights.length);
  }

  /** The probe of the loaded row; which solver it comes from is what `solve.ts` says. */
  solve(ridge: number): Float64Array {
    const { row, kbar, b, x, attrs } = this;
    const { D } = row.dims;
    kbar.fill(0);
    row.addKeys(row.weights, kbar);
    for (let d = 0; d < D; d++) b[d] = row.query[d] - kbar[d];
    x.fill(0);
    if (dot(b, 0, b, 0, D) === 0) return x;
    const { solver, maxIterations } = attrs;
    if (solver === 'conjugateGradient') {
      this.conjugateGradient(ridge, maxIterations);
    } else {
      const iterates = solver === 'auto' && D >= DIRECT_BELOW_D;
      const most = Math.min(maxIterations, breakEven(D, row.seen));
      const hasConverged = iterates && !this.isSmall(ridge) && this.conjugateGradient(ridge, most);
      if (!hasConverged) this.direct(ridge);
    }
    return x;
  }

  /** Whether the ridge is so small beside the keys' variance that a small residual promises no small error. */
  private isSmall(ridge: number): boolean {
    const { row, products, kbar } = this;
    const { D } = row.dims;
    // `sum_j p_j |y_j|^2 / D` is the mean diagonal of C.
    row.squaredDistances(kbar, products);
    return ridge < (SMALL_RIDGE * row.weightedMean(products)) / D;
  }

  private conjugateGradient(ridge: number, maxIterations: number): boolean {
    const { b, x, residual, direction, image } = this;
    const { D } = this.row.dims;
    residual.set(b);
    direction.set(b);
    let rr = dot(b, 0, b, 0, D);
    const target = this.attrs.tolerance ** 2 * rr;
    for (let iteration = 0; iteration < maxIterations; iteration++) {
      this.applyCovariance(ridge);
      const curvature = dot(direction, 0, image, 0, D);
      if (!(curvature > 0)) return false;
      const alpha = rr / curvature;
      for (let d = 0; d < D; d++) {
        x[d] += alpha * direction[d];
        residual[d] -= alpha * image[d];
      }
      const next = dot(residual, 0, residual, 0, D);
      if (next <= target) return true;
      const beta = next / rr;
      for (let d = 0; d < D; d++) direction[d] = residual[d] + beta * direction[d];
      rr = next;
    }
    return false;
  }

  /** `image = (C + ridge I) direction` */
  private applyCovariance(ridge: number): void {
    const { row, direction, image, products, kbar } = this;
    const { D } = row.dims;
    row.products(direction, products);
    const shift = dot(direction, 0, kbar, 0, D);
    let sum = 0;
    for (let j = 0; j < row.seen; j++) {
      products[j] = row.sees(j) ? row.weights[j] * (products[j] - shift) : 0;
      sum += products[j];
    }
    image.fill(0);
    row.addKeys(products, image);
    for (let d = 0; d < D; d++) image[d] += ridge * direction[d] - sum * kbar[d];
  }

  private direct(ridge: number): void {
    const { row, covariance, x, b, direction } = this;
    const { D } = row.dims;
    covariance.fill(0);
    for (let d = 0; d < D; d++) covariance[d * D + d] = ridge;
    row.addCovariance(this.kbar, covariance, direction);
    cholesky(covariance, D, ridge);
    x.set(b);
    choleskySolve(covariance, D, x, 0);
  }
}

/** `out [..., t, Dv]`; the new rows go into `cachedKey`, `cachedValue` and `cachedBias`. */
export function localLinearAttentionStepCpu(kernelCall: KernelCall): TensorInfo[] {
  const call = new CpuCall(localLinearAttentionSpec as OperatorSpec<Attrs>, kernelCall);
  const ridges = call.optionalValues('ridge');
  return withWorkspace((workspace) =>
    attendAndAppend(workspace, call, (scratch, row) => {
      const solver = new RowSolver(scratch, row, call.attrs);
      return (_, h, i) => {
        const ridge = ridges === undefined ? call.attrs.ridge : ridges[h * row.dims.Tq + i];
        return ridge > 0 && ridge < Infinity ? solver.solve(ridge) : undefined;
      };
    }),
  );
}
