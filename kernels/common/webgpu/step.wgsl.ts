import { IS_FINITE } from './prepare.wgsl.js';
import type { BufferType, ParamType, Shader } from './shader.js';

/** What is written to a cache for a hidden key: the lowest float32. A bias of -Infinity is stored as this, too. */
const HIDDEN_BIAS_BITS = '0xff7fffffu';

/** Keys that a head's centre is taken over at most: any vector will do, so a few are enough. */
const CENTRE_SAMPLE = 16;

/** The most key ranges of a row: their merge is done by one workgroup, a thread for each. */
export const MOST_RANGES = 128;

/** Rows that a workgroup appends. */
export const APPENDED_ROWS = 64;

/** What a step is given for its new keys, and whether the cache has a bias. */
export interface StepKeys {
  readonly hasMask: boolean;
  readonly hasBias: boolean;
  readonly hasCachedBias: boolean;
}

/** Uniforms of every shader of a step; key `j` of `keys` stands in row `(start + j) % capacity`. */
export const stepParams: Record<string, ParamType> = {
  /** New rows of the whole step, the first of those that are handled, and how many. */
  t: 'u32',
  firstRow: 'u32',
  rows: 'u32',
  /** Keys that the last of these rows sees or would see: cached ones, then new ones. */
  keys: 'u32',
  start: 'u32',
  capacity: 'u32',
};

/** `slot(j)`: the row of the cache in which key `j` stands. */
export const SLOT = `
fn slot(j: u32) -> u32 {
  let s = params.start + j;
  return select(s, s - params.capacity, s >= params.capacity);
}`;

/** `isHidden(bias)` of a stored bias; its bits are looked at, since a shader's compiler may take it that nothing is NaN. */
export const IS_HIDDEN = `
fn isHidden(bias: f32) -> bool {
  let bits = bitcast<u32>(bias);
  return bits == 0xff800000u || (bits >= 0xff7fc99eu && bits < 0xff800000u);
}`;

const f32 = (access: BufferType['access']): BufferType => ({ access, element: 'f32' });

/**
 * Writes the new rows to the cache: `key [heads, t, D]` to `cachedKey [heads, capacity, D]`, values likewise, and the bias or
 * what hides the key to `cachedBias [heads, capacity]`. With `hasCentre` it also makes `centre [heads, Dp]`, the mean of a
 * sample of the head's visible, finite keys. The rows that it writes are none of those that it reads there.
 *
 * Workgroups: blocks of rows, heads.
 */
export function appendShader(inputs: StepKeys, D: number, Dv: number, hasCentre: boolean): Shader {
  const { hasMask, hasBias, hasCachedBias } = inputs;
  const Dp = 4 * Math.ceil(D / 4);
  const lanes = 256 / CENTRE_SAMPLE;
  const copy = (from: string, to: string, width: number): string => `
  for (var at = tid; at < count * ${width}u; at += 256u) {
    let i = first + at / ${width}u;
    ${to}[(head * params.capacity + newSlot(i)) * ${width}u + at % ${width}u] =
      ${from}[(head * params.t + params.firstRow + i) * ${width}u + at % ${width}u];
  }`;
  const sample = `
  let old = params.keys - params.rows;
  let total = select(params.rows, old, old > 0u);
  let samples = min(${CENTRE_SAMPLE}u, total);
  let s = tid / ${lanes}u;
  if (s < samples) {
    let j = s * total / samples;
    let isOld = old > 0u;
    ${
      hasCachedBias
        ? `var bias = 0.0;
    if (isOld) { bias = cachedBias[head * params.capacity + slot(j)]; } else { bias = newBias(head, params.firstRow + j); }
    var isUsed = isFinite(bias) && !isHidden(bias);`
        : 'var isUsed = true;'
    }
    for (var c = tid % ${lanes}u; c < ${D}u; c += ${lanes}u) { isUsed = isUsed && isFinite(sampled(head, j, isOld, c)); }
    if (!isUsed) { atomicOr(&unused, 1u << s); }
  }
  workgroupBarrier();
  let left = atomicLoad(&unused);
  var sum = 0.0;
  var number = 0.0;
  if (tid < ${Dp}u) {
    for (var other = 0u; other < samples; other++) {
      if ((left & (1u << other)) != 0u) { continue; }
      number += 1.0;
      if (tid < ${D}u) { sum += sampled(head, other * total / samples, old > 0u, tid); }
    }
    if (workgroup.x == 0u) { centre[head * ${Dp}u + tid] = sum / max(number, 1.0); }
  }`;
  return {
    key: `append ${JSON.stringify([inputs, D, Dv, hasCentre])}`,
    workgroupSize: 256,
    params: { ...stepParams, to: 'u32', ...(hasMask && { headsPerBatch: 'u32' as const }) },
    buffers: {
      key: f32('read'),
      value: f32('read'),
      cachedKey: f32('read_write'),
      cachedValue: f32('read_write'),
      ...(hasMask && { keyMask: { access: 'read', element: 'i32' } as const }),
      ...(hasBias && { keyBias: f32('read') }),
      ...(hasCachedBias && { cachedBias: f32('read_write') }),
      ...(hasCentre && { centre: f32('read_write') }),
    },
    workgroupBytes: hasCentre ? 16 : 0,
    text: () => `
${IS_FINITE}
${IS_HIDDEN}
${SLOT}
fn newSlot(i: u32) -> u32 {
  let s = params.to + i;
  return select(s, s - params.capacity, s >= params.capacity);
}
fn newBias(head: u32, i: u32) -> f32 {
  var bias = ${hasBias ? 'keyBias[head * params.t + i]' : '0.0'};
  ${hasMask ? `if (keyMask[(head / params.headsPerBatch) * params.t + i] == 0) { bias = bitcast<f32>(${HIDDEN_BIAS_BITS}); }` : ''}
  ${hasBias ? `if (bitcast<u32>(bias) == 0xff800000u) { bias = bitcast<f32>(${HIDDEN_BIAS_BITS}); }` : ''}
  return bias;
}
${
  hasCentre
    ? `
var<workgroup> unused: atomic<u32>;
fn sampled(head: u32, j: u32, isOld: bool, c: u32) -> f32 {
  if (isOld) { return cachedKey[(head * params.capacity + slot(j)) * ${D}u + c]; }
  return key[(head * params.t + params.firstRow + j) * ${D}u + c];
}`
    : ''
}
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  let head = workgroup.y;
  let first = workgroup.x * ${APPENDED_ROWS}u;
  let count = min(${APPENDED_ROWS}u, params.rows - first);
  ${copy('key', 'cachedKey', D)}
  ${copy('value', 'cachedValue', Dv)}
  ${hasCachedBias ? `if (tid < count) { cachedBias[head * params.capacity + newSlot(first + tid)] = newBias(head, params.firstRow + first + tid); }` : ''}
  ${hasCentre ? sample : ''}
}`,
  };
}

/**
 * `loadKey(j, ..)` in a loop over keys: declares `isSeen{s}`, `term{s}` (the bias in units of log2) and `row{s}` for key
 * `j{s}`, an expression, of head `head`, of the range that ends at `end`; a bias that is not finite marks the key as bad.
 */
export function keyState(s: number | string, hasCachedBias: boolean): string {
  return `
    let isInside${s} = j${s} < end;
    let row${s} = head * params.capacity + slot(min(j${s}, end - 1u));
    ${
      hasCachedBias
        ? `let bias${s} = cachedBias[row${s}];
    let isSeen${s} = isInside${s} && !isHidden(bias${s});
    var isBad${s} = !isFinite(bias${s});
    let term${s} = select(max(bias${s}, -1e19) * ${Math.LOG2E}, 0.0, isBad${s});`
        : `let isSeen${s} = isInside${s};
    var isBad${s} = false;
    let term${s} = 0.0;`
    }`;
}

/** `isFiniteQuad(x)`. */
export const IS_FINITE_QUAD = `
fn isFiniteQuad(x: vec4f) -> bool {
  return all((bitcast<vec4u>(x) & vec4u(0x7f800000u)) != vec4u(0x7f800000u));
}`;
