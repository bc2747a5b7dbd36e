import type { TensorInfo } from '@tensorflow/tfjs-core';

import { type Output, WebGpuCall } from '../common/webgpu/call.js';
import type { KernelCall } from '../common/kernel_call.js';
import { type ChunkLayout, chunkLayout, chunkRows, stateFloats, sumChunks } from '../common/webgpu/chunk_states.js';
import { preparedChunks, type Vectors } from '../common/webgpu/chunk_states.wgsl.js';
import { forPrepared, headGroups, paddedRows } from '../common/webgpu/prepared.js';
import { rawChunks } from '../common/webgpu/raw_inputs.wgsl.js';
import { paddedWidth, plainRowLayout, type Slot, vectorStride } from '../common/webgpu/row_layout.js';
import { chooseTile } from '../common/webgpu/tile.js';
import { blockRowsOf, type Tile } from '../common/webgpu/tile.wgsl.js';
import { featureMapOf } from './feature_map.wgsl.js';
import { linearKeysShader } from './keys.wgsl.js';
import { linearRowsGradShader, linearRowsShader, type LinearShape, rawSource } from './rows.wgsl.js';
import { type LinearAttentionAttrs, linearAttentionSpec } from './spec.js';

type Call = WebGpuCall<LinearAttentionAttrs>;

/** Where the vectors of a call lie in its prepared tensors; `hasCotangent`: with `g` behind the queries. A quad follows. */
function vectorsOf(call: Call, hasCotangent: boolean): Pick<LinearShape, 'query' | 'dout' | 'key' | 'value' | 'state'> {
  const [D, Dv] = [paddedWidth(call.dims.D) / 4, paddedWidth(call.dims.Dv) / 4];
  const stride = vectorStride(hasCotangent ? D + Dv : D);
  const whole = (width: number): Vectors => ({ stride: width, offset: 0, width });
  return {
    query: { stride, offset: 0, width: D },
    dout: { stride, offset: D, width: Dv },
    key: whole(D),
    value: whole(Dv),
    state: { right: whole(Dv), offset: 0 },
  };
}

function shapeOf(call: Call, tile: Tile, hasCotangent: boolean): LinearShape {
  const { D, Dv } = call.dims;
  const { causal, normalize, featureMap } = call.attrs;
  return { tile, D, Dv, ...vectorsOf(call, hasCotangent), isCausal: causal, normalize, featureMap };
}

/** How keys and query rows are cut into chunks, of the same size. */
function layoutsOf(call: Call, shape: LinearShape): { keys: ChunkLayout; rows: ChunkLayout } {
  const { query, dout, key, value } = shape;
  const chunk = chunkRows(4 * key.width, 4 * value.width, call.attrs.causal);
  return { keys: chunkLayout(call.dims.Tk, key, value, chunk), rows: chunkLayout(call.dims.Tq, query, dout, chunk) };
}

/** Queries, keys and values as the kernels see them: widths, and the map of features. */
function slotsOf(call: Call): { query: Slot; key: Slot; value: Slot } {
  const { D, Dv } = call.dims;
  const map = featureMapOf(call.attrs.featureMap);
  const slot = (name: string, width: number): Slot => ({ name, width, padded: paddedWidth(width), offset: 0 });
  return {
    query: { ...slot('query', D), ...(map && { map }) },
    key: { ...slot('key', D), ...(map && { map }) },
    value: slot('value', Dv),
  };
}

/** `out [..., Tq, Dv]`. Each input is read once or twice, so no pass prepares them. */
export function linearAttentionWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return WebGpuCall.run(linearAttentionSpec, kernelCall, (call) => {
    const tile = chooseTile(call.device, paddedWidth(call.dims.Dv), 'chunks');
    const shape = shapeOf(call, tile, false);
    const { keys, rows } = layoutsOf(call, shape);
    const slots = slotsOf(call);
    const hasMask = call.has('keyMask');
    const out = call.output(call.resultShape);
    const inputs = Object.fromEntries(
      ['query', 'key', 'value', ...(hasMask ? ['keyMask'] : [])].map((name) => [name, call.input(name)]),
    );
    const rowFloats = 4 * shape.query.stride * paddedRows(call.dims.Tq);
    const groups = headGroups(call, Math.max(rowFloats, stateFloats(keys)));
    const most = groups[0].heads;
    const buffers = {
      ...inputs,
      rows: call.scratch(4 * most * rowFloats),
      marks: call.scratch(16 * most),
      states: call.scratch(4 * most * stateFloats(keys)),
      out: out.buffer,
    };
    for (const { heads, params } of groups) {
      call.clear(buffers.marks);
      sumChunks(call, keys, heads, 'before', rawChunks(slots.key, slots.value, hasMask), buffers, params);
      call.run(
        linearRowsShader(shape, rawSource(shape, slots, hasMask)),
        buffers,
        { ...params, ...chunkParams(keys, rows), scale: call.attrs.scale },
        [heads, params.Tqp / blockRowsOf(tile)],
      );
    }
    return [out];
  });
}

const chunkParams = (keys: ChunkLayout, rows: ChunkLayout) => ({
  chunk: keys.chunk,
  keyChunks: keys.chunks,
  rowChunks: rows.chunks,
});

/** Gradients of query, key and value; see `cpu.ts` for the formulas. */
export function linearAttentionGradWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return WebGpuCall.run(linearAttentionSpec, kernelCall, (call): (Output | undefined)[] => {
    const { D, Dv } = call.dims;
    const [Dp, Dvp] = [paddedWidth(D), paddedWidth(Dv)];
    const forRows = shapeOf(call, chooseTile(call.device, Math.max(Dp, Dvp), 'chunks'), true);
    const forKeys = shapeOf(call, chooseTile(call.device, Dp + Dvp, 'chunks'), true);
    const { keys, rows } = layoutsOf(call, forRows);
    const [dquery, dkey, dvalue] = ['query', 'key', 'value'].map((name) => call.output(call.tensor(name).shape));
    const floats = Math.max(stateFloats(keys), stateFloats(rows));
    const { query, key } = slotsOf(call);
    const slots = [query, { name: 'dout', width: Dv }];
    const factor = forRows.query.stride - 1;
    let states: GPUBuffer | undefined;
    const preparation = { isCentred: false, floatsPerHead: floats, ...(key.map && { keyMap: key.map }) };
    forPrepared(call, { ...preparation, layout: plainRowLayout(slots, 4) }, (prepared) => {
      const { heads, Tqp, Tkp, buffers } = prepared;
      const { preparedKey, preparedValue, rows: rowBuffer } = buffers;
      const params = { ...prepared.params, ...chunkParams(keys, rows), scale: call.attrs.scale };
      states ??= call.scratch(4 * heads * floats);
      const all = { ...buffers, states, dquery: dquery.buffer, dkey: dkey.buffer, dvalue: dvalue.buffer };
      sumChunks(call, keys, heads, 'before', preparedChunks(keys.left, keys.right), {
        left: preparedKey,
        right: preparedValue,
        states,
      });
      call.run(linearRowsGradShader(forRows), all, params, [heads, Tqp / blockRowsOf(forRows.tile)]);
      sumChunks(call, rows, heads, 'fromHere', preparedChunks(rows.left, rows.right, factor), {
        left: rowBuffer,
        right: rowBuffer,
        states,
      });
      call.run(linearKeysShader(forKeys), all, params, [heads, Tkp / blockRowsOf(forKeys.tile)]);
    });
    return [dquery, dkey, dvalue];
  });
}
