import type { AttentionShape } from '../common/webgpu/probe_attention.wgsl.js';

/*
 * What a workgroup of the direct solver does for a row: walks over its keys, factors, solves (direct.wgsl.ts).
 */

/** Up to this head dimension the factor of `D (D + 1) / 2` numbers fits in workgroup memory beside the staged keys. */
export const LARGEST_LOCAL_D = 64;

/** Numbers of the lower triangle of `C + ridge I` with the right-hand side as one more row. */
export const triangle = (D: number): number => ((D + 1) * (D + 2)) / 2;

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

export interface DirectSizes {
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

export function sizesOf({ Dvp }: AttentionShape, dimension: number): DirectSizes {
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

/** Walks over the keys of the row by tiles: those keys minus `base` are staged, and `scores` known, before `body`. */
export function forScores({ quads, keys, threads }: DirectSizes, keyQuads: number, body: string): string {
  return `
  for (var first = 0u; first < visible; first += ${keys}u) {
    workgroupBarrier();
    for (var at = tid; at < ${keys * quads}u; at += ${threads}u) {
      let j = first + at / ${quads}u;
      staged[at] = preparedKey[(head * params.Tkp + min(j, params.Tkp - 1u)) * ${keyQuads}u + at % ${quads}u] - base[at % ${quads}u];
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

/**
 * The same with the scores of the keys minus `base`, which are the same numbers in every pass, made weights that add up to 1, and
 * then the mean taken out of the staged keys as well. Both differences are stored: one of three terms might be put together
 * otherwise.
 */
export const forKeyTiles = (sizes: DirectSizes, keyQuads: number, body: string): string =>
  forScores(
    sizes,
    keyQuads,
    `for (var at = tid; at < ${sizes.keys * sizes.quads}u; at += ${sizes.threads}u) { staged[at] -= mean[at % ${sizes.quads}u]; }
    if (tid < ${sizes.keys}u) { scores[tid] = exp2(scores[tid] - top) * inverse; }
    workgroupBarrier();
    ${body}`,
  );

/** Factors `C + ridge I` and solves, in place, by right-looking elimination; the right-hand side is row D. */
export function solveText({ D, threads }: DirectSizes, barrier: string): string {
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
export const dotFunction = (name: string, a: string, b: string, quads: number): string =>
  `fn ${name}() -> f32 { var sum = 0.0; for (var c = 0u; c < ${quads}u; c++) { sum += dot(${a}[c], ${b}[c]); } return sum; }`;
