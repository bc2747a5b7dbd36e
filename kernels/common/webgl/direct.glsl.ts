import type { Shader } from './shader.js';
import { boundCode, boundParams } from './weights.glsl.js';

/*
 * The direct solver. A system takes `size x (size + 1)` tiles, `size` for D: those of row `r` of a chunk of the block's rows
 * begin at row `r size` of tiles; the last column of tiles holds the right-hand side in its column 0. Only tiles on and
 * above the diagonal are used. Rows that are done are skipped everywhere.
 */

const MISSED = `
/** Whether row r of the chunk is to be solved. */
bool isMissed(int r) {
  return loadRow(scalars, 0, firstTile + r / 4, 2)[r % 4] == -2.0;
}
`;

/** A chunk without a row to solve. */
const idle = `
bool isIdle() {
  for (int t = 0; t < tiles; t++) {
    if (any(equal(loadRow(scalars, 0, firstTile + t, 2), vec4(-2.0)))) return false;
  }
  return true;
}
`;

/** Forms `C + ridge I` and the right-hand side, keys `4 from .. 4 to - 1`: added to `before` where `from` is not 0. */
export const formShader: Shader = {
  name: 'form',
  images: ['weights', 'keys', 'kbar', 'right', 'setup', 'scalars', 'rowInfo', 'before'],
  params: {
    ...boundParams,
    rowTiles: 'int',
    keyTiles: 'int',
    D: 'int',
    size: 'int',
    firstTile: 'int',
    tiles: 'int',
    from: 'int',
    to: 'int',
  },
  idle,
  writes: 'tile',
  code: `${boundCode}${MISSED}
void main() {
  int r = here.y / size;
  int i = here.y % size;
  int j = here.x;
  mat4 tile = mat4(0.0);
  if (j >= i && isMissed(r)) {
    int y = firstTile + r / 4;
    int a = r % 4;
    if (j == size) {
      vec4 b = loadRow(right, i, y, a) / loadRow(setup, 0, y, 0)[a];
      tile = transpose(mat4(b, vec4(0.0), vec4(0.0), vec4(0.0)));
    } else {
      if (from > 0) tile = load(before, j, here.y);
      int first = y / rowTiles * keyTiles;
      int seen = min(to, tilesSeen(y % rowTiles));
      vec4 meanI = loadRow(kbar, i, y, a);
      vec4 meanJ = loadRow(kbar, j, y, a);
      for (int t = from; t < seen; t++) {
        vec4 p = loadRow(weights, t, y, a);
        if (p == vec4(0.0)) continue;
        mat4 left = load(keys, i, first + t);
        mat4 other = load(keys, j, first + t);
        for (int b = 0; b < 4; b++) {
          left[b] = p[b] * (left[b] - meanI);
          other[b] -= meanJ;
        }
        tile += other * transpose(left);
      }
      if (from == 0) {
        float ridge = loadRow(rowInfo, 0, y, 1)[a];
        for (int b = 0; b < 4; b++) {
          if (i == j) tile[b][b] += 4 * i + b < D ? ridge : 1.0;
        }
      }
      for (int b = 0; b < 4; b++) {
        for (int c = 0; c < 4; c++) {
          bool isPadding = 4 * i + b >= D || 4 * j + c >= D;
          if (isPadding) tile[b][c] = i == j && b == c ? 1.0 : 0.0;
        }
      }
    }
  }
  store(tile);
}
`,
};

const FACTOR = `
/** The Cholesky factor L of a tile, as its rows; a pivot is never below the ridge but for rounding. */
mat4 factorOf(mat4 tile, float smallest) {
  mat4 L = mat4(0.0);
  for (int c = 0; c < 4; c++) {
    float pivot = sqrt(max(tile[c][c] - dot(L[c], L[c]), smallest));
    vec4 column;
    for (int b = 0; b < 4; b++) column[b] = b == c ? pivot : b > c ? (tile[c][b] - dot(L[b], L[c])) / pivot : 0.0;
    for (int b = 0; b < 4; b++) L[b][c] = column[b];
  }
  return L;
}

/** L^-1 times a tile. */
mat4 forward(mat4 L, mat4 tile) {
  for (int b = 0; b < 4; b++) {
    for (int c = 0; c < b; c++) tile[b] -= L[b][c] * tile[c];
    tile[b] /= L[b][b];
  }
  return tile;
}

/** L^-T times a vector. */
vec4 backward(mat4 L, vec4 y) {
  for (int b = 3; b >= 0; b--) {
    for (int c = b + 1; c < 4; c++) y[b] -= L[c][b] * y[c];
    y[b] /= L[b][b];
  }
  return y;
}
`;

/** Eliminates the unknowns of tile `step` from those behind it. */
export const eliminateShader: Shader = {
  name: 'eliminate',
  images: ['matrix', 'scalars', 'rowInfo'],
  params: { size: 'int', firstTile: 'int', tiles: 'int', pivot: 'int' },
  idle,
  writes: 'tile',
  code: `${MISSED}${FACTOR}
void main() {
  int r = here.y / size;
  int i = here.y % size;
  mat4 tile = mat4(0.0);
  if (here.x >= i && isMissed(r)) {
    tile = load(matrix, here.x, here.y);
    if (i > pivot) {
      int y = r * size + pivot;
      mat4 L = factorOf(load(matrix, pivot, y), loadRow(rowInfo, 0, firstTile + r / 4, 1)[r % 4]);
      mat4 above = forward(L, load(matrix, i, y));
      mat4 right = forward(L, load(matrix, here.x, y));
      tile -= right * transpose(above);
    }
  }
  store(tile);
}
`,
};

/** Solves for the unknowns of tile `pivot`, given those behind it: row 0 of the tiles of `solved`, one row a system. */
export const substituteShader: Shader = {
  name: 'substitute',
  images: ['matrix', 'solved', 'scalars', 'rowInfo'],
  params: { size: 'int', firstTile: 'int', tiles: 'int', pivot: 'int' },
  idle,
  writes: 'tile',
  code: `${MISSED}${FACTOR}
void main() {
  int r = here.y;
  vec4 x = vec4(0.0);
  if (isMissed(r)) {
    if (here.x > pivot) x = loadRow(solved, here.x, r, 0);
    if (here.x == pivot) {
      int y = r * size + pivot;
      mat4 right = load(matrix, size, y);
      vec4 b = vec4(right[0].x, right[1].x, right[2].x, right[3].x);
      for (int t = pivot + 1; t < size; t++) b -= loadRow(solved, t, r, 0) * load(matrix, t, y);
      mat4 L = factorOf(load(matrix, pivot, y), loadRow(rowInfo, 0, firstTile + r / 4, 1)[r % 4]);
      mat4 middle = forward(L, transpose(mat4(b, vec4(0.0), vec4(0.0), vec4(0.0))));
      x = backward(L, vec4(middle[0].x, middle[1].x, middle[2].x, middle[3].x));
    }
  }
  store(mat4(x, vec4(0.0), vec4(0.0), vec4(0.0)));
}
`,
};

/** The solutions at their own length: of the iteration, or `solved` for the rows of the chunk that missed. */
export const solutionShader: Shader = {
  name: 'solution',
  images: ['vectors', 'setup', 'scalars', 'solved'],
  params: { size: 'int', firstTile: 'int', hasSolved: 'int' },
  writes: 'tile',
  code: `${MISSED}
void main() {
  mat4 x = load(vectors, here.x, here.y);
  vec4 size_ = loadRow(setup, 0, here.y, 0);
  for (int a = 0; a < 4; a++) {
    int r = 4 * (here.y - firstTile) + a;
    if (hasSolved != 0 && isMissed(r)) x[a] = here.x < size ? loadRow(solved, here.x, r, 0) : vec4(0.0);
    x[a] *= size_[a];
  }
  store(x);
}
`,
};
