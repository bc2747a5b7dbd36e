import type { TensorInfo } from '@tensorflow/tfjs-core';

import { type Output, WebGpuCall } from '../common/webgpu/call.js';
import type { KernelCall } from '../common/kernel_call.js';
import { type ChunkLayout, chunkLayout, chunkRows, stateFloats, sumChunks } from '../common/webgpu/chunk_states.js';
import { pairChunks, preparedChunks, type Vectors } from '../common/webgpu/chunk_states.wgsl.js';
import { forPrepared, type Prepared } from '../common/webgpu/prepared.js';
import { paddedWidth, plainRowLayout } from '../common/webgpu/row_layout.js';
import { chooseTile } from '../common/webgpu/tile.js';
import { blockRowsOf } from '../common/webgpu/tile.wgsl.js';
import { linearRowsShader, type LinearShape, preparedSource } from '../linear_attention/rows.wgsl.js';
import { mesaKeysShader } from './keys.wgsl.js';
import { RIDGE_ROWS, ridgeGradientShader, ridgeSumsShader } from './ridge.wgsl.js';
import { mesaTargetShader, type MesaShape, storeRowsShader } from './rows.wgsl.js';
import { MesaSolver } from './solver.js';
import { type MesaAttentionAttrs, mesaAttentionSpec } from './spec.js';

type Call = WebGpuCall<MesaAttentionAttrs>;

const whole = (width: number): Vectors => ({ stride: width, offset: 0, width });

/** Keys and values, and the sums over keys of both operators' passes: `K^T K` and `K^T V` side by side. */
function keyLayouts(call: Call): { key: Vectors; value: Vectors; sums: ChunkLayout } {
  const { Tk, D, Dv } = call.dims;
  const [Dp, Dvp] = [paddedWidth(D), paddedWidth(Dv)];
  const [key, value] = [whole(Dp / 4), whole(Dvp / 4)];
  return {
    key,
    value,
    sums: chunkLayout(Tk, key, whole(key.width + value.width), chunkRows(Dp, Dp, call.attrs.causal)),
  };
}

/** Records the passes that leave `K^T [K V]`, summed up before every chunk, in `states`. */
function sumPairs(call: Call, sums: ChunkLayout, value: Vectors, prepared: Prepared, states: GPUBuffer): void {
  sumChunks(call, sums, prepared.heads, 'before', pairChunks(sums.left, value), { ...prepared.buffers, states });
}

/** Vectors of the prepared rows as an output. */
function storeRows(call: Call, prepared: Prepared, vectors: Vectors, out: Output): void {
  const { heads, buffers, params } = prepared;
  const { Tq, D } = call.dims;
  const workgroups = Math.ceil((Tq * vectors.width) / 64);
  call.run(storeRowsShader(vectors, D), { ...buffers, out: out.buffer }, params, [workgroups, heads]);
}

/** `out [..., Tq, Dv]` and `probe [..., Tq, D]`, the solutions `x_i`: linear attention with them for queries. */
export function mesaAttentionWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return WebGpuCall.run(mesaAttentionSpec, kernelCall, (call) => {
    const { D, Dv } = call.dims;
    const { key, value, sums } = keyLayouts(call);
    const tile = chooseTile(call.device, 4 * value.width, 'chunks');
    const isCausal = call.attrs.causal;
    const state = { right: sums.right, offset: key.width };
    const vectors = { query: key, dout: value, key, value, state };
    const shape: LinearShape = { tile, D, Dv, ...vectors, isCausal, normalize: false, featureMap: 'identity' };
    const [out, probe] = [call.output(call.resultShape), call.output(call.tensor('query').shape)];
    const floatsPerHead = stateFloats(sums);
    const solver = new MesaSolver(call, sums, key);
    const rows = [{ name: 'query', width: D }];
    let states: GPUBuffer | undefined;
    forPrepared(call, { isCentred: false, floatsPerHead, layout: plainRowLayout(rows) }, (prepared) => {
      const { heads, Tqp, buffers, params } = prepared;
      states ??= call.scratch(4 * heads * floatsPerHead);
      sumPairs(call, sums, value, prepared, states);
      solver.solve(prepared, states);
      call.run(
        linearRowsShader(shape, preparedSource(shape), true),
        { ...buffers, states, out: out.buffer, probe: probe.buffer },
        { ...params, chunk: sums.chunk, keyChunks: sums.chunks, rowChunks: 0, scale: 1 },
        [heads, Tqp / blockRowsOf(tile)],
      );
    });
    return [out, probe];
  });
}

/** `x`, `g` and `u` side by side in the prepared rows. */
function gradientShape(call: Call, key: Vectors, value: Vectors, accumulated: number): MesaShape {
  const { D, Dv } = call.dims;
  const stride = 2 * key.width + value.width;
  return {
    tile: chooseTile(call.device, accumulated, 'chunks'),
    D,
    Dv,
    probe: { stride, offset: 0, width: key.width },
    dout: { stride, offset: key.width, width: value.width },
    solution: { stride, offset: key.width + value.width, width: key.width },
    key,
    value,
    state: { right: whole(key.width + value.width), offset: key.width },
    isCausal: call.attrs.causal,
  };
}

/** Quads between the starts of two buffers that are bound as parts of one: offsets are multiples of 256 bytes. */
const PART_QUADS = 16;

/** Gradients of query, key, value and, where it is a tensor, ridge; see `cpu.ts` for the formulas. */
export function mesaAttentionGradWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return WebGpuCall.run(mesaAttentionSpec, kernelCall, (call): (Output | undefined)[] => {
    const { batch, heads: allHeads, Tq, D, Dv } = call.dims;
    const { key, value, sums: keySums } = keyLayouts(call);
    const [Dp, Dvp] = [4 * key.width, 4 * value.width];
    const forRows = gradientShape(call, key, value, Dp);
    const forKeys = gradientShape(call, key, value, Dp + Dvp);
    const { probe, dout, solution } = forRows;
    const chunk = chunkRows(Dp, Dp, call.attrs.causal);
    const [first, second] = [dout, solution].map((right) => chunkLayout(Tq, probe, right, chunk));
    const [dquery, dkey, dvalue] = ['query', 'key', 'value'].map((name) => call.output(call.tensor(name).shape));
    const dridge = call.gradientOf('ridge');
    const parts = Math.ceil(Tq / RIDGE_ROWS);
    const sums = dridge && call.scratch(4 * allHeads * parts * Dp);
    const ofRows = stateFloats(first) + stateFloats(second) + 4 * PART_QUADS;
    const floatsPerHead = Math.max(stateFloats(keySums), ofRows);
    const solver = new MesaSolver(call, keySums, solution);
    const rows = [
      { name: 'probe', width: D },
      { name: 'dout', width: Dv },
    ];
    let states: GPUBuffer | undefined;
    forPrepared(call, { isCentred: false, floatsPerHead, layout: plainRowLayout(rows, Dp) }, (prepared) => {
      const { heads, Tqp, Tkp, buffers } = prepared;
      const { rows: rowBuffer } = buffers;
      states ??= call.scratch(4 * heads * floatsPerHead);
      const all = { ...buffers, states, dkey: dkey.buffer, dvalue: dvalue.buffer };
      const pairParams = { ...prepared.params, chunk: keySums.chunk, keyChunks: keySums.chunks };
      sumPairs(call, keySums, value, prepared, states);
      call.run(mesaTargetShader(forRows), all, pairParams, [heads, Tqp / blockRowsOf(forRows.tile)]);
      solver.solve(prepared, states);
      storeRows(call, prepared, solution, dquery);
      const secondQuad = Math.ceil((heads * stateFloats(first)) / 4 / PART_QUADS) * PART_QUADS;
      const [firstPart, secondPart] = [
        { buffer: states, size: 4 * heads * stateFloats(first) },
        { buffer: states, offset: 16 * secondQuad, size: 4 * heads * stateFloats(second) },
      ];
      const sumRows = (layout: ChunkLayout, part: GPUBufferBinding): void => {
        const source = preparedChunks(layout.left, layout.right);
        sumChunks(call, layout, heads, 'fromHere', source, { left: rowBuffer, right: rowBuffer, states: part });
      };
      sumRows(first, firstPart);
      sumRows(second, secondPart);
      const keyParams = { ...prepared.params, chunk, rowChunks: first.chunks, second: secondQuad };
      call.run(mesaKeysShader(forKeys), all, keyParams, [heads, Tkp / blockRowsOf(forKeys.tile)]);
      if (sums) {
        const shader = ridgeSumsShader(probe, solution);
        call.run(shader, { ...buffers, sums }, { ...prepared.params, parts }, [heads, parts]);
      }
    });
    if (dridge && sums) {
      const headsPerBatch = allHeads / batch;
      const params = { batch, headsPerBatch, parts };
      const shader = ridgeGradientShader(D, Dp);
      call.run(shader, { sums, dridge: dridge.buffer }, params, [Math.ceil((headsPerBatch * D) / 64)]);
    }
    return [dquery, dkey, dvalue, dridge];
  });
}
