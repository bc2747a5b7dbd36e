import type { Shader } from './shader.js';
import { boundCode, boundParams } from './weights.glsl.js';

/** `weights [rows, keys] x keys [keys, columns]` of a block of rows: sums over the keys that a row may see. */
export const weightedSumShader: Shader = {
  name: 'weightedSum',
  images: ['weights', 'keys'],
  params: { ...boundParams, rowTiles: 'int', keyTiles: 'int' },
  writes: 'tile',
  code: `${boundCode}
void main() {
  int first = here.y / rowTiles * keyTiles;
  int seen = tilesSeen(here.y % rowTiles);
  mat4 sum = mat4(0.0);
  for (int t = 0; t < seen; t++) sum += load(keys, here.x, first + t) * load(weights, t, here.y);
  store(sum);
}
`,
};

/** `rows x keys^T` of a block of rows. */
export const productsShader: Shader = {
  name: 'products',
  images: ['rows', 'keys'],
  params: { ...boundParams, rowTiles: 'int', keyTiles: 'int', inner: 'int' },
  writes: 'tile',
  code: `${boundCode}
void main() {
  mat4 products = mat4(0.0);
  if (here.x < tilesSeen(here.y % rowTiles)) {
    int y = here.y / rowTiles * keyTiles + here.x;
    for (int t = 0; t < inner; t++) products += transpose(load(keys, t, y)) * load(rows, t, here.y);
  }
  store(products);
}
`,
};

/** `rows . (keys - kbar)`: a small ridge makes the rows large, and two sums of products would cancel. */
export const centredProductsShader: Shader = {
  name: 'centredProducts',
  images: ['rows', 'keys', 'kbar'],
  params: productsShader.params,
  writes: 'tile',
  code: `${boundCode}
void main() {
  mat4 products = mat4(0.0);
  if (here.x < tilesSeen(here.y % rowTiles)) {
    int y = here.y / rowTiles * keyTiles + here.x;
    for (int t = 0; t < inner; t++) {
      mat4 x = load(rows, t, here.y);
      mat4 k = load(keys, t, y);
      mat4 mean = load(kbar, t, here.y);
      for (int a = 0; a < 4; a++) {
        products[a] += vec4(
          dot(x[a], k[0] - mean[a]), dot(x[a], k[1] - mean[a]), dot(x[a], k[2] - mean[a]), dot(x[a], k[3] - mean[a])
        );
      }
    }
  }
  store(products);
}
`,
};

/** Weighted means of products, one a row: row 0 of the only column of tiles. */
export const weightedMeanShader: Shader = {
  name: 'weightedMean',
  images: ['weights', 'products'],
  params: { ...boundParams, rowTiles: 'int' },
  writes: 'tile',
  code: `${boundCode}
void main() {
  int seen = tilesSeen(here.y % rowTiles);
  vec4 mean = vec4(0.0);
  for (int t = 0; t < seen; t++) mean += rowDots(load(weights, t, here.y), load(products, t, here.y));
  store(mat4(mean, vec4(0.0), vec4(0.0), vec4(0.0)));
}
`,
};

/** `weights (products - mean + added)` */
export const weightedShader: Shader = {
  name: 'weighted',
  images: ['weights', 'products', 'means'],
  params: { added: 'float' },
  writes: 'tile',
  code: `
void main() {
  mat4 tile = load(weights, here.x, here.y);
  mat4 p = load(products, here.x, here.y);
  vec4 shift = vec4(added) - loadRow(means, 0, here.y, 0);
  for (int a = 0; a < 4; a++) tile[a] *= p[a] + shift[a];
  store(tile);
}
`,
};
