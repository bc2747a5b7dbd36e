import { IS_FINITE } from './prepare.wgsl.js';
import type { ElementMap } from './row_layout.js';
import { type BufferType, type ParamType, type Shader, unroll } from './shader.js';

export const STATE_THREADS = 256;

/** Most new tokens that a step over sums takes at a time: four threads for each. */
export const MOST_TOKENS = STATE_THREADS / 4;

/** A step of an operator that keeps sums over its keys; `map`: what is applied to the numbers of queries and keys. */
export interface StateStep {
  readonly D: number;
  readonly Dv: number;
  readonly hasMask: boolean;
  readonly map?: ElementMap | undefined;
}

const f32: BufferType = { access: 'read', element: 'f32' };
const f32Written: BufferType = { access: 'read_write', element: 'f32' };

/** Uniforms of every shader over new tokens: the step's number of them, the first that is handled, and how many. */
export const tokenParams = ({ hasMask }: StateStep, needsHeads = false): Record<string, ParamType> => ({
  t: 'u32',
  firstRow: 'u32',
  rows: 'u32',
  ...((hasMask || needsHeads) && { headsPerBatch: 'u32' as const }),
});

export const tokenBuffers = ({ Dv, hasMask }: StateStep): Record<string, BufferType> => ({
  key: f32,
  ...(Dv > 0 && { value: f32 }),
  ...(hasMask && { keyMask: { access: 'read', element: 'i32' } as const }),
});

/** `isUsed(j)`: key `j` of the tokens that `readTokens` has looked at is visible and finite; `mapped(x)`; `isFinite(x)`. */
export const declareTokens = ({ map }: StateStep): string => `
${IS_FINITE}
${map ? `${map.text}\nfn mapped(x: f32) -> f32 { return ${map.name}(vec4f(x)).x; }` : 'fn mapped(x: f32) -> f32 { return x; }'}
const isHidden = 1u;
const isNotFinite = 2u;
var<workgroup> tokens: array<atomic<u32>, ${MOST_TOKENS}>;
fn isUsed(j: u32) -> bool { return atomicLoad(&tokens[j]) == 0u; }`;

/** Looks at the first `count` of the tokens, of their keys alone where `Dv` is 0, an expression, and declares `firstToken`, where they begin; a barrier follows. */
export const readTokens = ({ D, Dv, hasMask }: StateStep, count: string): string => `
  let firstToken = head * params.t + params.firstRow;
  for (var at = tid; at < ${count} * ${D + Dv}u; at += ${STATE_THREADS}u) {
    let j = at / ${D + Dv}u;
    let c = at % ${D + Dv}u;
    var x = 0.0;
    ${Dv > 0 ? `if (c >= ${D}u) { x = value[(firstToken + j) * ${Dv}u + c - ${D}u]; } else` : ''} { x = key[(firstToken + j) * ${D}u + c]; }
    if (!isFinite(x)) { atomicOr(&tokens[j], isNotFinite); }
  }
  ${hasMask ? `if (tid < ${count} && keyMask[(head / params.headsPerBatch) * params.t + params.firstRow + tid] == 0) { atomicOr(&tokens[tid], isHidden); }` : ''}
  workgroupBarrier();`;

/** Declares `seen`, the visible keys up to the last of `count` tokens, and `seesBad`, whether one of them is not finite. */
const countTokens = (count: string): string => `
  let before = keyCount[head];
  var seen = before;
  var seesBad = !isFinite(before);
  for (var j = 0u; j < ${count}; j++) {
    let token = atomicLoad(&tokens[j]);
    if ((token & isHidden) != 0u) { continue; }
    seen += 1.0;
    seesBad = seesBad || (token & isNotFinite) != 0u;
  }`;

/** What a shader of an operator's rows is made of, besides the operator's own text. */
export interface StateRows {
  readonly params: Readonly<Record<string, ParamType>>;
  readonly buffers: Readonly<Record<string, BufferType>>;
  readonly workgroupBytes: number;
  readonly declarations: string;
  /** Declares `head`, `row`, `count`, `seen`, `seesBad` and fills `left` with the mapped query. A barrier follows. */
  readonly begin: string;
  /** Puts `sum_j (left . phi_j) [j is used]` for the new tokens `j` into `products`, where `useProducts` reads them. */
  readonly products: string;
  /** Writes `factor (left^T keyValueSum + products^T V)`, for an expression `factor`; zeros for blind rows. */
  write(factor: string): string;
}

/** The frame of the rows of a step over sums: one workgroup a row, `out [heads, t, Dv]`. Workgroups: rows, heads. */
export function stateRows(step: StateStep): StateRows {
  const { D, Dv } = step;
  const columns = Math.min(STATE_THREADS, 2 ** Math.ceil(Math.log2(Dv)));
  const groups = STATE_THREADS / columns;
  return {
    params: { ...tokenParams(step), nan: 'f32' },
    buffers: { query: f32, ...tokenBuffers(step), keyValueSum: f32, keyCount: f32, out: f32Written },
    workgroupBytes: 4 * (MOST_TOKENS + D + MOST_TOKENS + STATE_THREADS) + 4,
    declarations: `${declareTokens(step)}
var<workgroup> left: array<f32, ${D}>;
var<workgroup> products: array<f32, ${MOST_TOKENS}>;
var<workgroup> parts: array<f32, ${STATE_THREADS}>;
var<workgroup> isBadQuery: atomic<u32>;`,
    begin: `
  let head = workgroup.y;
  let row = head * params.t + params.firstRow + workgroup.x;
  let count = workgroup.x + 1u;
  for (var c = tid; c < ${D}u; c += ${STATE_THREADS}u) {
    let x = query[row * ${D}u + c];
    if (!isFinite(x)) { atomicOr(&isBadQuery, 1u); }
    left[c] = mapped(x);
  }
  ${readTokens(step, 'count')}
  ${countTokens('count')}`,
    products: `
  {
    let j = tid / 4u;
    var product = 0.0;
    if (j < count && isUsed(j)) {
      for (var c = tid % 4u; c < ${D}u; c += 4u) { product = fma(left[c], mapped(key[(firstToken + j) * ${D}u + c]), product); }
    }
    parts[tid] = product;
    workgroupBarrier();
    if (tid < ${MOST_TOKENS}u) { products[tid] = ${unroll(4, (e) => `parts[4u * tid + ${e}u]`, ' + ')}; }
    workgroupBarrier();
  }`,
    write: (factor) => `
  let isBlind = !seesBad && seen == 0.0;
  let isBadRow = seesBad || atomicLoad(&isBadQuery) != 0u;
  for (var first = 0u; first < ${Dv}u; first += ${columns}u) {
    let d = first + tid % ${columns}u;
    let group = tid / ${columns}u;
    var sum = 0.0;
    if (d < ${Dv}u) {
      for (var r = group; r < ${D}u; r += ${groups}u) { sum = fma(left[r], keyValueSum[(head * ${D}u + r) * ${Dv}u + d], sum); }
      for (var j = group; j < count; j += ${groups}u) {
        if (isUsed(j)) { sum = fma(products[j], value[(firstToken + j) * ${Dv}u + d], sum); }
      }
    }
    parts[tid] = sum;
    workgroupBarrier();
    if (tid < ${columns}u && d < ${Dv}u) {
      for (var other = 1u; other < ${groups}u; other++) { sum += parts[other * ${columns}u + tid]; }
      out[row * ${Dv}u + d] = select(select(sum * ${factor}, params.nan, isBadRow), 0.0, isBlind);
    }
    workgroupBarrier();
  }`,
  };
}

/** Sums of a step's state beside `keyValueSum [heads, D, Dv]` and `count [heads]`. */
export type LeftSum = 'keySum' | 'keyKeySum';

/**
 * Adds tokens to the sums: `sum_j phi_j` or `sum_j phi_j phi_j^T`, `sum_j phi_j v_j^T`, and to the number of keys, which
 * becomes not a number with the first key that is not finite. One thread for each number. Workgroups: blocks of numbers, heads.
 */
export function stateSumsShader(step: StateStep, leftSum: LeftSum): Shader {
  const { D, Dv } = step;
  const leftColumns = leftSum === 'keySum' ? 1 : D;
  const columns = leftColumns + Dv;
  const key = `mapped(key[(firstToken + j) * ${D}u + r])`;
  const other = leftSum === 'keySum' ? '1.0' : `mapped(key[(firstToken + j) * ${D}u + c])`;
  return {
    key: `stateSums ${JSON.stringify([step, leftSum])}`,
    workgroupSize: STATE_THREADS,
    params: { ...tokenParams(step), nan: 'f32' },
    buffers: { ...tokenBuffers(step), [leftSum]: f32Written, keyValueSum: f32Written, keyCount: f32Written },
    workgroupBytes: 4 * MOST_TOKENS,
    text: () => `
${declareTokens(step)}
@compute @workgroup_size(${STATE_THREADS})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  let head = workgroup.y;
  ${readTokens(step, 'params.rows')}
  let at = workgroup.x * ${STATE_THREADS}u + tid;
  let r = at / ${columns}u;
  let c = at % ${columns}u;
  if (r < ${D}u) {
    var sum = 0.0;
    for (var j = 0u; j < params.rows; j++) {
      if (!isUsed(j)) { continue; }
      if (c < ${leftColumns}u) { sum = fma(${key}, ${other}, sum); }
      else { sum = fma(${key}, value[(firstToken + j) * ${Dv}u + c - ${leftColumns}u], sum); }
    }
    if (c < ${leftColumns}u) { ${leftSum}[(head * ${D}u + r) * ${leftColumns}u + c] += sum; }
    else { keyValueSum[(head * ${D}u + r) * ${Dv}u + c - ${leftColumns}u] += sum; }
  }
  if (at == 0u) {
    ${countTokens('params.rows')}
    keyCount[head] = select(seen, params.nan, seesBad);
  }
}`,
  };
}

/** Workgroups a head of the shader that adds tokens to the sums. */
export const stateSumsWorkgroups = ({ D, Dv }: StateStep, leftSum: LeftSum): number =>
  Math.ceil((D * (Dv + (leftSum === 'keySum' ? 1 : D))) / STATE_THREADS);
