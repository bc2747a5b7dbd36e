import { UNITS } from './matrix.wgsl.js';
import type { RowLayout, Slot } from './row_layout.js';
import { rowLoad } from './row_load.js';
import { type BufferType, type ParamType, type Shader, unroll } from './shader.js';

/** Rows that one workgroup prepares, and the threads that share a row. */
export const ROWS = 16;
export const LANES = 16;

/** Keys that a head's centre is taken over at most: any vector will do, so a sample is enough. */
const CENTRE_SAMPLE = 64;

export const f32 = (access: BufferType['access']): BufferType => ({ access, element: 'f32' });
export const vec4 = (access: BufferType['access']): BufferType => ({ access, element: 'vec4f' });

/** Infinities and NaN are told by their bits: a shader's compiler may take it that no number is one. */
export const IS_FINITE = 'fn isFinite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }';

/** Expression: whether `quad`, a name, is finite. */
const areFinite = (quad: string): string => ['x', 'y', 'z', 'w'].map((e) => `isFinite(${quad}.${e})`).join(' && ');

/** What hides a key: one of both inputs at most (`foldMaskShader`). */
export interface KeyInputs {
  readonly hasMask: boolean;
  readonly hasBias: boolean;
}

export const keyBuffers = ({ hasMask, hasBias }: KeyInputs): Record<string, BufferType> => ({
  ...(hasMask && { keyMask: { access: 'read', element: 'i32' } as const }),
  ...(hasBias && { keyBias: f32('read') }),
});

/** `isVisible(head, j)` and `bias(head, j)`. */
export const keyFunctions = ({ hasMask, hasBias }: KeyInputs): string => `
fn isVisible(head: u32, j: u32) -> bool {
  var visible = true;
  ${hasMask ? 'visible = visible && keyMask[(head / params.headsPerBatch) * params.Tk + j] != 0;' : ''}
  ${hasBias ? 'visible = visible && bitcast<u32>(keyBias[head * params.Tk + j]) != 0xff800000u;' : ''}
  return visible;
}
fn bias(head: u32, j: u32) -> f32 { return ${hasBias ? 'keyBias[head * params.Tk + j]' : '0.0'}; }`;

export const sharedParams: Record<string, ParamType> = {
  firstHead: 'u32',
  headsPerBatch: 'u32',
  Tq: 'u32',
  Tk: 'u32',
};

/**
 * The centre of every head's keys, or of its values, `[heads, Dp]`: the mean of a sample of those that are visible and finite;
 * behind it, at `heads Dp + head`, the mean over channels of their variance. One workgroup a head: what it waits for is memory, so every
 * thread loads all of its quads, those of `CENTRE_SAMPLE / ROWS` keys, before it needs one.
 */
export function centreShader(inputs: KeyInputs, slot: Slot): Shader {
  const { name, width: D, padded: Dp } = slot;
  const threads = ROWS * LANES;
  const perThread = CENTRE_SAMPLE / ROWS;
  const each = (text: (s: number) => string): string => unroll(perThread, text);
  // Every thread asks for a quad in each turn, there may be none.
  const load = rowLoad(name, D, true);
  return {
    key: `centre ${JSON.stringify(inputs)} ${name} D${D} Dp${Dp}`,
    workgroupSize: threads,
    params: { ...sharedParams, heads: 'u32' },
    buffers: { [name]: load.buffer, ...keyBuffers(inputs), centre: f32('read_write') },
    workgroupBytes: 4 * threads + 16 * threads + 4 * threads,
    text: () => `
${IS_FINITE}
${keyFunctions(inputs)}
${load.text}
var<workgroup> shares: array<u32, ${threads}>;
var<workgroup> sums: array<vec4f, ${threads}>;
var<workgroup> variances: array<f32, ${threads}>;
@compute @workgroup_size(${threads})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  let row = tid / ${LANES}u;
  let lane = tid % ${LANES}u;
  let head = params.firstHead + workgroup.x;
  let samples = min(${CENTRE_SAMPLE}u, params.Tk);
  var used = 0u;
  ${each(
    (s) => `let source${s} = head * params.Tk + min(row + ${ROWS * s}u, samples - 1u) * params.Tk / samples;
  { let source = source${s}; let j = source - head * params.Tk;
    var finite = row + ${ROWS * s}u < samples && isVisible(head, j) && isFinite(bias(head, j));
    for (var c = lane; c < ${Math.ceil(D / 4)}u; c += ${LANES}u) {
      let x = load_${name}(source, c);
      finite = finite && ${areFinite('x')};
    }
    used |= select(0u, ${2 ** s}u, finite); }`,
  )}
  shares[tid] = used;
  workgroupBarrier();
  for (var other = 0u; other < ${LANES}u; other++) { used &= shares[row * ${LANES}u + other]; }
  workgroupBarrier();
  shares[tid] = countOneBits(used);
  workgroupBarrier();
  var uses = 0u;
  for (var other = 0u; other < ${ROWS}u; other++) { uses += shares[other * ${LANES}u]; }
  let count = max(f32(uses), 1.0);
  var squares = 0.0;
  for (var c0 = 0u; c0 < ${Dp / 4}u; c0 += ${LANES}u) {
    let c = c0 + lane;
    ${each((s) => `let x${s} = select(vec4f(), load_${name}(source${s}, c), (used & ${2 ** s}u) != 0u);`)}
    workgroupBarrier();
    sums[tid] = ${unroll(perThread, (s) => `x${s}`, ' + ')};
    workgroupBarrier();
    var mean = vec4f();
    for (var other = 0u; other < ${ROWS}u; other++) { mean += sums[other * ${LANES}u + lane]; }
    mean /= count;
    ${each((s) => `{ let y = select(vec4f(), x${s} - mean, (used & ${2 ** s}u) != 0u && 4u * c < ${D}u); squares += dot(y, y); }`)}
    if (row == 0u && c < ${Dp / 4}u) {
      for (var e = 0u; e < 4u; e++) { centre[workgroup.x * ${Dp}u + 4u * c + e] = mean[e]; }
    }
  }
  variances[tid] = squares;
  workgroupBarrier();
  for (var half = ${threads / 2}u; half > 0u; half /= 2u) {
    if (tid < half) { variances[tid] += variances[tid + half]; }
    workgroupBarrier();
  }
  if (tid == 0u) { centre[params.heads * ${Dp}u + workgroup.x] = variances[0] / (count * ${D}.0); }
}`,
  };
}

/**
 * A mask and a bias in one: `foldedBias [heads, Tk]` is the bias, -Infinity where the mask hides the key. Together they
 * would take one storage buffer more than the default limits give a shader.
 */
export function foldMaskShader(): Shader {
  return {
    key: 'foldMask',
    workgroupSize: 256,
    params: { firstHead: 'u32', headsPerBatch: 'u32', Tk: 'u32' },
    buffers: {
      keyMask: { access: 'read', element: 'i32' },
      keyBias: { access: 'read', element: 'u32' },
      foldedBias: { access: 'read_write', element: 'u32' },
    },
    workgroupBytes: 0,
    text: () => `
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.Tk) { return; }
  let head = params.firstHead + id.y;
  let at = head * params.Tk + id.x;
  let visible = keyMask[(head / params.headsPerBatch) * params.Tk + id.x] != 0;
  foldedBias[at] = select(0xff800000u, keyBias[at], visible);
}`,
  };
}

/** The maps of some slots, each once. */
export const mapTexts = (slots: readonly Slot[]): string =>
  [...new Set(slots.flatMap(({ map }) => (map ? [map.text] : [])))].join('\n');

/** Quad `c` of a slot as it is stored, where `quad` is the tensor's; beyond the width a map's value of zero does not count. */
export function storedQuad({ width, map }: Slot, quad: string): string {
  if (map === undefined) return quad;
  if (width % 4 === 0) return `select(vec4f(), ${map.name}(${quad}), 4u * c < ${width}u)`;
  return `select(vec4f(), ${map.name}(${quad}), 4u * vec4u(c) + vec4u(0u, 1u, 2u, 3u) < vec4u(${width}u))`;
}

/** How often the threads of a row have a quad each of a slot. */
const turnsOf = ({ padded }: Slot): number => Math.ceil(padded / 4 / LANES);

/**
 * `text(quad)` for each quad of a slot that a thread has, as a variable of `loadQuads`; `c` is its number in the row.
 */
export const perLoadedQuad = (slot: Slot, text: (quad: string) => string): string =>
  unroll(turnsOf(slot), (turn) => {
    const isPartial = (turn + 1) * LANES > slot.padded / 4;
    return `{ let c = lane + ${turn * LANES}u; ${isPartial ? `if (c < ${slot.padded / 4}u) { ${text(`${slot.name}_${turn}`)} }` : text(`${slot.name}_${turn}`)} }`;
  });

/** How tensors of some slots are bound, and `load_name(row, c)` for each. */
export const slotLoads = (
  slots: readonly Slot[],
): { readonly buffers: Record<string, BufferType>; readonly text: string } => {
  const loads = slots.map(({ name, width, padded }) => ({ name, ...rowLoad(name, width, padded > width) }));
  return {
    buffers: Object.fromEntries(loads.map(({ name, buffer }) => [name, buffer])),
    text: loads.map(({ text }) => text).join(''),
  };
};

/** Loads this thread's quads of row `source` of some tensors, each once, and tells in `finite` whether they are. */
export const loadQuads = (slots: readonly Slot[]): string =>
  slots
    .map((slot) =>
      unroll(turnsOf(slot), (turn) => {
        const quad = `${slot.name}_${turn}`;
        return `let ${quad} = load_${slot.name}(source, lane + ${turn * LANES}u);
  finite = finite && ${areFinite(quad)};`;
      }),
    )
    .join('\n');

/** Combines the threads' `finite` of each row. */
export const COMBINE = `
  shares[tid] = select(0u, 1u, finite);
  workgroupBarrier();
  var isGood = true;
  for (var other = 0u; other < ${LANES}u; other++) { isGood = isGood && shares[row * ${LANES}u + other] != 0u; }`;

/** What a prepared row comes out as. */
export const ROW_STATES = `
const ORDINARY = 0.0;
const BLIND = 1.0;
const BAD = 2.0;`;

/** Number of keys before the causal bound of row `i` (dims.ts). */
export const boundFunction = (isCausal: boolean | 'by uniform'): string => `
fn bound(i: u32) -> u32 {
  ${isCausal === 'by uniform' ? 'if (params.isCausal == 0u) { return params.Tk; }' : ''}
  ${isCausal ? 'return u32(clamp(i32(params.Tk + i) + 1i - i32(params.Tq), 0i, i32(params.Tk)));' : 'return params.Tk;'}
}`;

/** Where a row's ridge comes from: a number for all, a tensor `[heads, Tq]`, or nowhere. */
export type RidgeSource = 'none' | 'number' | 'tensor';

/**
 * Query rows as the kernels read them: the slots of the layout side by side, zeros in rows that are padding, see no key,
 * or have or see what is not finite. A row's info is the ridge, what the row comes out as, and whether
 * its ridge is below `params.smallRidge` times the mean variance of the keys. `marks[4 head + 2]` gets the largest bound
 * of a bad row: keys before it get NaN gradients.
 */
export function rowsShader(layout: RowLayout, ridge: RidgeSource, hasCentre: boolean): Shader {
  const { slots, quads } = layout;
  const inputs = slots.filter(({ name }, i) => slots.findIndex((slot) => slot.name === name) === i);
  const width = slots.map(({ padded, isCentred }) => (isCentred ? padded / 4 : 0)).find((quad) => quad > 0) ?? 0;
  const copy = (slot: Slot): string =>
    perLoadedQuad(
      slot,
      (quad) => `
    var x = vec4f();
    if (state == ORDINARY) {
      x = ${slot.isNegated ? '-' : ''}${storedQuad(slot, quad)}${slot.isCentred ? ` - centre[workgroup.y * ${width}u + c]` : ''};
    }
    rows[destination * ${quads}u + ${slot.offset}u + c] = x;`,
    );
  const loads = slotLoads(inputs);
  const ridgeText = { none: '1.0', number: 'params.ridge', tensor: 'ridge[source]' }[ridge];
  const variance =
    'centre[(params.heads * params.Dp + workgroup.y) / 4u][(params.heads * params.Dp + workgroup.y) % 4u]';
  return {
    key: `rows ${JSON.stringify([layout, ridge, hasCentre])}`,
    workgroupSize: ROWS * LANES,
    params: {
      ...sharedParams,
      Tqp: 'u32',
      isCausal: 'u32',
      ...(ridge === 'number' && { ridge: 'f32' as const }),
      ...(hasCentre && { heads: 'u32' as const, Dp: 'u32' as const, smallRidge: 'f32' as const }),
    },
    buffers: {
      ...loads.buffers,
      ...(ridge === 'tensor' && { ridge: f32('read') }),
      ...(hasCentre && { centre: vec4('read') }),
      ...(layout.units !== undefined && { units: { access: 'read', element: 'u32' } as const }),
      rows: vec4('read_write'),
      ...(layout.info === undefined && { rowInfo: { access: 'read_write', element: 'vec2f' } as const }),
      marks: { access: 'read_write', element: 'atomic<u32>' },
    },
    workgroupBytes: 4 * ROWS * LANES + 16,
    text: () => `
${IS_FINITE}
${ROW_STATES}
${boundFunction('by uniform')}
${mapTexts(slots)}
${layout.units === undefined ? '' : UNITS}
${loads.text}
var<workgroup> shares: array<u32, ${ROWS * LANES}>;
var<workgroup> firstKeys: array<u32, 2>;
@compute @workgroup_size(${ROWS * LANES})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  if (tid < 2u) { firstKeys[tid] = params.Tk - atomicLoad(&marks[4u * workgroup.y + tid]); }
  let row = tid / ${LANES}u;
  let lane = tid % ${LANES}u;
  let i = workgroup.x * ${ROWS}u + row;
  let head = params.firstHead + workgroup.y;
  let isInside = i < params.Tq;
  let source = head * params.Tq + min(i, params.Tq - 1u);
  let own = ${ridgeText};
  let hasRidge = isFinite(own) && own > 0.0;
  var finite = hasRidge;
  ${loadQuads(inputs)}
  ${COMBINE}
  let visibleTo = bound(min(i, params.Tq - 1u));
  let firstVisible = firstKeys[0];
  let firstBad = firstKeys[1];
  var state = ORDINARY;
  if (!isInside || firstVisible >= visibleTo) {
    state = BLIND;
  } else if (!isGood || firstBad < visibleTo) {
    state = BAD;
  }
  let destination = workgroup.y * params.Tqp + i;
  if (i < params.Tqp) {
    ${slots.map(copy).join('')}
    if (lane == 0u) {
      let isSmall = ${hasCentre ? `own < params.smallRidge * ${variance}` : 'false'};
      let info = vec4f(select(1.0, own, hasRidge), state, select(0.0, 1.0, isSmall), 0.0);
      ${
        layout.units === undefined
          ? ''
          : `rows[destination * ${quads}u + ${layout.units}u] = vec4f(unitAbove(bitcast<f32>(units[2u * workgroup.y])),
        unitAbove(bitcast<f32>(units[2u * workgroup.y + 1u])), ${variance}, 0.0);`
      }
      ${layout.info === undefined ? 'rowInfo[destination] = info.xy;' : `rows[destination * ${quads}u + ${layout.info}u] = info;`}
      if (state == BAD) { atomicMax(&marks[4u * workgroup.y + 2u], visibleTo); }
    }
  }
}`,
  };
}
