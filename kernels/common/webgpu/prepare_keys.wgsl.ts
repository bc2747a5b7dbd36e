import { flaggedKeys } from './coarse_tiles.wgsl.js';
import { HALF, UNITS } from './matrix.wgsl.js';
import {
  COMBINE,
  f32,
  IS_FINITE,
  keyBuffers,
  keyFunctions,
  type KeyInputs,
  LANES,
  loadQuads,
  mapTexts,
  perLoadedQuad,
  ROWS,
  sharedParams,
  slotLoads,
  storedQuad,
  vec4,
} from './prepare.wgsl.js';
import { keyStride, type Slot } from './row_layout.js';
import type { BufferType, Shader } from './shader.js';

/** A row's number from which on a bias counts as one that hides its key: beyond any score, yet safe to add to one. */
const LOWEST_BIAS = '-1e19';

/**
 * What is made of keys and values: float32 numbers; their largest, which tells the units of half-precision ones; those; or,
 * beside those, float32 numbers for the tiles that are flagged (coarse_tiles.wgsl.ts).
 */
export type KeyForm = 'float' | 'bounds' | 'half' | 'flagged';

/** Texts and buffers of a form; `x` is quad `c` of row `destination` of a tensor that is number `index` of two. */
interface KeyWriter {
  readonly buffers: (prepared: readonly string[]) => Record<string, BufferType>;
  readonly declarations: string;
  readonly write: (prepared: string, index: number, place: string) => string;
  readonly end: string;
  /** Whether scores' terms and marks are written, too. */
  readonly hasTerms: boolean;
}

const writeFloat: Omit<KeyWriter, 'hasTerms'> = {
  buffers: (prepared) => Object.fromEntries(prepared.map((name) => [name, vec4('read_write')])),
  declarations: '',
  write: (prepared, _, place) => `${prepared}[${place}] = x;`,
  end: '',
};

const KEY_WRITERS: Readonly<Record<KeyForm, KeyWriter>> = {
  float: { ...writeFloat, hasTerms: true },
  flagged: { ...writeFloat, hasTerms: false },
  bounds: {
    buffers: () => ({ units: { access: 'read_write', element: 'atomic<u32>' } }),
    declarations: 'var<workgroup> largest: array<atomic<u32>, 2>;',
    write: (_, index) =>
      `{ let size = abs(x); atomicMax(&largest[${index}], bitcast<u32>(max(max(size.x, size.y), max(size.z, size.w)))); }`,
    end: `
  workgroupBarrier();
  if (tid < 2u) { atomicMax(&units[2u * workgroup.y + tid], atomicLoad(&largest[tid])); }`,
    hasTerms: false,
  },
  half: {
    buffers: (prepared) => ({
      ...Object.fromEntries(prepared.map((name) => [name, { access: 'read_write', element: 'vec2u' } as const])),
      units: { access: 'read', element: 'u32' },
    }),
    declarations: `${HALF}${UNITS}`,
    write: (prepared, index, place) =>
      `${prepared}[${place}] = packHalves(half(x * inverseOf(unitAbove(bitcast<f32>(units[2u * workgroup.y + ${index}u])))));`,
    end: '',
    hasTerms: true,
  },
};

/**
 * Keys and values as the kernels read them: `key [heads, Tkp, Dp]` and `value [heads, Tkp, Dvp]`, minus a centre where they have one, padded
 * with zeros; zeros also for keys that are hidden or not finite, since a product with 0 must be 0 (docs/decisions/0002).
 * `isSpread`: they lie `vectorStride` apart.
 *
 * `keyTerms [heads, Tkp]` is what is added to a score: the bias times log2(e), or -1e30 for a key that is hidden or
 * padding. `marks [heads, 4]` gets, as `Tk - j`, the first visible key and the first that is not finite.
 */
export function keysShader(
  inputs: KeyInputs,
  key: Slot,
  value: Slot,
  centred: { readonly key: boolean; readonly value: boolean },
  form: KeyForm,
  isSpread: boolean,
): Shader {
  const writer = KEY_WRITERS[form];
  const isFlagged = form === 'flagged';
  const copy = (slot: Slot, index: number, shift: string): string =>
    perLoadedQuad(
      slot,
      (quad) => `
    var x = vec4f();
    if (isKept) { x = ${storedQuad(slot, quad)}${shift}; }
    ${writer.write(['preparedKey', 'preparedValue'][index], index, `destination * ${keyStride(slot.padded, isSpread)}u + c`)}`,
    );
  const loads = slotLoads([key, value]);
  // The centre is zero beyond D, and so the padding of a kept key.
  const shift = (buffer: string, { padded }: Slot): string => ` - ${buffer}[workgroup.y * ${padded / 4}u + c]`;
  return {
    key: `keys ${form} ${JSON.stringify([inputs, key, value, centred, isSpread])}`,
    workgroupSize: ROWS * LANES,
    params: { ...sharedParams, Tkp: 'u32', ...(isFlagged && { Tqp: 'u32' as const, heads: 'u32' as const }) },
    buffers: {
      ...loads.buffers,
      ...keyBuffers(inputs),
      ...(centred.key && { centre: vec4('read') }),
      ...(centred.value && { valueCentre: vec4('read') }),
      ...writer.buffers(['preparedKey', 'preparedValue']),
      ...(writer.hasTerms && {
        keyTerms: f32('read_write'),
        marks: { access: 'read_write', element: 'atomic<u32>' } as const,
      }),
      ...(isFlagged && { flags: { access: 'read', element: 'u32' } as const }),
    },
    workgroupBytes: 4 * ROWS * LANES + 16,
    text: () => `
${IS_FINITE}
${keyFunctions(inputs)}
${mapTexts([key, value])}
${loads.text}
${writer.declarations}
var<workgroup> shares: array<u32, ${ROWS * LANES}>;
${isFlagged ? 'var<workgroup> needed: u32;' : ''}
@compute @workgroup_size(${ROWS * LANES})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  ${
    isFlagged
      ? `if (tid == 0u) { needed = ${flaggedKeys('workgroup.y')}; }
  if (workgroup.x * ${ROWS}u >= (workgroupUniformLoad(&needed) + 63u) / 64u * 64u) { return; }`
      : ''
  }
  let row = tid / ${LANES}u;
  let lane = tid % ${LANES}u;
  let j = workgroup.x * ${ROWS}u + row;
  let head = params.firstHead + workgroup.y;
  let isInside = j < params.Tk;
  let source = head * params.Tk + min(j, params.Tk - 1u);
  let visible = isInside && isVisible(head, min(j, params.Tk - 1u));
  let added = bias(head, min(j, params.Tk - 1u));
  var finite = isFinite(added);
  ${loadQuads([key, value])}
  ${COMBINE}
  let isKept = visible && isGood;
  let destination = workgroup.y * params.Tkp + j;
  if (j < params.Tkp) {
    ${copy(key, 0, centred.key ? shift('centre', key) : '')}
    ${copy(value, 1, centred.value ? shift('valueCentre', value) : '')}
    ${
      writer.hasTerms
        ? `if (lane == 0u) {
      let term = max(select(0.0, added, isGood), ${LOWEST_BIAS}) * ${Math.LOG2E};
      keyTerms[destination] = select(-1e30, term, visible);
      if (visible) {
        // The first visible key of a workgroup has no visible one before it there.
        if (row == 0u || !isVisible(head, j - 1u)) { atomicMax(&marks[4u * workgroup.y], params.Tk - j); }
        if (!isGood) { atomicMax(&marks[4u * workgroup.y + 1u], params.Tk - j); }
      }
    }`
        : ''
    }
  }
  ${writer.end}
}`,
  };
}
