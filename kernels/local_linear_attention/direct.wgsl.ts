import { PROGRESS_HEAD } from '../common/webgpu/conjugate_gradient.wgsl.js';
import { closeTo } from '../common/webgpu/gradient_keys.wgsl.js';
import { boundFunction } from '../common/webgpu/prepare.wgsl.js';
import { type AttentionShape, shapeKey, shapeParams } from '../common/webgpu/probe_attention.wgsl.js';
import { type InfoRowLayout, keyStride, rowQuad, vectorStride } from '../common/webgpu/row_layout.js';
import { rowStoreOf } from '../common/webgpu/row_store.js';
import { type BufferType, type Shader, unroll } from '../common/webgpu/shader.js';
import { HIDDEN_SCORE, LOWEST_MAXIMUM } from '../common/webgpu/softmax_weights.wgsl.js';
import {
  type DirectSizes,
  directRegion,
  dotFunction,
  forKeyTiles,
  forScores,
  LARGEST_LOCAL_D,
  sizesOf,
  solveText,
  triangle,
} from './direct_row.wgsl.js';

/** Rows whose flags a workgroup looks at together. */
export const ROWS_PER_BLOCK = 16;

interface DirectVariant {
  readonly name: string;
  readonly layout: InfoRowLayout;
  /** As in `Preparation`. */
  readonly areKeysSpread: boolean;
  readonly buffers: Record<string, BufferType>;
  readonly declarations: (sizes: DirectSizes) => string;
  /** Bytes of workgroup memory that `declarations` take. */
  readonly bytes: (sizes: DirectSizes) => number;
  /** What the right-hand side takes beyond the row's weights and mean key. */
  readonly prepare: (sizes: DirectSizes, keyQuads: number) => string;
  /** Right-hand side: expression for quad `c / 4` of row `row`. */
  readonly right: string;
  /** What follows the solve. */
  readonly use: (sizes: DirectSizes, keyQuads: number) => string;
}

function directShader(shape: AttentionShape, dimension: number, variant: DirectVariant): Shader {
  const { layout } = variant;
  const sizes = sizesOf(shape, dimension);
  const { D, quads, threads, keys, blocks, perThread } = sizes;
  const keyQuads = keyStride(shape.Dp, variant.areKeysSpread);
  const isLocal = D <= LARGEST_LOCAL_D;
  const barrier = isLocal ? 'workgroupBarrier();' : 'storageBarrier();';
  const element = isLocal ? 'triangle[place(r, c)]' : 'work[place(r, c)]';
  const form = (b: number): string => `{
      let y = staged[j * ${quads}u + rowOf${b}] * p; let z = staged[j * ${quads}u + columnOf${b}];
      ${unroll(4, (e) => `sum${b}_${e} = fma(vec4f(y[${e}]), z, sum${b}_${e});`, ' ')} }`;
  const keep = (b: number): string => `if (block${b} < ${blocks}u) {
    ${unroll(4, (e) => unroll(4, (f) => `keep(4u * rowOf${b} + ${e}u, 4u * columnOf${b} + ${f}u, sum${b}_${e}[${f}], ridge);`, ' '))} }`;
  return {
    key: `${variant.name} ${shapeKey(shape)} ${D} ${layout.quads}`,
    workgroupSize: threads,
    params: { ...shapeParams, rowBlocks: 'u32', workgroups: 'u32' },
    buffers: {
      preparedKey: { access: 'read', element: 'vec4f' },
      preparedValue: { access: 'read', element: 'vec4f' },
      ...(shape.hasKeyTerms && { keyTerms: { access: 'read', element: 'f32' } as const }),
      ...variant.buffers,
      progress: { access: 'read', element: 'u32' },
      ...(!isLocal && { work: { access: 'read_write', element: 'f32' } as const }),
    },
    // Staged keys, the triangle, four vectors, what the variant has, scores and flags.
    workgroupBytes:
      16 * keys * quads +
      (isLocal ? 4 * triangle(D) : 0) +
      16 * 4 * quads +
      variant.bytes(sizes) +
      4 * keys +
      4 * ROWS_PER_BLOCK +
      16,
    text: () => `
${boundFunction('by uniform')}
var<workgroup> staged: array<vec4f, ${keys * quads}>;
var<workgroup> query: array<vec4f, ${quads}>;
var<workgroup> base: array<vec4f, ${quads}>;
var<workgroup> mean: array<vec4f, ${quads}>;
var<workgroup> solution: array<vec4f, ${quads}>;
var<workgroup> scores: array<f32, ${keys}>;
var<workgroup> missed: array<u32, ${ROWS_PER_BLOCK}>;
var<workgroup> anyMissed: u32;
${isLocal ? `var<workgroup> triangle: array<f32, ${triangle(D)}>;` : 'var<private> region: u32;'}
${variant.declarations(sizes)}
fn place(r: u32, c: u32) -> u32 { return ${isLocal ? '' : 'region + '}r * (r + 1u) / 2u + c; }
fn entry(r: u32, c: u32) -> f32 { return ${element}; }
fn setEntry(r: u32, c: u32, x: f32) { ${element} = x; }
fn keep(r: u32, c: u32, x: f32, ridge: f32) {
  if (r < ${D}u && c <= r) { setEntry(r, c, x + select(0.0, ridge, r == c)); }
}
fn finish(score: f32, head: u32, j: u32, visible: u32) -> f32 {
  let term = ${shape.hasKeyTerms ? 'keyTerms[head * params.Tkp + min(j, params.Tkp - 1u)]' : '0.0'};
  return select(${HIDDEN_SCORE}, fma(score, params.logScale, term), j < visible);
}
@compute @workgroup_size(${threads})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  ${isLocal ? '' : `region = workgroup.x * ${directRegion(D)}u;`}
  ${unroll(
    perThread,
    (b) => `let block${b} = tid + ${b * threads}u;
  var rowOf${b} = u32((sqrt(8.0 * f32(block${b}) + 1.0) - 1.0) / 2.0);
  if (rowOf${b} * (rowOf${b} + 1u) / 2u > block${b}) { rowOf${b}--; }
  if ((rowOf${b} + 1u) * (rowOf${b} + 2u) / 2u <= block${b}) { rowOf${b}++; }
  let columnOf${b} = block${b} - rowOf${b} * (rowOf${b} + 1u) / 2u;
  rowOf${b} = min(rowOf${b}, ${quads - 1}u);`,
  )}
  for (var block = workgroup.x; block < params.rowBlocks; block += params.workgroups) {
    if (tid == 0u) { anyMissed = 0u; }
    workgroupBarrier();
    if (tid < ${ROWS_PER_BLOCK}u) {
      missed[tid] = progress[${PROGRESS_HEAD}u + block * ${ROWS_PER_BLOCK}u + tid];
      if (missed[tid] != 0u) { anyMissed = 1u; }
    }
    if (workgroupUniformLoad(&anyMissed) == 0u) { continue; }
    for (var r = 0u; r < ${ROWS_PER_BLOCK}u; r++) {
      if (workgroupUniformLoad(&missed[r]) == 0u) { continue; }
      let row = block * ${ROWS_PER_BLOCK}u + r;
      let head = row / params.Tqp;
      let i = row % params.Tqp;
      let visible = bound(i);
      let ridge = ${rowQuad(layout, 'row', layout.info, '0u')}.x;
      for (var c = tid; c < ${quads}u; c += ${threads}u) {
        query[c] = ${rowQuad(layout, 'row', layout.slots[0].offset, 'c')};
        base[c] = vec4f();
      }
      // The key of the largest weight, which all others are taken relative to: its own distance from their mean, the sum of what
      // the others have, would be lost in a difference of two large numbers.
      var top = ${LOWEST_MAXIMUM};
      var heaviest = 0u;
      ${forScores(
        sizes,
        keyQuads,
        `for (var j = 0u; j < ${keys}u; j++) {
        if (scores[j] > top) { top = scores[j]; heaviest = first + j; }
      }`,
      )}
      workgroupBarrier();
      for (var c = tid; c < ${quads}u; c += ${threads}u) { base[c] = preparedKey[(head * params.Tkp + heaviest) * ${keyQuads}u + c]; }
      top = finish(0.0, head, heaviest, visible);
      var total = 0.0;
      var sum = vec4f();
      ${forScores(
        sizes,
        keyQuads,
        `for (var j = 0u; j < ${keys}u; j++) {
        let p = exp2(scores[j] - top);
        total += p;
        if (tid < ${quads}u) { sum += p * staged[j * ${quads}u + tid]; }
      }`,
      )}
      let inverse = 1.0 / max(total, 1e-37);
      if (tid < ${quads}u) { mean[tid] = sum * inverse; }
      workgroupBarrier();
      ${variant.prepare(sizes, keyQuads)}
      ${unroll(perThread, (b) => unroll(4, (e) => `var sum${b}_${e} = vec4f();`, ' '))}
      ${forKeyTiles(
        sizes,
        keyQuads,
        `for (var j = 0u; j < ${keys}u; j++) {
        let p = scores[j];
        ${unroll(perThread, form)}
      }`,
      )}
      ${unroll(perThread, keep)}
      for (var c = tid; c < ${D}u; c += ${threads}u) {
        let b = ${variant.right};
        setEntry(${D}u, c, b[c % 4u]);
      }
      ${barrier}
      ${solveText(sizes, barrier)}
      ${variant.use(sizes, keyQuads)}
      workgroupBarrier();
    }
  }
}`,
  };
}

/**
 * Solves anew, directly, the rows that missed their tolerance, and writes their output and probe: one workgroup a row,
 * which forms `C` about the row's own mean key, factors it (Cholesky) and passes over the values.
 */
export function directForwardShader(shape: AttentionShape, layout: InfoRowLayout, D: number): Shader {
  const [out, probe] = [
    rowStoreOf('out', 'params.Dv', shape.isAlignedDv),
    rowStoreOf('probe', 'params.D', shape.isAlignedD),
  ];
  return directShader(shape, D, {
    name: 'direct',
    layout,
    areKeysSpread: false,
    buffers: { rows: { access: 'read', element: 'vec4f' }, out: out.buffer, probe: probe.buffer },
    declarations: () => `${out.text}${probe.text}`,
    bytes: () => 0,
    prepare: () => '',
    right: `${rowQuad(layout, 'row', layout.slots[1].offset, 'c / 4u')} - base[c / 4u] - mean[c / 4u]`,
    use: (sizes, keyQuads) => {
      const { quads, valueQuads, keys } = sizes;
      return `
      let target_row = (params.firstHead + head) * params.Tq + i;
      var result = vec4f();
      ${forKeyTiles(
        sizes,
        keyQuads,
        `if (tid < ${keys}u) {
        var tau = 1.0;
        for (var c = 0u; c < ${quads}u; c++) { tau += dot(solution[c], staged[tid * ${quads}u + c]); }
        scores[tid] *= tau;
      }
      workgroupBarrier();
      if (tid < ${valueQuads}u) {
        for (var j = 0u; j < ${keys}u; j++) {
          result += scores[j] * preparedValue[(head * params.Tkp + min(first + j, params.Tkp - 1u)) * ${valueQuads}u + tid];
        }
      }`,
      )}
      if (tid < ${valueQuads}u) { store_out(target_row, tid, result); }
      if (tid < ${quads}u) { store_probe(target_row, tid, solution[tid]); }`;
    },
  });
}

/**
 * The second solve of the gradient, directly, for the rows whose iteration missed: their `u` (to the rows' extra slot),
 * their terms for the pass over keys, and dq. Slots of `layout`: query, dout, probe.
 */
export function directGradientShader(shape: AttentionShape, layout: InfoRowLayout, D: number): Shader {
  const dquery = rowStoreOf('dquery', 'params.D', shape.isAlignedD);
  const [, cotangent, probe] = layout.slots.map(({ offset }) => offset);
  const gammas = ({ keys, valueQuads }: DirectSizes): string => `
      if (tid < ${keys}u) {
        var gamma = 0.0;
        let column = (head * params.Tkp + min(first + tid, params.Tkp - 1u)) * ${vectorStride(valueQuads)}u;
        for (var c = 0u; c < ${valueQuads}u; c++) { gamma += dot(cotangent[c], preparedValue[column + c] - preparedValue[own + c]); }
        gammas[tid] = gamma;
      }`;
  return directShader(shape, D, {
    name: 'directGradient',
    layout,
    areKeysSpread: true,
    buffers: {
      rows: { access: 'read_write', element: 'vec4f' },
      terms: { access: 'read_write', element: 'vec4f' },
      dquery: dquery.buffer,
    },
    bytes: ({ quads, valueQuads, keys }) => 16 * (2 * quads + valueQuads) + 4 * keys,
    declarations: ({ quads, valueQuads, keys }) => `
${dquery.text}
var<workgroup> cotangent: array<vec4f, ${valueQuads}>;
var<workgroup> probe: array<vec4f, ${quads}>;
var<workgroup> adjoint: array<vec4f, ${quads}>;
var<workgroup> gammas: array<f32, ${keys}>;
${dotFunction('overlap', 'probe', 'solution', quads)}`,
    prepare: (sizes, keyQuads) => {
      const { quads, valueQuads, keys, threads } = sizes;
      return `
      for (var c = tid; c < ${valueQuads}u; c += ${threads}u) { cotangent[c] = ${rowQuad(layout, 'row', cotangent, 'c')}; }
      for (var c = tid; c < ${quads}u; c += ${threads}u) { probe[c] = ${rowQuad(layout, 'row', probe, 'c')}; }
      // Gamma, too, is relative to the heaviest key's.
      let own = (head * params.Tkp + heaviest) * ${vectorStride(valueQuads)}u;
      var gbar = 0.0;
      ${forKeyTiles(
        sizes,
        keyQuads,
        `${gammas(sizes)}
      workgroupBarrier();
      for (var j = 0u; j < ${keys}u; j++) { gbar += scores[j] * gammas[j]; }`,
      )}
      // The sum of p y is zero but for rounding, which a small ridge multiplies: Gamma minus its mean keeps that small.
      var weighted = vec4f();
      ${forKeyTiles(
        sizes,
        keyQuads,
        `${gammas(sizes)}
      workgroupBarrier();
      if (tid < ${quads}u) {
        for (var j = 0u; j < ${keys}u; j++) { weighted += scores[j] * (gammas[j] - gbar) * staged[j * ${quads}u + tid]; }
      }`,
      )}
      if (tid < ${quads}u) { adjoint[tid] = weighted; }
      workgroupBarrier();`;
    },
    right: 'adjoint[c / 4u]',
    use: (sizes, keyQuads) => {
      const { quads, keys } = sizes;
      return `
      let constant = ridge * overlap();
      var result = vec4f();
      ${forKeyTiles(
        sizes,
        keyQuads,
        `${gammas(sizes)}
      if (tid < ${keys}u) {
        var tau = 1.0;
        var eta = gammas[tid] - gbar;
        for (var c = 0u; c < ${quads}u; c++) {
          tau += dot(probe[c], staged[tid * ${quads}u + c]);
          eta -= dot(solution[c], staged[tid * ${quads}u + c]);
        }
        scores[tid] *= tau * eta - constant;
      }
      workgroupBarrier();
      if (tid < ${quads}u) { for (var j = 0u; j < ${keys}u; j++) { result += scores[j] * staged[j * ${quads}u + tid]; } }`,
      )}
      if (tid < ${quads}u) {
        store_dquery((params.firstHead + head) * params.Tq + i, tid, params.scale * result + solution[tid]);
        rows[row * ${layout.quads}u + ${layout.extra}u + tid] = solution[tid];
        rows[row * ${layout.quads}u + ${layout.extra + shape.Dp / 4}u + tid] = mean[tid];
      }
      if (tid == 0u) {
        rows[row * ${layout.quads}u + ${layout.info}u].w = ${closeTo('heaviest')};
        terms[row] = vec4f(top + log2(total), 1.0, -gbar, constant);
      }`;
    },
  });
}
