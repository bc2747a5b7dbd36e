import type { Shader } from './shader.js';
import { boundCode, boundParams } from './weights.glsl.js';

/** `weights (gamma - gammaMeans - (products - means))`: `p eta`. */
export const etaShader: Shader = {
  name: 'eta',
  images: ['weights', 'gamma', 'gammaMeans', 'products', 'means'],
  params: {},
  writes: 'tile',
  code: `
void main() {
  mat4 tile = load(weights, here.x, here.y);
  mat4 difference = load(gamma, here.x, here.y) - load(products, here.x, here.y);
  vec4 shift = loadRow(means, 0, here.y, 0) - loadRow(gammaMeans, 0, here.y, 0);
  for (int a = 0; a < 4; a++) tile[a] *= difference[a] + shift[a];
  store(tile);
}
`,
};

/** A product of two vectors of each row, in row 0 of the only column of tiles; times the rows' ridges where asked for. */
export const rowDotShader: Shader = {
  name: 'rowDot',
  images: ['left', 'right', 'rowInfo'],
  params: { width: 'int', timesRidge: 'int' },
  writes: 'tile',
  code: `
void main() {
  vec4 sum = vec4(0.0);
  for (int t = 0; t < width; t++) sum += rowDots(load(left, t, here.y), load(right, t, here.y));
  if (timesRidge != 0) sum *= loadRow(rowInfo, 0, here.y, 1);
  store(mat4(sum, vec4(0.0), vec4(0.0), vec4(0.0)));
}
`,
};

/** Gradients of the scores: `p eta tau - p c`, `tau = 1 + products - means`, `c` one a row. */
export const scoreGradientShader: Shader = {
  name: 'scoreGradient',
  images: ['weights', 'eta', 'products', 'means', 'constants'],
  params: {},
  writes: 'tile',
  code: `
void main() {
  mat4 p = load(weights, here.x, here.y);
  mat4 tile = load(eta, here.x, here.y);
  mat4 tau = load(products, here.x, here.y);
  vec4 shift = vec4(1.0) - loadRow(means, 0, here.y, 0);
  vec4 c = loadRow(constants, 0, here.y, 0);
  for (int a = 0; a < 4; a++) tile[a] = tile[a] * (tau[a] + shift[a]) - c[a] * p[a];
  store(tile);
}
`,
};

/** `sums`, times a factor, plus `added`: the gradient of queries. */
export const scaledSumShader: Shader = {
  name: 'scaledSum',
  images: ['sums', 'added'],
  params: { factor: 'float', hasAdded: 'int' },
  writes: 'tile',
  code: `
void main() {
  mat4 tile = factor * load(sums, here.x, here.y);
  if (hasAdded != 0) tile += load(added, here.x, here.y);
  store(tile);
}
`,
};

const PAIRS = ['', 'Second', 'Third'];

/**
 * A sum over row blocks of something per key: `before` plus the block's `weights^T rows`, of one to three pairs, of which
 * the third is subtracted.
 */
function keySumShader(pairs: number): Shader {
  const names = PAIRS.slice(0, pairs);
  const sum = (name: string, sign: string) =>
    `    sum ${sign}= load(rows${name}, here.x, y) * transpose(load(weights${name}, tile, y));`;
  return {
    name: `keySum${pairs}`,
    images: ['before', ...names.flatMap((name) => [`weights${name}`, `rows${name}`])],
    params: { ...boundParams, rowTiles: 'int', keyTiles: 'int', isFirst: 'int' },
    writes: 'tile',
    code: `
void main() {
  mat4 sum = mat4(0.0);
  if (isFirst == 0) sum = load(before, here.x, here.y);
  int head = here.y / keyTiles;
  int tile = here.y % keyTiles;
  // The first row that sees a key of the tile.
  int first = causal == 0 ? 0 : max(0, 4 * tile - offset - start) / 4;
  for (int t = first; t < rowTiles; t++) {
    int y = head * rowTiles + t;
${names.map((name, i) => sum(name, i < 2 ? '+' : '-')).join('\n')}
  }
  store(sum);
}
`,
  };
}

/** By the number of pairs, from 1 on. */
export const keySumShaders: readonly Shader[] = [1, 2, 3].map(keySumShader);

/**
 * Sums over row blocks for every key: row 0 of the only column of tiles those of `gradients`, row 1 the rows that come out
 * as NaN and see it.
 */
export const keyMarksShader: Shader = {
  name: 'keyMarks',
  images: ['before', 'gradients', 'rowStats', 'keyInfo'],
  params: { ...boundParams, rowTiles: 'int', keyTiles: 'int', end: 'int', isFirst: 'int' },
  writes: 'tile',
  code: `${boundCode}
void main() {
  mat4 sums = mat4(0.0);
  if (isFirst == 0) sums = load(before, 0, here.y);
  int head = here.y / keyTiles;
  int tile = here.y % keyTiles;
  int first = causal == 0 ? 0 : max(0, 4 * tile - offset - start) / 4;
  for (int t = first; t < rowTiles; t++) {
    int y = head * rowTiles + t;
    mat4 de = load(gradients, tile, y);
    vec4 isBad = loadRow(rowStats, 0, y, 3);
    for (int a = 0; a < 4; a++) {
      sums[0] += de[a];
      if (isBad[a] == 0.0 || start + 4 * t + a >= end) continue;
      int bound = keyBound(4 * t + a);
      for (int b = 0; b < 4; b++) if (4 * tile + b < bound) sums[1][b] += 1.0;
    }
  }
  vec4 visible = loadRow(keyInfo, 0, here.y, 1);
  store(mat4(sums[0], sums[1], visible, sums[1]));
}
`,
};
