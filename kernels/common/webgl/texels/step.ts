import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';

import type { SoftmaxAttentionAttrs } from '../../../softmax_attention/spec.js';
import type { OperatorSpec } from '../../spec.js';
import { type StepAttrs, type StepPart, stepParts } from '../../step_parts.js';
import { quads } from './sweep.js';
import {
  appendBiasProgram,
  appendProgram,
  joinRangesProgram,
  probedWeightsProgram,
  rangeStatisticsProgram,
  scoresProgram,
  STATISTICS_QUADS,
  statisticsProgram,
  stepRowsProgram,
  stepStoreProgram,
  weightedSumsProgram,
  weightsProgram,
} from './step.glsl.js';
import { type NumberTensor, type TexelBuffer, TexelCall } from './call.js';
import type { KernelCall } from '../../kernel_call.js';

export type StepCall<Attrs extends SoftmaxAttentionAttrs = SoftmaxAttentionAttrs> = TexelCall<Attrs & StepAttrs>;

/** Floats of the scores and the weights of a part: 16 MiB. */
const SCORE_FLOATS = 2 ** 22;

/** Texels of a draw call that keep a device busy. */
const BUSY_TEXELS = 2 ** 15;

/** A part of a step on the device: its rows are `lines = heads x rows`. */
export interface PartOnDevice {
  readonly part: StepPart;
  readonly lines: number;
  readonly cachedKey: NumberTensor;
  readonly cachedValue: NumberTensor;
  /** Softmax weights `[lines, keys / 4]`. */
  readonly weights: TexelBuffer;
}

/** Makes the probes `[lines, D / 4]` of a part's rows, given `kbar [lines, D / 4]`. */
type Probe<Attrs extends SoftmaxAttentionAttrs> = (
  step: CacheStep<Attrs>,
  on: PartOnDevice,
  kbar: TexelBuffer,
) => TexelBuffer;

/** A step of an operator whose weights are a softmax of scores: appends its rows, then attends. */
export class CacheStep<Attrs extends SoftmaxAttentionAttrs> {
  constructor(readonly call: StepCall<Attrs>) {}

  /** Appends all rows and fills `out`. */
  run(out: NumberTensor, probe?: Probe<Attrs>): void {
    const { call } = this;
    const { heads, Tq } = call.dims;
    const [, capacity] = call.tensor('cachedKey').shape;
    const all = call.attrs.length + Tq;
    const mostRows = Math.max(1, Math.floor(SCORE_FLOATS / (2 * heads * all)));
    for (const part of stepParts(call.attrs, Tq, capacity, mostRows)) {
      this.append(part);
      this.attend(part, out, probe);
    }
  }

  /** Writes all rows to the cache. */
  appendAll(): void {
    const { call } = this;
    const { Tq } = call.dims;
    const [, capacity] = call.tensor('cachedKey').shape;
    for (const part of stepParts(call.attrs, Tq, capacity, Tq)) this.append(part);
  }

  /** Writes a part's rows to the cache. */
  private append({ t, firstRow, rows, capacity }: StepPart): void {
    const { call } = this;
    const { heads, batch, D, Dv } = call.dims;
    const params = { t, firstRow, rows, capacity, to: (call.attrs.total + firstRow) % capacity };
    for (const [source, to, width] of [
      ['key', 'cachedKey', D],
      ['value', 'cachedValue', Dv],
    ] as const) {
      const points = heads * rows * width;
      call.runPoints(appendProgram, { source: call.input(source) }, { ...params, width }, call.held(to), points);
    }
    if (!call.has('cachedBias')) return;
    const names = ['keyBias', 'keyMask'].filter((name) => call.has(name));
    call.runPoints(
      appendBiasProgram(call.has('keyBias'), call.has('keyMask')),
      Object.fromEntries(names.map((name) => [name, call.input(name)])),
      { ...params, width: 1, headsPerBatch: heads / batch },
      call.held('cachedBias'),
      heads * rows,
    );
  }

  private attend(part: StepPart, out: NumberTensor, probe: Probe<Attrs> | undefined): void {
    const { call } = this;
    const { D, Dv, heads } = call.dims;
    const { t, firstRow, rows } = part;
    const lines = heads * rows;
    const [cachedKey, cachedValue] = ['cachedKey', 'cachedValue'].map((name) => call.held(name));
    const { weights, statistics } = this.softmax(part, lines, cachedKey, cachedValue);
    const on = { part, lines, cachedKey, cachedValue, weights };
    let probes: TexelBuffer | undefined;
    let last = weights;
    if (probe) {
      const kbar = this.weightedSums('kbar', on, weights, cachedKey, D);
      probes = probe(this, on, kbar);
      last = this.call.buffer('probedWeights', weights.texels);
      call.run(probedWeightsProgram, { weights, kbar, probes, cachedKey }, { ...part, D }, { to: last });
    }
    const sums = this.weightedSums('sums', on, last, cachedValue, Dv);
    const sources = { sums, statistics, ...(probes && { probes }) };
    call.run(stepStoreProgram(probes !== undefined), sources, { t, firstRow, rows, D, Dv }, { to: out });
  }

  private softmax(
    part: StepPart,
    lines: number,
    cachedKey: NumberTensor,
    cachedValue: NumberTensor,
  ): { weights: TexelBuffer; statistics: TexelBuffer } {
    const { call } = this;
    const { D, Dv } = call.dims;
    const width = quads(part.keys);
    const hasBias = call.has('cachedBias');
    const scores = this.call.buffer('scores', lines * width);
    const sources = { query: call.input('query'), cachedKey, cachedValue };
    call.run(
      scoresProgram(hasBias),
      { ...sources, ...(hasBias && { cachedBias: call.held('cachedBias') }) },
      { ...part, D, Dv, scale: call.attrs.scale },
      { to: scores },
    );
    const ranges = Math.ceil(width / STATISTICS_QUADS);
    const parts = this.call.buffer('rangeStatistics', lines * ranges);
    call.run(rangeStatisticsProgram, { scores }, { quads: width, ranges }, { to: parts });
    const statistics = this.call.buffer('statistics', lines);
    call.run(statisticsProgram, { parts }, { ranges }, { to: statistics });
    const weights = this.call.buffer('weights', lines * width);
    call.run(weightsProgram, { scores, statistics }, { quads: width }, { to: weights });
    return { weights, statistics };
  }

  /** `[lines, numbers / 4]`: the weighted sums of cached rows. */
  private weightedSums(
    name: string,
    { part, lines }: PartOnDevice,
    weights: TexelBuffer,
    source: NumberTensor,
    numbers: number,
  ): TexelBuffer {
    const { call } = this;
    const width = quads(numbers);
    const { ranges, perRange } = keyRanges(part.keys, lines * width);
    const parts = this.call.buffer('weightedSums', lines * ranges * width);
    call.run(weightedSumsProgram, { weights, source }, { ...part, numbers, ranges, perRange }, { to: parts });
    const joined = this.call.buffer(name, lines * width);
    call.run(joinRangesProgram, { parts }, { width, ranges }, { to: joined });
    return joined;
  }

  /** `sign` times a part's rows of an input, `[lines, D / 4]`. */
  rows(input: 'query' | 'probe', { part, lines }: PartOnDevice, sign: number): TexelBuffer {
    const { call } = this;
    const { D } = call.dims;
    const { t, firstRow, rows } = part;
    const to = this.call.buffer(input, lines * quads(D));
    call.run(stepRowsProgram, { source: call.input(input) }, { t, firstRow, rows, D, sign }, { to });
    return to;
  }
}

/** Ranges of keys, for a draw call that would have `texels` with one range: enough to keep a device busy. */
export function keyRanges(keys: number, texels: number): { ranges: number; perRange: number } {
  const wanted = Math.min(Math.ceil(keys / 32), Math.ceil(BUSY_TEXELS / texels));
  const perRange = Math.ceil(keys / wanted);
  return { ranges: Math.ceil(keys / perRange), perRange };
}

/** Runs a step's kernel, `out [..., t, Dv]`. */
export function runStep<Attrs extends SoftmaxAttentionAttrs>(
  spec: OperatorSpec<Attrs>,
  kernelCall: KernelCall,
  probe?: Probe<Attrs>,
): TensorInfo[] {
  return TexelCall.run(spec as OperatorSpec<Attrs & StepAttrs>, kernelCall, (call) => {
    const out = call.output(call.resultShape);
    new CacheStep<Attrs>(call).run(out, probe);
    return [out];
  });
}

/** The kernel that only appends; there is room for all of the new tokens. */
export function appendKeysWebGl<Attrs extends SoftmaxAttentionAttrs>(spec: OperatorSpec<Attrs>): KernelFunc {
  return (kernelCall) =>
    TexelCall.run(spec as OperatorSpec<Attrs & StepAttrs>, kernelCall, (call) => {
      new CacheStep<Attrs>(call).appendAll();
      return [];
    });
}
