import type { SoftmaxAttentionAttrs } from '../../softmax_attention/spec.js';
import { type HeadGroup, tilesOf } from './blocks.js';
import type { WebGlCall } from './call.js';
import type { Image } from './device.js';
import { centreShader, keyInfoShader, keyTilesShader } from './prepare.glsl.js';

/** The keys of a group of heads as the kernels read them. */
export interface Keys {
  readonly group: HeadGroup;
  /** Tiles of keys of one head. */
  readonly keyTiles: number;
  /** Centred keys with a column of ones behind them. */
  readonly key: Image;
  /** Columns of tiles of `key`. */
  readonly width: number;
  readonly value: Image;
  readonly info: Image;
  readonly centre: Image;
}

/** Columns of a matrix with a row per key, for `blockSizes`: keys with their ones, values and what is known of each. */
export const keyColumnsOf = (D: number, Dv: number): number => 4 * (tilesOf(D + 1) + tilesOf(Dv) + 1);

export function prepareKeys(call: WebGlCall<SoftmaxAttentionAttrs>, group: HeadGroup): Keys {
  const { batch, heads, Tk, D, Dv } = call.dims;
  const { firstHead } = group;
  const keyTiles = tilesOf(Tk);
  const height = group.heads * keyTiles;
  const [width, valueWidth] = [tilesOf(D + 1), tilesOf(Dv)];
  const [key, value] = [call.input('key'), call.input('value')];
  const optional = (name: string) => (call.has(name) ? call.input(name) : key);
  const info = call.image(`${Tk} keys`, 1, height);
  const common = { Tk, D, keyTiles, firstHead };
  call.run(
    keyInfoShader,
    { key, value, bias: optional('keyBias'), mask: optional('keyMask') },
    {
      ...common,
      Dv,
      headsPerBatch: heads / batch,
      hasBias: Number(call.has('keyBias')),
      hasMask: Number(call.has('keyMask')),
    },
    info,
  );
  const centre = call.image(`${group.heads} heads`, width, group.heads);
  call.run(centreShader, { keyInfo: info, key }, common, centre);
  const keys = call.image(`${Tk} keys`, width, height);
  const images = { keyInfo: info, centre };
  call.run(keyTilesShader, { ...images, source: key }, { ...common, C: D, centred: 1, ones: D }, keys);
  const values = call.image(`${Tk} keys`, valueWidth, height);
  call.run(keyTilesShader, { ...images, source: value }, { ...common, C: Dv, centred: 0, ones: -1 }, values);
  return { group, keyTiles, key: keys, width, value: values, info, centre };
}

export function releaseKeys(call: WebGlCall<SoftmaxAttentionAttrs>, { key, value, info, centre }: Keys): void {
  call.release(key, value, info, centre);
}
