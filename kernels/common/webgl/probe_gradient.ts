import type { SoftmaxAttentionAttrs } from '../../softmax_attention/spec.js';
import { blockSizes, headGroups, rowBlocks, tilesOf } from './blocks.js';
import type { FlatTensor, WebGlCall } from './call.js';
import type { Image } from './device.js';
import {
  etaShader,
  keyMarksShader,
  keySumShaders,
  rowDotShader,
  scaledSumShader,
  scoreGradientShader,
} from './gradient.glsl.js';
import { type Keys, keyColumnsOf, prepareKeys, releaseKeys } from './keys.js';
import type { ProbeBlock } from './probe_attention.js';
import { Rows, type Stored, storeRows } from './rows.js';
import { aboutMeanShader } from './solve.glsl.js';

type Call = WebGlCall<SoftmaxAttentionAttrs>;

/** The probe of a gradient; without one it is zero. */
export interface GradientProbe {
  readonly ridge?: number;
  find(block: ProbeBlock): Image;
  /** Only where the probe solves `(C + ridge I) x = q - kbar`: the `u` of `(C + ridge I) u = N`, which it gives back. */
  solveAdjoint?(block: ProbeBlock, N: Image): Image;
  /** Where the probe is an input: what its gradient `N` is multiplied by. */
  readonly probeFactor?: number;
}

type Outputs = Readonly<Record<string, FlatTensor | undefined>>;

/** Sums over row blocks of something per key. */
class KeySums {
  private images: Partial<Record<string, Image>> = {};

  constructor(
    private readonly call: Call,
    private readonly keys: Keys,
  ) {}

  /** Adds the sums of pairs of weights and rows, of which the third is subtracted. */
  add(name: string, rows: Rows, width: number, pairs: readonly (readonly [Image, Image])[]): void {
    const names = ['', 'Second', 'Third'];
    const images = pairs.flatMap(([weights, of], i) => [
      [`weights${names[i]}`, weights] as const,
      [`rows${names[i]}`, of] as const,
    ]);
    this.draw(name, width, (before, isFirst, next) => {
      const inputs = { ...Object.fromEntries(images), before };
      this.call.run(keySumShaders[pairs.length - 1], inputs, { ...rows.params, isFirst }, next);
    });
  }

  /** Adds the rows' gradients of scores, and marks the keys that rows see which come out as NaN. */
  mark(rows: Rows, gradients: Image): void {
    this.draw('marks', 1, (before, isFirst, next) => {
      const images = { before, gradients, rowStats: rows.stats, keyInfo: this.keys.info };
      this.call.run(keyMarksShader, images, { ...rows.params, isFirst }, next);
    });
  }

  private draw(name: string, width: number, body: (before: Image, isFirst: number, next: Image) => void): void {
    const { Tk } = this.call.dims;
    const next = this.call.image(`gradients of ${Tk} keys`, width, this.keys.key.height);
    const before = this.images[name];
    body(before ?? this.keys.info, Number(before === undefined), next);
    if (before) this.call.release(before);
    this.images[name] = next;
  }

  store({ key, value, keyBias }: Outputs): void {
    const { Tk, D, Dv } = this.call.dims;
    const { group, keyTiles } = this.keys;
    const marks = this.of('marks');
    const rows = { T: Tk, tiles: keyTiles, ...group, start: 0, end: Tk };
    const store = (C: number, stored: Omit<Stored, 'out' | 'marks'>, out?: FlatTensor) => {
      if (out) storeRows(this.call, { ...stored, marks, out }, { ...rows, C });
    };
    store(D, { source: this.of('key') }, key);
    store(Dv, { source: this.of('value') }, value);
    store(1, { source: marks, isVector: true }, keyBias);
    for (const name of Object.keys(this.images)) this.call.release(this.of(name));
  }

  private of(name: string): Image {
    const image = this.images[name];
    if (!image) throw new Error(`webgl: no sums of ${name} over rows`);
    return image;
  }
}

/** Gradients of every input that was given, in the order of the operator's spec (operator.md, "exact gradient"). */
export function probeAttentionGradient(call: Call, probe?: GradientProbe): (FlatTensor | undefined)[] {
  const { dims, attrs, spec } = call;
  const { D, Dv } = dims;
  const outputs: Outputs = Object.fromEntries(
    spec.differentiable.map((name) => [name, call.has(name) ? call.output(call.tensor(name).shape) : undefined]),
  );
  const summed = 4 * (tilesOf(D) + tilesOf(Dv) + Math.max(tilesOf(D), tilesOf(Dv)) + 2);
  const footprint = { weights: probe ? 5 : 3, keyColumns: keyColumnsOf(D, Dv) + summed };
  const sizes = blockSizes(dims, footprint, call.device.maxSize);
  for (const group of headGroups(dims, sizes)) {
    const keys = prepareKeys(call, group);
    const sums = new KeySums(call, keys);
    for (const block of rowBlocks(dims, attrs.causal, sizes, group)) {
      const rows = new Rows(call, keys, block, probe?.ridge);
      blockGradient(rows, outputs, sums, probe);
      rows.release();
    }
    sums.store(outputs);
    releaseKeys(call, keys);
  }
  return spec.differentiable.map((name) => outputs[name]);
}

/** One block of rows: its own gradients, and its part of those of the keys. */
function blockGradient(rows: Rows, outputs: Outputs, sums: KeySums, probe?: GradientProbe): void {
  const { call, keys, query } = rows;
  const { D, Dv } = call.dims;
  const [keyWidth, valueWidth] = [tilesOf(D), tilesOf(Dv)];
  const g = rows.tensorRows('dout', valueWidth);
  const gamma = rows.image(keys.keyTiles);
  rows.valueProducts(g, gamma);
  const centred = rows.image(keys.keyTiles);
  rows.weighted(gamma, 0, centred);
  if (!probe) {
    rows.give(gamma);
    storeQuery(rows, centred, outputs.query);
    sums.add('key', rows, keyWidth, [[centred, query]]);
    sums.add('value', rows, valueWidth, [[rows.weights, g]]);
    sums.mark(rows, centred);
    return;
  }
  const kbar = rows.weightedSum(rows.weights, keys.key);
  const N = aboutMean(rows, centred, kbar);
  const scratch = probe.solveAdjoint ? centred : rows.image(keys.keyTiles);
  const block = { rows, kbar, scratch };
  const x = probe.find(block);
  if (outputs.probe) rows.store(N, outputs.probe, D, { factor: probe.probeFactor });
  const u = probe.solveAdjoint?.(block, N);
  const constants = rows.image(1);
  const dot = (left: Image, right: Image, timesRidge: boolean, into: Image) => {
    const images = { left, right, rowInfo: rows.info };
    call.run(rowDotShader, images, { width: keys.width, timesRidge: Number(timesRidge) }, into);
  };
  if (u && outputs.ridge) {
    dot(u, x, false, constants);
    rows.store(constants, outputs.ridge, 1, { factor: -1, isVector: true });
  }
  dot(u ?? N, x, u !== undefined, constants);

  const eta = u ? etaOf(rows, { gamma, kbar, u, scratch }) : centred;
  const products = rows.image(keys.keyTiles);
  rows.keyProducts(x, kbar, products);
  const means = rows.means(products);
  const images = { weights: rows.weights, eta, products, means, constants };
  call.run(scoreGradientShader, images, {}, gamma, rows.seen);
  rows.weighted(products, 1, scratch);
  rows.give(products);
  storeQuery(rows, gamma, outputs.query, u);
  sums.add('key', rows, keyWidth, [[gamma, query], [eta, x], ...(u ? [[scratch, u] as const] : [])]);
  sums.add('value', rows, valueWidth, [[scratch, g]]);
  sums.mark(rows, gamma);
}

/** `sum_j w_j (k_j - kbar)` */
function aboutMean(rows: Rows, weights: Image, kbar: Image): Image {
  const raw = rows.weightedSum(weights, rows.keys.key);
  const sums = rows.image(rows.keys.width);
  rows.call.run(aboutMeanShader, { sums: raw, kbar }, { D: rows.call.dims.D }, sums);
  rows.give(raw);
  return sums;
}

/** `p eta` for the adjoint solution `u`. */
function etaOf(rows: Rows, { gamma, kbar, u, scratch }: Record<'gamma' | 'kbar' | 'u' | 'scratch', Image>): Image {
  rows.keyProducts(u, kbar, scratch);
  const [means, gammaMeans] = [rows.means(scratch), rows.means(gamma)];
  const eta = rows.image(rows.keys.keyTiles);
  const images = { weights: rows.weights, gamma, gammaMeans, products: scratch, means };
  rows.call.run(etaShader, images, {}, eta, rows.seen);
  rows.give(means, gammaMeans);
  return eta;
}

/** `dq = scale sum_j de_j k_j + u` */
function storeQuery(rows: Rows, scoreGradients: Image, out: FlatTensor | undefined, u?: Image): void {
  if (!out) return;
  const { call, keys } = rows;
  const sums = rows.weightedSum(scoreGradients, keys.key);
  const dq = rows.image(keys.width);
  const params = { factor: call.attrs.scale, hasAdded: Number(u !== undefined) };
  call.run(scaledSumShader, { sums, added: u ?? keys.centre }, params, dq);
  rows.store(dq, out, call.dims.D);
  rows.give(sums, dq);
}
