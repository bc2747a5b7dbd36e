import type { AttentionAttrs } from '../spec.js';
import type { Output, WebGpuCall } from './call.js';
import type { Shader } from './shader.js';
import { type LeftSum, MOST_TOKENS, stateSumsShader, stateSumsWorkgroups, type StateStep } from './state_step.wgsl.js';
import type { StepAttrs } from '../step_parts.js';

/** A shader over new tokens. */
export interface StatePass {
  readonly shader: Shader;
  /** Its buffers besides those of every step, or in place of them. */
  readonly buffers?: Readonly<Record<string, GPUBuffer>>;
}

/** How an operator steps that keeps sums over its keys. */
export interface StateOperator {
  readonly step: StateStep;
  readonly leftSum: LeftSum;
  /** The shaders that make its rows, in order; the last writes `out`. None where tokens are only appended. */
  readonly rows?: readonly StatePass[];
  /** Uniforms of `rows` besides those of every step. */
  readonly params?: Readonly<Record<string, number>>;
}

/** Rows of new tokens against the sums, then the tokens' share of these: some tokens at a time. */
export function stateStep<Attrs extends AttentionAttrs & StepAttrs>(
  call: WebGpuCall<Attrs>,
  operator: StateOperator,
): Output[] {
  const { step, leftSum, rows: passes = [] } = operator;
  const { heads, batch, Tq: t } = call.dims;
  const outputs = passes.length > 0 ? [call.output(call.resultShape)] : [];
  const names = ['query', 'key', 'value', 'keyMask', 'keyValueSum', leftSum, 'ridge'];
  const buffers = {
    ...Object.fromEntries(names.filter((name) => call.has(name)).map((name) => [name, call.input(name)])),
    keyCount: call.input('count'),
    ...Object.fromEntries(outputs.map(({ buffer }) => ['out', buffer])),
  };
  for (let firstRow = 0; firstRow < t; firstRow += MOST_TOKENS) {
    const rows = Math.min(MOST_TOKENS, t - firstRow);
    const params = { ...operator.params, t, firstRow, rows, headsPerBatch: heads / batch, nan: NaN };
    for (const { shader, buffers: own } of passes) call.run(shader, { ...buffers, ...own }, params, [rows, heads]);
    call.run(stateSumsShader(step, leftSum), buffers, params, [stateSumsWorkgroups(step, leftSum), heads]);
  }
  return outputs;
}
