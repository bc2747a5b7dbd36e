import { PROGRESS_HEAD } from '../common/webgpu/conjugate_gradient.wgsl.js';
import { boundFunction } from '../common/webgpu/prepare.wgsl.js';
import { type AttentionShape, shapeKey, shapeParams } from '../common/webgpu/probe_attention.wgsl.js';
import { type InfoRowLayout, keyStride, rowQuad, vectorStride } from '../common/webgpu/row_layout.js';
import { rowStoreOf } from '../common/webgpu/row_store.js';
import { type BufferType, type Shader, unroll } from '../common/webgpu/shader.js';
import { HIDDEN_SCORE } from '../common/webgpu/softmax_weights.wgsl.js';

/** Rows whose flags a workgroup looks at together. */
export const ROWS_PER_BLOCK = 16;

/** Up to this head dimension the factor of `D (D + 1) / 2` numbers fits in workgroup memory beside the staged keys. */
const LARGEST_LOCAL_D = 64;

/** Numbers of the lower triangle of `C + ridge I` with the right-hand side as one more row. */
const triangle = (D: number): number => ((D + 1) * (D + 2)) / 2;

/**
 * The system is padded to a multiple of eight, so that few shaders serve all dimensions: padding has the ridge on its
 * diagonal and zeros elsewhere, and so the solution zero.
 */
const systemSize = (D: number): number => Math.ceil(D / 8) * 8;

/** Numbers of `work` that a running workgroup takes. */
export const directRegion = (D: number): number =>
  D > LARGEST_LOCAL_D ? Math.ceil(triangle(systemSize(D)) / 4) * 4 : 0;

/** Keys staged at a time: 4 KiB of them. */
const stagedKeys = (quads: number): number => Math.max(4, Math.min(32, Math.floor(256 / quads)));

interface DirectSizes {
  readonly D: number;
  /** Quads of a key, and of a value. */
  readonly quads: number;
  readonly valueQuads: number;
  readonly threads: number;
  readonly keys: number;
  /** 4 x 4 blocks of the lower triangle, and how many of them a thread forms. */
  readonly blocks: number;
  readonly perThread: number;
}

function sizesOf({ Dvp }: AttentionShape, dimension: number): DirectSizes {
  const D = systemSize(dimension);
  const quads = Math.ceil(D / 4);
  const blocks = (quads * (quads + 1)) / 2;
  const threads = blocks <= 64 ? 64 : blocks <= 128 ? 128 : 256;
  return {
    D,
    quads,
    valueQuads: Dvp / 4,
    threads,
    keys: stagedKeys(quads),
    blocks,
    perThread: Math.ceil(blocks / threads),
  };
}

/** Runs `body` for every key tile of the row: keys minus `kbar` are staged and their weights `p` known. */
function forKeyTiles({ quads, keys, threads }: DirectSizes, keyQuads: number, body: string): string {
  return `
  for (var first = 0u; first < visible; first += ${keys}u) {
    workgroupBarrier();
    for (var at = tid; at < ${keys * quads}u; at += ${threads}u) {
      let j = first + at / ${quads}u;
      staged[at] = preparedKey[(head * params.Tkp + min(j, params.Tkp - 1u)) * ${keyQuads}u + at % ${quads}u] - kbar[at % ${quads}u];
    }
    workgroupBarrier();
    if (tid < ${keys}u) {
      var score = 0.0;
      for (var c = 0u; c < ${quads}u; c++) { score += dot(query[c], staged[tid * ${quads}u + c]); }
      scores[tid] = finish(score, head, first + tid, visible);
    }
    workgroupBarrier();
    ${body}
  }`;
}

/** Factors `C + ridge I` and solves, in place, by right-looking elimination; the right-hand side is row D. */
function solveText({ D, threads }: DirectSizes, barrier: string): string {
  return `
  for (var k = 0u; k < ${D}u; k++) {
    // Every pivot is at least the smallest eigenvalue, which is at least the ridge.
    let pivot = sqrt(max(entry(k, k), ridge));
    ${barrier}
    for (var r = k + tid; r <= ${D}u; r += ${threads}u) { setEntry(r, k, select(entry(r, k) / pivot, pivot, r == k)); }
    ${barrier}
    for (var r = k + 1u + tid / 16u; r <= ${D}u; r += ${threads / 16}u) {
      let factor = entry(r, k);
      for (var c = k + 1u + tid % 16u; c <= min(r, ${D - 1}u); c += 16u) { setEntry(r, c, entry(r, c) - factor * entry(c, k)); }
    }
    ${barrier}
  }
  for (var back = 0u; back < ${D}u; back++) {
    let k = ${D - 1}u - back;
    let x = entry(${D}u, k) / entry(k, k);
    ${barrier}
    if (tid == 0u) { setEntry(${D}u, k, x); }
    for (var c = tid; c < k; c += ${threads}u) { setEntry(${D}u, c, entry(${D}u, c) - entry(k, c) * x); }
    ${barrier}
  }
  for (var c = tid; c < ${Math.ceil(D / 4)}u; c += ${threads}u) {
    var x = vec4f();
    for (var e = 0u; e < min(4u, ${D}u - 4u * c); e++) { x[e] = entry(${D}u, 4u * c + e); }
    solution[c] = x;
  }
  workgroupBarrier();`;
}

/** Scalar products of vectors in workgroup memory, by every thread for itself. */
const dotFunction = (name: string, a: string, b: string, quads: number): string =>
  `fn ${name}() -> f32 { var sum = 0.0; for (var c = 0u; c < ${quads}u; c++) { sum += dot(${a}[c], ${b}[c]); } return sum; }`;

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
    // Staged keys, the triangle, three vectors, scores and flags.
    workgroupBytes:
      16 * keys * quads +
      (isLocal ? 4 * triangle(D) : 0) +
      16 * (4 * quads + shape.Dvp / 4) +
      4 * keys +
      4 * ROWS_PER_BLOCK +
      16,
    text: () => `
${boundFunction('by uniform')}
var<workgroup> staged: array<vec4f, ${keys * quads}>;
var<workgroup> query: array<vec4f, ${quads}>;
var<workgroup> kbar: array<vec4f, ${quads}>;
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
        kbar[c] = vec4f();
      }
      var top = -1e20;
      var total = 0.0;
      var mean = vec4f();
      ${forKeyTiles(
        sizes,
        keyQuads,
        `var raised = top;
      for (var j = 0u; j < ${keys}u; j++) { raised = max(raised, scores[j]); }
      let factor = exp2(max(top - raised, -200.0));
      total *= factor;
      mean *= factor;
      top = raised;
      for (var j = 0u; j < ${keys}u; j++) {
        let p = exp2(scores[j] - top);
        total += p;
        if (tid < ${quads}u) { mean += p * staged[j * ${quads}u + tid]; }
      }`,
      )}
      let inverse = 1.0 / max(total, 1e-37);
      workgroupBarrier();
      if (tid < ${quads}u) { kbar[tid] = mean * inverse; }
      workgroupBarrier();
      // From here on scores are relative to the mean key's, so that staged keys serve them as well.
      let logSumExp = top + log2(max(total, 1e-37));
      top -= params.logScale * queryMean();
      ${variant.prepare(sizes, keyQuads)}
      ${unroll(perThread, (b) => unroll(4, (e) => `var sum${b}_${e} = vec4f();`, ' '))}
      ${forKeyTiles(
        sizes,
        keyQuads,
        `for (var j = 0u; j < ${keys}u; j++) {
        let p = exp2(scores[j] - top) * inverse;
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
}
${dotFunction('queryMean', 'query', 'kbar', quads)}`,
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
    right: `${rowQuad(layout, 'row', layout.slots[1].offset, 'c / 4u')} - kbar[c / 4u]`,
    use: (sizes, keyQuads) => {
      const { quads, valueQuads, keys } = sizes;
      return `
      let target_row = (params.firstHead + head) * params.Tq + i;
      var sum = vec4f();
      ${forKeyTiles(
        sizes,
        keyQuads,
        `if (tid < ${keys}u) {
        var tau = 1.0;
        for (var c = 0u; c < ${quads}u; c++) { tau += dot(solution[c], staged[tid * ${quads}u + c]); }
        scores[tid] = exp2(scores[tid] - top) * inverse * tau;
      }
      workgroupBarrier();
      if (tid < ${valueQuads}u) {
        for (var j = 0u; j < ${keys}u; j++) {
          sum += scores[j] * preparedValue[(head * params.Tkp + min(first + j, params.Tkp - 1u)) * ${valueQuads}u + tid];
        }
      }`,
      )}
      if (tid < ${valueQuads}u) { store_out(target_row, tid, sum); }
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
        for (var c = 0u; c < ${valueQuads}u; c++) { gamma += dot(cotangent[c], preparedValue[column + c]); }
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
      var gbar = 0.0;
      var weighted = vec4f();
      ${forKeyTiles(
        sizes,
        keyQuads,
        `${gammas(sizes)}
      workgroupBarrier();
      for (var j = 0u; j < ${keys}u; j++) {
        let p = exp2(scores[j] - top) * inverse * gammas[j];
        gbar += p;
        if (tid < ${quads}u) { weighted += p * staged[j * ${quads}u + tid]; }
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
      var sum = vec4f();
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
        scores[tid] = exp2(scores[tid] - top) * inverse * (tau * eta - constant);
      }
      workgroupBarrier();
      if (tid < ${quads}u) { for (var j = 0u; j < ${keys}u; j++) { sum += scores[j] * staged[j * ${quads}u + tid]; } }`,
      )}
      if (tid < ${quads}u) {
        store_dquery((params.firstHead + head) * params.Tq + i, tid, params.scale * sum + solution[tid]);
        rows[row * ${layout.quads}u + ${layout.extra}u + tid] = solution[tid];
        rows[row * ${layout.quads}u + ${layout.extra + shape.Dp / 4}u + tid] = kbar[tid];
      }
      if (tid == 0u) {
        rows[row * ${layout.quads}u + ${layout.info}u].w = 1.0;
        terms[row] = vec4f(logSumExp, 1.0, -gbar, constant);
      }`;
    },
  });
}
