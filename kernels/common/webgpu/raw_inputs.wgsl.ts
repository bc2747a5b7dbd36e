import type { ChunkSource, Vectors } from './chunk_states.wgsl.js';
import { keyBuffers, keyFunctions, LANES, mapTexts, ROW_STATES, ROWS, storedQuad, vec4 } from './prepare.wgsl.js';
import type { InfoRowLayout, Slot } from './row_layout.js';
import { rowLoad } from './row_load.js';
import { type BufferType, type Shader, unroll } from './shader.js';
import { type Columns, groupsOf, perRow, reduceRows, type Tile } from './tile.wgsl.js';

/*
 * Inputs as the caller gave them, read by kernels that need each only once or twice, instead of a pass that prepares copies. What is
 * not finite, hidden or padding comes as zeros, as in prepared tensors.
 */

/** `areFinite(x)`, and `kept(x)`: the finite numbers of a quad. By their bits: a compiler may take it that no number is infinite. */
export const FINITE = `
fn exponents(x: vec4f) -> vec4u { return bitcast<vec4u>(x) & vec4u(0x7f800000u); }
fn areFinite(x: vec4f) -> bool { return all(exponents(x) != vec4u(0x7f800000u)); }
fn kept(x: vec4f) -> vec4f { return select(x, vec4f(), exponents(x) == vec4u(0x7f800000u)); }`;

/** What a shader declares to read some inputs. */
interface RawInputs {
  readonly buffers: Readonly<Record<string, BufferType>>;
  readonly text: string;
}

/**
 * Declarations for rows of queries (`copyOwnRows`), and for keys and values. These are read in two steps: `raw_name(head, j, c)` is quad
 * `c` of row `j` of a head of the call's group, `stored_name(x, head, j, c)` what is kept of it: zeros where it is hidden or padding.
 * `isMarking`: this sets `isBad` where a visible one is not finite, and the shader makes `marks`; else it reads them.
 */
export function rawInputs(
  rows: readonly Slot[],
  keys: readonly Slot[],
  hasMask: boolean,
  isMarking = false,
): RawInputs {
  const loads = [...rows, ...keys].map(({ name, width, padded }) => ({
    name,
    ...rowLoad(name, width, padded > width),
  }));
  const inputs = { hasMask, hasBias: false };
  const read = (slot: Slot): string => `
fn raw_${slot.name}(head: u32, j: u32, c: u32) -> vec4f {
  return load_${slot.name}((params.firstHead + head) * params.Tk + min(j, params.Tk - 1u), c);
}
fn stored_${slot.name}(raw: vec4f, head: u32, j: u32, c: u32) -> vec4f {
  let isThere = j < params.Tk && isVisible(params.firstHead + head, min(j, params.Tk - 1u));
  ${isMarking ? 'isBad = isBad | (isThere & !areFinite(raw));' : ''}
  let x = kept(raw);
  return select(vec4f(), ${storedQuad(slot, 'x')}, isThere);
}`;
  return {
    buffers: {
      ...Object.fromEntries(loads.map(({ name, buffer }) => [name, buffer])),
      ...(keys.length > 0 && keyBuffers(inputs)),
      marks: isMarking ? { access: 'read_write', element: 'atomic<u32>' } : { access: 'read', element: 'u32' },
    },
    text: [
      FINITE,
      mapTexts([...rows, ...keys]),
      ...loads.map(({ text }) => text),
      ...(isMarking ? ['var<private> isBad: bool;'] : []),
      ...(keys.length > 0 ? [keyFunctions(inputs), ...keys.map(read)] : []),
    ].join('\n'),
  };
}

/** Keys or values that are staged from the input itself. */
export const rawColumns = ({ name, padded }: Slot): Columns => ({
  buffer: name,
  base: '',
  stride: 0,
  offset: 0,
  width: padded / 4,
  load: (j, c) => `raw_${name}(head, ${j}, ${c})`,
  stored: (x, j, c) => `stored_${name}(${x}, head, ${j}, ${c})`,
});

/** Sums over chunks of keys and values as the caller gave them; `marks` are left as `keysShader` does. */
export function rawChunks(key: Slot, value: Slot, hasMask: boolean): ChunkSource {
  const { buffers, text } = rawInputs([], [key, value], hasMask, true);
  // The first visible key of a chunk has no visible one before it there.
  const isFirst = `isVisible(callHead, j) && (j % params.chunk == 0u || !isVisible(callHead, j - 1u))`;
  const mark = (threads: number): string => `
  if (workgroup.z == 0u) {
    let callHead = params.firstHead + head;
    let end = min((workgroup.y + 1u) * params.chunk, params.Tk);
    for (var j = workgroup.y * params.chunk + tid; j < end; j += ${threads}u) {
      if (${isFirst}) { atomicMax(&marks[4u * head], params.Tk - j); }
    }
  }`;
  return {
    key: `raw ${JSON.stringify([key, value, hasMask])}`,
    params: { firstHead: 'u32', headsPerBatch: 'u32', Tk: 'u32' },
    buffers,
    text,
    begin: hasMask ? mark : () => '',
    // A number that is not finite is so rare that its key is looked for again.
    end: `
  if (isBad) {
    let end = min((workgroup.y + 1u) * params.chunk, params.Tk);
    for (var j = workgroup.y * params.chunk; j < end; j++) {
      var isGood = true;
      for (var c = 0u; c < ${key.padded / 4}u; c++) { isGood = isGood && areFinite(raw_key(head, j, c)); }
      for (var c = 0u; c < ${value.padded / 4}u; c++) { isGood = isGood && areFinite(raw_value(head, j, c)); }
      if (!isGood && isVisible(params.firstHead + head, j)) { atomicMax(&marks[4u * head + 1u], params.Tk - j); }
    }
  }`,
    left: (j, c) => `raw_key(head, ${j}, ${c})`,
    right: (j, c) => `raw_value(head, ${j}, ${c})`,
    storedLeft: (x, j, c) => `stored_key(${x}, head, ${j}, ${c})`,
    storedRight: (x, j, c) => `stored_value(${x}, head, ${j}, ${c})`,
  };
}

/** How a tile's rows are copied. */
interface OwnRows {
  readonly slot: Slot;
  /** Expression: number of row `i` of a thread in its head. */
  readonly place: (i: number) => string;
  /** Where the copies lie in `rows`. */
  readonly vectors: Vectors;
  readonly hasMask: boolean;
}

/**
 * Copies a tile's rows of queries to the scratch rows of the tile, `row{i}`, where they are read often and lie well, and declares
 * what each comes out as, `state{i}` (`rowsShader`).
 */
export function copyOwnRows(tile: Tile, { slot, place, vectors, hasMask }: OwnRows): string {
  const copy = (i: number, g: number): string => `{
      let c = tx + ${tile.threadsX * g}u;
      let raw = load_${slot.name}(source, c);
      if (!areFinite(raw)) { bad${i} = 1.0; }
      let x = kept(raw);
      rows[row${i} * ${vectors.stride}u + ${vectors.offset}u + c] = ${storedQuad(slot, 'x')};
    }`;
  const state = (i: number): string => `
  let visibleTo${i} = bound(min(${place(i)}, params.Tq - 1u));
  let isBad${i} = bad${i} > 0.0 || params.Tk - marks[4u * head + 1u] < visibleTo${i};
  let state${i} = select(select(ORDINARY, BAD, isBad${i}), BLIND, ${hasMask ? 'params.Tk - marks[4u * head]' : '0u'} >= visibleTo${i});`;
  return `
  ${perRow(tile, (i) => `var bad${i} = 0.0;`, ' ')}
  ${perRow(
    tile,
    (i) => `{
    let source = (params.firstHead + head) * params.Tq + min(${place(i)}, params.Tq - 1u);
    ${unroll(groupsOf(tile, slot.padded / 4), (g) => copy(i, g))}
  }`,
  )}
  storageBarrier();
  ${reduceRows(tile, ['bad'], 'max')}
  ${perRow(tile, state)}`;
}

/**
 * For kernels that read keys and values as the caller gave them: tells in `marks` the first key that is not finite, and writes the rows of
 * queries as `layout` has them, times `params.logScale`, with whether they are bad themselves for their state. All in one pass.
 */
export function checkedInputsShader(layout: InfoRowLayout, D: number, Dv: number): Shader {
  const quads = D / 4;
  const threads = ROWS * LANES;
  const each = (width: number, text: (c: string) => string): string =>
    unroll(Math.ceil(width / LANES), (turn) => {
      const body = text(`(lane + ${turn * LANES}u)`);
      return (turn + 1) * LANES > width ? `if (lane + ${turn * LANES}u < ${width}u) { ${body} }` : body;
    });
  return {
    key: `checkedInputs ${JSON.stringify([layout, D, Dv])}`,
    workgroupSize: threads,
    params: { firstHead: 'u32', Tq: 'u32', Tk: 'u32', Tqp: 'u32', logScale: 'f32' },
    buffers: {
      query: vec4('read'),
      key: vec4('read'),
      value: vec4('read'),
      rows: vec4('read_write'),
      marks: { access: 'read_write', element: 'atomic<u32>' },
    },
    workgroupBytes: 4 * ROWS,
    text: () => `
${ROW_STATES}
${FINITE}
var<workgroup> isBad: array<atomic<u32>, ${ROWS}>;
@compute @workgroup_size(${threads})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  let row = tid / ${LANES}u;
  let lane = tid % ${LANES}u;
  let head = params.firstHead + workgroup.y;
  let rowGroups = params.Tqp / ${ROWS}u;
  if (workgroup.x >= rowGroups) {
    let j = (workgroup.x - rowGroups) * ${ROWS}u + row;
    let source = head * params.Tk + j;
    var isGood = true;
    ${each(quads, (c) => `isGood = isGood & areFinite(key[source * ${quads}u + ${c}]);`)}
    ${each(Dv / 4, (c) => `isGood = isGood & areFinite(value[source * ${Dv / 4}u + ${c}]);`)}
    if (!isGood) { atomicMax(&marks[4u * workgroup.y + 1u], params.Tk - j); }
    return;
  }
  let i = workgroup.x * ${ROWS}u + row;
  let source = head * params.Tq + min(i, params.Tq - 1u);
  let destination = (workgroup.y * params.Tqp + i) * ${layout.quads}u;
  ${each(
    quads,
    (c) => `{
    let x = query[source * ${quads}u + ${c}];
    if (!areFinite(x)) { atomicStore(&isBad[row], 1u); }
    rows[destination + ${c}] = kept(x) * params.logScale;
  }`,
  )}
  workgroupBarrier();
  if (lane == 0u) {
    let state = select(ORDINARY, BAD, atomicLoad(&isBad[row]) != 0u);
    rows[destination + ${layout.info}u] = vec4f(1.0, state, 0.0, 0.0);
  }
}`,
  };
}
