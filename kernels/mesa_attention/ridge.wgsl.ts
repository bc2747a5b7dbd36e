import type { Vectors } from '../common/webgpu/chunk_states.wgsl.js';
import { ROW_STATES } from '../common/webgpu/prepare.wgsl.js';
import type { BufferType, ParamType, Shader } from '../common/webgpu/shader.js';

/** Numbers of a head's prepared ridge: one per padded channel, then the smallest and whether all are usable. */
export const ridgeFloats = (padded: number): number => padded + 4;

/** How the solver reads its ridge: `ridgeQuad(head, c)`, 1 for padding, and `smallestRidgeOf(head)`. */
export interface RidgeAccess {
  readonly params: Readonly<Record<string, ParamType>>;
  readonly buffers: Readonly<Record<string, BufferType>>;
  readonly text: string;
}

/** `isTensor`: a ridge per head and channel, as `ridgesShader` leaves it; else one number for all. */
export const ridgeAccess = ({ width }: Vectors, isTensor: boolean): RidgeAccess =>
  isTensor
    ? {
        params: {},
        buffers: { ridges: { access: 'read', element: 'vec4f' } },
        text: `
fn ridgeQuad(head: u32, c: u32) -> vec4f { return ridges[head * ${width + 1}u + c]; }
fn smallestRidgeOf(head: u32) -> f32 { return ridges[head * ${width + 1}u + ${width}u].x; }`,
      }
    : {
        params: { D: 'u32', ridge: 'f32' },
        buffers: {},
        text: `
fn ridgeQuad(head: u32, c: u32) -> vec4f {
  return select(vec4f(1.0), vec4f(params.ridge), vec4u(4u * c) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.D));
}
fn smallestRidgeOf(head: u32) -> f32 { return params.ridge; }`,
      };

/**
 * A ridge tensor's numbers for some heads, `ridges [heads, Dp + 4]`: 1 for padding, and throughout where a number of it is not
 * positive and finite. One thread a number.
 */
export function ridgesShader(D: number, padded: number): Shader {
  return {
    key: `mesaRidges ${D} ${padded}`,
    workgroupSize: 64,
    params: { firstHead: 'u32', headsPerBatch: 'u32' },
    buffers: {
      ridge: { access: 'read', element: 'f32' },
      ridges: { access: 'read_write', element: 'f32' },
    },
    workgroupBytes: 0,
    text: () => `
fn ridgeOf(id: vec3u, d: u32) -> f32 { return ridge[((params.firstHead + id.y) % params.headsPerBatch) * ${D}u + d]; }
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= ${ridgeFloats(padded)}u) { return; }
  var isUsable = true;
  var smallest = 1e38;
  for (var d = 0u; d < ${D}u; d++) {
    let x = ridgeOf(id, d);
    // Infinity and NaN by their bits: a shader's compiler may take it that no number is one.
    isUsable = isUsable && x > 0.0 && (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
    smallest = min(smallest, x);
  }
  var number = 1.0;
  if (id.x < ${D}u && isUsable) { number = ridgeOf(id, id.x); }
  if (id.x == ${padded}u) { number = select(1.0, smallest, isUsable); }
  if (id.x == ${padded + 1}u) { number = select(0.0, 1.0, isUsable); }
  ridges[id.y * ${ridgeFloats(padded)}u + id.x] = number;
}`,
  };
}

/** Declares the ordinary rows of heads bad whose ridge is unusable. */
export function badRidgeShader(padded: number): Shader {
  return {
    key: `mesaBadRidge ${padded}`,
    workgroupSize: 64,
    params: { Tqp: 'u32' },
    buffers: { ridges: { access: 'read', element: 'f32' }, rowInfo: { access: 'read_write', element: 'vec2f' } },
    workgroupBytes: 0,
    text: () => `
${ROW_STATES}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let isUsable = ridges[id.y * ${ridgeFloats(padded)}u + ${padded + 1}u] > 0.0;
  if (id.x >= params.Tqp || isUsable || rowInfo[id.y * params.Tqp + id.x].y != ORDINARY) { return; }
  rowInfo[id.y * params.Tqp + id.x].y = BAD;
}`,
  };
}

/** Rows whose products one workgroup of `ridgeSumsShader` sums up. */
export const RIDGE_ROWS = 256;

/** `sums [heads of the call, parts, Dp]`: `-sum_i u_i x_i` over a part of a head's rows, NaN where one of them is bad. */
export function ridgeSumsShader(probe: Vectors, solution: Vectors): Shader {
  const number = ({ stride, offset }: Vectors): string => `rows[row * ${4 * stride}u + ${4 * offset}u + d]`;
  return {
    key: `mesaRidgeSums ${JSON.stringify([probe, solution])}`,
    workgroupSize: 64,
    params: { firstHead: 'u32', Tq: 'u32', Tqp: 'u32', parts: 'u32', nan: 'f32' },
    buffers: {
      rows: { access: 'read', element: 'f32' },
      rowInfo: { access: 'read', element: 'vec2f' },
      sums: { access: 'read_write', element: 'f32' },
    },
    workgroupBytes: 0,
    text: () => `
${ROW_STATES}
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  let head = workgroup.x;
  let part = workgroup.y;
  for (var d = tid; d < ${4 * probe.width}u; d += 64u) {
    var sum = 0.0;
    var hasBad = false;
    for (var i = part * ${RIDGE_ROWS}u; i < min((part + 1u) * ${RIDGE_ROWS}u, params.Tq); i++) {
      let row = head * params.Tqp + i;
      sum -= ${number(probe)} * ${number(solution)};
      hasBad = hasBad || rowInfo[row].y == BAD;
    }
    sums[((params.firstHead + head) * params.parts + part) * ${4 * probe.width}u + d] = select(sum, params.nan, hasBad);
  }
}`,
  };
}

/** `dridge [heads / batch, D]` from the sums of all heads and parts. One thread a number. */
export function ridgeGradientShader(D: number, padded: number): Shader {
  return {
    key: `mesaRidgeGradient ${D} ${padded}`,
    workgroupSize: 64,
    params: { batch: 'u32', headsPerBatch: 'u32', parts: 'u32' },
    buffers: { sums: { access: 'read', element: 'f32' }, dridge: { access: 'read_write', element: 'f32' } },
    workgroupBytes: 0,
    text: () => `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.headsPerBatch * ${D}u) { return; }
  let d = id.x % ${D}u;
  var sum = 0.0;
  for (var b = 0u; b < params.batch; b++) {
    let head = b * params.headsPerBatch + id.x / ${D}u;
    for (var part = 0u; part < params.parts; part++) { sum += sums[(head * params.parts + part) * ${padded}u + d]; }
  }
  dridge[id.x] = sum;
}`,
  };
}
