/*
 * Differences of sums that have nearly everything in common, as where one key has nearly all weight (docs/decisions/0063): tiles whose
 * rows have such pass over the keys once more and sum the differences instead.
 */
import { isLarge, weightsAgain, type WeightSource } from './conjugate_gradient.wgsl.js';
import { unroll } from './shader.js';
import {
  accumulate,
  clearAccumulator,
  type Columns,
  groupsOf,
  overColumns,
  perQuad,
  perRow,
  type Products,
  products,
  quadOf,
  reduceRows,
  type RowQuad,
  storeWeights,
  sumOfQuads,
} from './tile.wgsl.js';

/**
 * `y.x = k.x - kbar.x` loses what both products have in common. Where they are large (a small ridge, weights on few keys)
 * the tiles that need it take the weighted mean of the very differences in one more pass over the keys: `rest_mean{i}`, what is
 * to be subtracted besides `mean{i}`. Given `size{i}` and `meanSize{i}`, the squared norms of the vector and of kbar.
 */
export function refineMeans(
  solver: WeightSource,
  vectors: readonly { readonly mean: string; readonly size: string; readonly row: RowQuad }[],
): string {
  const { tile } = solver;
  const anyLarge = vectors.map(({ size }) => perRow(tile, (i) => isLarge(size, i), ' || '));
  const name = (v: number): string => `product_${v}_`;
  const each = (text: (v: number, i: number) => string): string =>
    vectors.map((_, v) => perRow(tile, (i) => text(v, i), ' ')).join('\n');
  return `
  ${vectors.map(({ mean }) => perRow(tile, (i) => `var rest_${mean}${i} = 0.0;`, ' ')).join('\n')}
  if (${anyLarge.join(' || ')}) { flag.z = 1u; }
  if (workgroupUniformLoad(&flag).z != 0u) {
    ${each((v, i) => `var sum_${v}_${i} = 0.0;`)}
    for (var t = 0u; t < keyTiles; t++) {
      ${weightsAgain(
        solver,
        vectors.map(({ row }, v) => ({ name: name(v), row })),
      )}
      ${vectors.map(({ mean }, v) => perQuad(tile, (i, q) => `sum_${v}_${i} += dot(w${i}_${q}, ${quadOf(name(v), i, q)} - ${mean}${i});`, ' ')).join('\n')}
    }
    ${reduceRows(
      tile,
      vectors.map((_, v) => `sum_${v}_`),
      'sum',
    )}
    ${vectors.map(({ mean }, v) => perRow(tile, (i) => `rest_${mean}${i} = sum_${v}_${i} * inverse${i};`, ' ')).join('\n')}
    if (tid == 0u) { flag.z = 0u; }
  }`;
}

/** How many times itself `N` may be the difference of: four of 24 binary digits. */
const MOST_LOST = '16.0';

/**
 * A gradient's `N`, from its two parts: the sum `n` and what is taken off of the mean key `kbar`, `Gbar` or what `refineSums` left of it.
 */
export const differenceOf = (i: number, g: number, mean: string): string =>
  `(n${i}_${g} * inverse${i} - ${mean}${i} * kbar)`;

/**
 * `N` is the difference of `sum p Gamma k` and `Gbar kbar`, which loses what they have in common: nearly all where one key has
 * nearly all weight. Tiles with such rows sum `p (Gamma - Gbar) k` in one more pass, and then `Gbar`'s own rounding is known, too.
 * `cotangent`: the products `Gamma`, named `y`, with the columns `value`.
 */
export function refineSums(source: WeightSource, value: Columns, cotangent: Products): string {
  const { tile, key } = source;
  const squares = (i: number): string =>
    unroll(
      groupsOf(tile, key.width),
      (g) =>
        `{ let kbar = a${i}_${g} * inverse${i}; let left = ${differenceOf(i, g, 'offset')}; meanSquare${i} += dot(kbar, kbar); leftSquare${i} += dot(left, left); }`,
      ' ',
    );
  const isLost = (i: number): string =>
    `offset${i} * offset${i} * meanSquare${i} > ${MOST_LOST} * ${MOST_LOST} * leftSquare${i}`;
  return `
  ${perRow(tile, (i) => `var offset${i} = gbar${i}; var meanSquare${i} = 0.0; var leftSquare${i} = 0.0;\n${squares(i)}`)}
  ${reduceRows(tile, ['meanSquare', 'leftSquare'], 'sum')}
  if (${perRow(tile, isLost, ' || ')}) { flag.w = 1u; }
  if (workgroupUniformLoad(&flag).w != 0u) {
    ${clearAccumulator(tile, 'n', key.width)}
    ${perRow(tile, (i) => `offset${i} = 0.0;`, ' ')}
    ${overColumns(
      tile,
      [key, value],
      'keyTiles',
      `${products(tile, value, [cotangent])}
      ${weightsAgain(source, [])}
      ${perQuad(tile, (i, q) => `let z${i}_${q} = w${i}_${q} * (${quadOf('y', i, q)} - gbar${i});`)}
      ${perRow(tile, (i) => `offset${i} += ${sumOfQuads(tile, 'z', i)};`)}
      ${storeWeights(tile, (i, q) => `z${i}_${q}`)}
      ${accumulate(tile, 'n', key, true)}`,
    )}
    ${reduceRows(tile, ['offset'], 'sum')}
    ${perRow(tile, (i) => `offset${i} *= inverse${i}; gbar${i} += offset${i};`, ' ')}
    if (tid == 0u) { flag.w = 0u; }
  }`;
}
