import { isFlaggedRow } from './coarse_tiles.wgsl.js';
import { largestPlace, NO_WEIGHT, type ProbeKind } from './gradient_rows.wgsl.js';
import { HALF, UNITS } from './matrix.wgsl.js';
import { JOINT_SHIFT } from './matrix_tile.wgsl.js';
import { LANES, ROW_STATES, ROWS } from './prepare.wgsl.js';
import { type InfoRowLayout, rowQuad } from './row_layout.js';
import { type Shader, unroll } from './shader.js';

/** A vector of the rows that the gradient of keys multiplies: where it lies in a prepared row, and its padded length. */
export interface RowImage {
  readonly offset: number;
  readonly padded: number;
  readonly isNegated: boolean;
}

/** Query, dout, the probe if there is one, and for a solved one `-u`: in this order also the parts of a row's units. */
export function imagesOf(layout: InfoRowLayout, probe: ProbeKind): readonly RowImage[] {
  const { slots, extra } = layout;
  const plain = slots.map(({ offset, padded }) => ({ offset, padded, isNegated: false }));
  return [...plain, ...(probe === 'solved' ? [{ offset: extra, padded: slots[0].padded, isNegated: true }] : [])];
}

/** Quads of all images of a row, and where one of them begins. */
export const imageQuads = (images: readonly RowImage[]): number => imageOffset(images, images.length);
export const imageOffset = (images: readonly RowImage[], index: number): number =>
  images.slice(0, index).reduce((sum, { padded }) => sum + padded / 4, 0);

/**
 * A row's two records. First: what `p` and `eta` take, the log-sum-exp, the unit of `eta`'s products and its constant. Second: the constants
 * of `tau` and `de`, and the unit of `p tau`. Both begin with the units of query and probe, powers of two, as one number.
 */
export const RECORDS = `
fn queryUnit(record: vec4f) -> f32 { return bitcast<f32>(bitcast<u32>(record.x) & 0x7f800000u); }
fn probeUnit(record: vec4f) -> f32 { return bitcast<f32>(bitcast<u32>(record.x) << 23u); }`;

/**
 * What the gradient of keys by matrices reads of the rows: `images [heads, Tqp, quads]`, vectors of half precision, each in a unit
 * of its own (but for dout and `u`, whose units have the ratio that those of keys and values have); `records [heads, Tqp, 2]`, the rows' terms and those units as a step takes them (`RECORDS`); and `largest [heads, 2]`, the largest weights of
 * keys and of values with the rows' units, as bits. Rows of flagged tiles and those that take part in nothing are zeros.
 */
export function gradientImagesShader(layout: InfoRowLayout, probe: ProbeKind): Shader {
  const images = imagesOf(layout, probe);
  const parts = ['x', 'y', 'z', 'w'].slice(0, images.length);
  const perQuadOf = (image: number, text: string): string => {
    const { offset, padded, isNegated } = images[image];
    return `for (var c = lane; c < ${padded / 4}u; c += ${LANES}u) {
      let x = select(vec4f(), ${isNegated ? '-' : ''}${rowQuad(layout, 'row', offset, 'c')}, isUsed);
      ${text} }`;
  };
  const perImage = (text: (image: number, part: string) => string): string =>
    parts.map((part, image) => text(image, part)).join('\n');
  // Products of values with dout and of keys with u are to be in one unit.
  const joined = `
  let ofTensors = ${rowQuad(layout, 'row', layout.units ?? 0, '0u')};
  let both = max(units.y * ofTensors.y, units.w * ofTensors.x);
  units.y = both * inverseOf(ofTensors.y);
  units.w = both * inverseOf(ofTensors.x);`;
  return {
    key: `gradientImages ${JSON.stringify([layout, probe])}`,
    workgroupSize: ROWS * LANES,
    params: { Tqp: 'u32', heads: 'u32', scale: 'f32' },
    buffers: {
      rows: { access: 'read', element: 'vec4f' },
      terms: { access: 'read', element: 'vec4f' },
      flags: { access: 'read', element: 'u32' },
      images: { access: 'read_write', element: 'vec2u' },
      records: { access: 'read_write', element: 'vec4f' },
      largest: { access: 'read_write', element: 'atomic<u32>' },
    },
    workgroupBytes: 16 * ROWS * LANES + 16,
    text: () => `
${ROW_STATES}
${HALF}
${UNITS}
var<workgroup> squares: array<vec4f, ${ROWS * LANES}>;
var<workgroup> most: array<atomic<u32>, 2>;
@compute @workgroup_size(${ROWS * LANES})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  let lane = tid % ${LANES}u;
  let head = workgroup.y;
  let i = workgroup.x * ${ROWS}u + tid / ${LANES}u;
  let row = head * params.Tqp + i;
  let isUsed = !${isFlaggedRow('i')} && ${rowQuad(layout, 'row', layout.info, '0u')}.y == ORDINARY;
  var square = vec4f();
  ${perImage((image, part) => perQuadOf(image, `square.${part} += dot(x, x);`))}
  squares[tid] = square;
  workgroupBarrier();
  var all = vec4f();
  for (var other = 0u; other < ${LANES}u; other++) { all += squares[tid / ${LANES}u * ${LANES}u + other]; }
  var units = vec4f(${unroll(4, (image) => (image < parts.length ? `unitAbove(sqrt(all.${parts[image]}))` : '0.0'), ', ')});
  ${probe === 'solved' ? joined : ''}
  units *= ${1 / JOINT_SHIFT};
  ${perImage((image, part) => `{ let inverse = inverseOf(units.${part}); ${perQuadOf(image, `images[row * ${imageQuads(images)}u + ${imageOffset(images, image)}u + c] = packHalves(half(x * inverse));`)} }`)}
  if (lane == 0u) {
    let term = select(vec4f(${NO_WEIGHT}, 1.0, 0.0, 0.0), terms[row], isUsed);
    let joined = bitcast<f32>(bitcast<u32>(units.x) | (bitcast<u32>(units.z) >> 23u));
    records[2u * row] = vec4f(joined, term.x, units.y, term.z);
    records[2u * row + 1u] = vec4f(joined, term.y, term.w, units.${probe === 'solved' ? 'w' : 'y'});
    if (isUsed) {
      let weights = ${largestPlace(layout, 'row')};
      let ofKeys = max(abs(params.scale) * weights.x * units.x, max(weights.y * units.z, weights.z * units.w));
      atomicMax(&most[0], bitcast<u32>(ofKeys));
      atomicMax(&most[1], bitcast<u32>(weights.z * units.y));
    }
  }
  workgroupBarrier();
  if (tid < 2u) { atomicMax(&largest[2u * head + tid], atomicLoad(&most[tid])); }
}`,
  };
}
