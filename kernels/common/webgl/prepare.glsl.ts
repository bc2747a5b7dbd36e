import type { Shader } from './shader.js';

/**
 * What is known of each key of a group of heads: one tile for four keys, its rows being their biases, whether they are
 * visible, whether they are visible and not finite (bad), and whether they are visible and finite (usable).
 */
export const keyInfoShader: Shader = {
  name: 'keyInfo',
  images: [],
  tensors: ['key', 'value', 'bias', 'mask'],
  params: {
    Tk: 'int',
    D: 'int',
    Dv: 'int',
    keyTiles: 'int',
    firstHead: 'int',
    headsPerBatch: 'int',
    hasBias: 'int',
    hasMask: 'int',
  },
  writes: 'tile',
  code: `
/** A bias of -Infinity, or of the largest float32 below zero, is a way to hide a key. */
bool hides(float b) {
  uint bits = floatBitsToUint(b);
  return bits >= 0xff7fc99eu && bits <= 0xff800000u;
}

void main() {
  int head = firstHead + here.y / keyTiles;
  mat4 info = mat4(0.0);
  for (int a = 0; a < 4; a++) {
    int j = 4 * (here.y % keyTiles) + a;
    if (j >= Tk) break;
    float b = hasBias == 0 ? 0.0 : at(bias, biasAt, head * Tk + j);
    bool isVisible = (hasMask == 0 || at(mask, maskAt, head / headsPerBatch * Tk + j) != 0.0) && !hides(b);
    if (!isVisible) continue;
    bool isFinite = isUsual(b);
    for (int d = 0; d < D; d++) isFinite = isFinite && isUsual(at(key, keyAt, (head * Tk + j) * D + d));
    for (int d = 0; d < Dv; d++) isFinite = isFinite && isUsual(at(value, valueAt, (head * Tk + j) * Dv + d));
    info[0][a] = isFinite ? b : 0.0;
    info[1][a] = 1.0;
    info[2][a] = isFinite ? 0.0 : 1.0;
    info[3][a] = isFinite ? 1.0 : 0.0;
  }
  store(info);
}
`,
};

/**
 * A vector near the keys' mean, by tiles of channels and heads: of usable keys, at most about 512 of them spread over all.
 * Rows of a tile: the vector, the sums of squared differences from it, the number of keys in both.
 */
export const centreShader: Shader = {
  name: 'centre',
  images: ['keyInfo'],
  tensors: ['key'],
  params: { Tk: 'int', D: 'int', keyTiles: 'int', firstHead: 'int' },
  writes: 'tile',
  code: `
vec4 channels(int j) {
  vec4 k = vec4(0.0);
  for (int b = 0; b < 4; b++) {
    int d = 4 * here.x + b;
    if (d < D) k[b] = at(key, keyAt, ((firstHead + here.y) * Tk + j) * D + d);
  }
  return k;
}

void main() {
  int stride = max(1, Tk / 512);
  vec4 sum = vec4(0.0);
  float count = 0.0;
  for (int j = 0; j < Tk; j += stride) {
    if (loadRow(keyInfo, 0, here.y * keyTiles + j / 4, 3)[j % 4] == 0.0) continue;
    sum += channels(j);
    count += 1.0;
  }
  vec4 mean = sum / max(count, 1.0);
  vec4 squares = vec4(0.0);
  for (int j = 0; j < Tk; j += stride) {
    if (loadRow(keyInfo, 0, here.y * keyTiles + j / 4, 3)[j % 4] == 0.0) continue;
    vec4 y = channels(j) - mean;
    squares += y * y;
  }
  store(mat4(mean, squares, vec4(count), vec4(0.0)));
}
`,
};

/**
 * Keys or values of a group of heads in tiles, zeros where they are not usable. `centred`: minus the head's centre;
 * column `ones` holds 1 for every usable key (-1: no such column), so that products with weights also give their sums.
 */
export const keyTilesShader: Shader = {
  name: 'keyTiles',
  images: ['keyInfo', 'centre'],
  tensors: ['source'],
  params: { Tk: 'int', C: 'int', keyTiles: 'int', firstHead: 'int', centred: 'int', ones: 'int' },
  writes: 'tile',
  code: `
void main() {
  int head = here.y / keyTiles;
  vec4 usable = loadRow(keyInfo, 0, here.y, 3);
  vec4 shift = centred == 0 ? vec4(0.0) : loadRow(centre, here.x, head, 0);
  mat4 tile = mat4(0.0);
  for (int a = 0; a < 4; a++) {
    if (usable[a] == 0.0) continue;
    int j = 4 * (here.y % keyTiles) + a;
    for (int b = 0; b < 4; b++) {
      int c = 4 * here.x + b;
      if (c < C) tile[a][b] = at(source, sourceAt, ((firstHead + head) * Tk + j) * C + c) - shift[b];
      else if (c == ones) tile[a][b] = 1.0;
    }
  }
  store(tile);
}
`,
};

/** Rows `start .. end - 1` of a group of heads in tiles; zeros in place of what is not finite. */
export const rowTilesShader: Shader = {
  name: 'rowTiles',
  images: [],
  tensors: ['source'],
  params: { Tq: 'int', C: 'int', rowTiles: 'int', firstHead: 'int', start: 'int', end: 'int', factor: 'float' },
  writes: 'tile',
  code: `
void main() {
  int head = firstHead + here.y / rowTiles;
  mat4 tile = mat4(0.0);
  for (int a = 0; a < 4; a++) {
    int i = start + 4 * (here.y % rowTiles) + a;
    if (i >= end) break;
    for (int b = 0; b < 4; b++) {
      int c = 4 * here.x + b;
      if (c < C) tile[a][b] = factor * usual(at(source, sourceAt, (head * Tq + i) * C + c));
    }
  }
  store(tile);
}
`,
};

/**
 * Rows with a number of their own that is not finite: row 0 of the only column of tiles. `ridge` must be above 0 besides;
 * row 1 of the tile is the ridge itself, 1 where it is unusable. Tensors of width 0 are absent.
 */
export const rowInfoShader: Shader = {
  name: 'rowInfo',
  images: [],
  tensors: ['query', 'dout', 'probe', 'ridge'],
  params: {
    Tq: 'int',
    D: 'int',
    doutWidth: 'int',
    probeWidth: 'int',
    hasRidge: 'int',
    ridgeNumber: 'float',
    rowTiles: 'int',
    firstHead: 'int',
    start: 'int',
    end: 'int',
  },
  writes: 'tile',
  code: `
void main() {
  int head = firstHead + here.y / rowTiles;
  mat4 info = mat4(0.0);
  info[1] = vec4(hasRidge == 0 ? ridgeNumber : 1.0);
  for (int a = 0; a < 4; a++) {
    int i = start + 4 * (here.y % rowTiles) + a;
    if (i >= end) break;
    int row = head * Tq + i;
    bool isFinite = true;
    for (int d = 0; d < D; d++) isFinite = isFinite && isUsual(at(query, queryAt, row * D + d));
    for (int d = 0; d < doutWidth; d++) isFinite = isFinite && isUsual(at(dout, doutAt, row * doutWidth + d));
    for (int d = 0; d < probeWidth; d++) isFinite = isFinite && isUsual(at(probe, probeAt, row * probeWidth + d));
    if (hasRidge != 0) {
      float own = at(ridge, ridgeAt, row);
      bool isUsable = isUsual(own) && own > 0.0;
      isFinite = isFinite && isUsable;
      if (isUsable) info[1][a] = own;
    }
    info[0][a] = isFinite ? 0.0 : 1.0;
  }
  store(info);
}
`,
};
