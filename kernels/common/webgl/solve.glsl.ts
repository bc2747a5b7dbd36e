import type { Shader } from './shader.js';
import { boundCode, boundParams } from './weights.glsl.js';

/** `q - centre - kbar`: the right-hand side of a row's system; zeros for rows that see nothing or come out as NaN. */
export const rightSideShader: Shader = {
  name: 'rightSide',
  images: ['query', 'kbar', 'centre', 'rowStats'],
  params: { rowTiles: 'int', D: 'int' },
  writes: 'tile',
  code: `
void main() {
  mat4 b = mat4(0.0);
  vec4 shift = loadRow(centre, here.x, here.y / rowTiles, 0);
  vec4 count = loadRow(rowStats, 0, here.y, 2);
  vec4 isBad = loadRow(rowStats, 0, here.y, 3);
  mat4 q = load(query, here.x, here.y);
  mat4 mean = load(kbar, here.x, here.y);
  vec4 exists = step(vec4(4 * here.x) + vec4(0.5, 1.5, 2.5, 3.5), vec4(D));
  for (int a = 0; a < 4; a++) {
    if (count[a] > 0.0 && isBad[a] == 0.0) b[a] = exists * (q[a] - shift - mean[a]);
  }
  store(b);
}
`,
};

/** The tile of a weighted sum over keys about their weighted mean; `sums` have the sum of the weights in column `D`. */
const aboutMean = `
vec4 sumOfWeights(sampler2DArray sums, int y) {
  return vec4(
    loadRow(sums, D / 4, y, 0)[D % 4],
    loadRow(sums, D / 4, y, 1)[D % 4],
    loadRow(sums, D / 4, y, 2)[D % 4],
    loadRow(sums, D / 4, y, 3)[D % 4]
  );
}
mat4 aboutMean(sampler2DArray sums, sampler2DArray kbar, vec4 weight, int x, int y) {
  mat4 tile = load(sums, x, y);
  mat4 mean = load(kbar, x, y);
  vec4 exists = step(vec4(4 * x) + vec4(0.5, 1.5, 2.5, 3.5), vec4(D));
  for (int a = 0; a < 4; a++) tile[a] = exists * (tile[a] - weight[a] * mean[a]);
  return tile;
}
`;

/** Sums over keys made sums over `k - kbar`. */
export const aboutMeanShader: Shader = {
  name: 'aboutMean',
  images: ['sums', 'kbar'],
  params: { D: 'int' },
  writes: 'tile',
  code: `${aboutMean}
void main() {
  store(aboutMean(sums, kbar, sumOfWeights(sums, here.y), here.x, here.y));
}
`,
};

/**
 * What does not change while rows are solved, one column of tiles: the right-hand sides' lengths, the squared residuals at
 * which a row stops, and whether it is left to the direct solver (`direct`: 0 none, 1 those of a small ridge, 2 all).
 */
export const solveSetupShader: Shader = {
  name: 'solveSetup',
  images: ['right', 'rowInfo', 'rowStats', 'centre'],
  params: { rowTiles: 'int', D: 'int', width: 'int', tolerance: 'float', smallRidge: 'float', direct: 'int' },
  writes: 'tile',
  code: `
void main() {
  vec4 squares = vec4(0.0);
  float largest = 0.0;
  for (int t = 0; t < width; t++) {
    mat4 b = load(right, t, here.y);
    for (int a = 0; a < 4; a++) largest = max(largest, max(max(abs(b[a].x), abs(b[a].y)), max(abs(b[a].z), abs(b[a].w))));
  }
  // Of scaled numbers: squares of small ones would leave the range of float32.
  float unit = largest > 0.0 ? largest : 1.0;
  for (int t = 0; t < width; t++) {
    mat4 b = load(right, t, here.y) / unit;
    squares += rowDots(b, b);
  }
  float variance = 0.0;
  int head = here.y / rowTiles;
  for (int t = 0; t < width; t++) variance += dot(loadRow(centre, t, head, 1), vec4(1.0));
  variance /= max(1.0, loadRow(centre, 0, head, 2).x) * float(D);
  vec4 ridge = loadRow(rowInfo, 0, here.y, 1);
  vec4 share = min(loadRow(rowStats, 0, here.y, 2) / float(8 * D), 1.0);
  // Rows of few keys are ill-conditioned: they are taken closer.
  vec4 wanted = tolerance > 1e-6 ? max(vec4(1e-6), tolerance * share * share) : vec4(tolerance);
  vec4 isDirect = direct == 2 ? vec4(1.0) : vec4(0.0);
  for (int a = 0; a < 4; a++) if (direct == 1 && ridge[a] < smallRidge * variance) isDirect[a] = 1.0;
  store(mat4(sqrt(squares) * unit, wanted * wanted, isDirect, vec4(0.0)));
}
`,
};

/** Before the first iteration: `x = 0`, and residual and direction are the right-hand side at unit length, side by side. */
export const startShader: Shader = {
  name: 'start',
  images: ['right', 'setup'],
  params: { width: 'int' },
  writes: 'tile',
  code: `
void main() {
  mat4 b = mat4(0.0);
  if (here.x >= width) {
    b = load(right, here.x % width, here.y);
    vec4 size = loadRow(setup, 0, here.y, 0);
    for (int a = 0; a < 4; a++) b[a] = size[a] > 0.0 ? b[a] / size[a] : vec4(0.0);
  }
  store(b);
}
`,
};

/** How a row stands: its squared residual while it moves; then it is done, or left to the direct solver. */
const STATES = `
#define DONE -1.0
#define MISSED -2.0
bool anyMoves(sampler2DArray scalars, int y) {
  return any(greaterThanEqual(loadRow(scalars, 0, y, 2), vec4(0.0)));
}
`;

/** A block without a row that moves. */
const idle = `${STATES}
bool isIdle() {
  for (int t = 0; t < tiles; t++) {
    if (anyMoves(scalars, t)) return false;
  }
  return true;
}
`;

/** The rows' scalars before the first iteration; see `scalarsShader`. */
export const startScalarsShader: Shader = {
  name: 'startScalars',
  images: ['setup', 'right', 'kbar'],
  params: { width: 'int' },
  writes: 'tile',
  code: `${STATES}
void main() {
  vec4 size = loadRow(setup, 0, here.y, 0);
  vec4 isDirect = loadRow(setup, 0, here.y, 2);
  vec4 mean = vec4(0.0);
  for (int t = 0; t < width; t++) {
    mat4 b = load(right, t, here.y);
    for (int a = 0; a < 4; a++) b[a] = size[a] > 0.0 ? b[a] / size[a] : vec4(0.0);
    mean += rowDots(b, load(kbar, t, here.y));
  }
  vec4 state;
  for (int a = 0; a < 4; a++) state[a] = !(size[a] > 0.0) ? DONE : isDirect[a] > 0.0 ? MISSED : 0.0;
  store(mat4(vec4(0.0), vec4(0.0), state, mean));
}
`,
};

/**
 * `p_j (k_j.u - kbar.u)` of the rows that move. The mean is taken out before the products are summed: where one key has
 * nearly all of the weight, what is left after it is small, and so is its rounding.
 */
export const directionProductsShader: Shader = {
  name: 'directionProducts',
  images: ['vectors', 'keys', 'weights', 'scalars'],
  params: { ...boundParams, rowTiles: 'int', keyTiles: 'int', inner: 'int', width: 'int', tiles: 'int' },
  idle,
  writes: 'tile',
  code: `${boundCode}${STATES}
void main() {
  mat4 products = mat4(0.0);
  if (here.x < tilesSeen(here.y % rowTiles) && anyMoves(scalars, here.y)) {
    int y = here.y / rowTiles * keyTiles + here.x;
    for (int t = 0; t < inner; t++) products += transpose(load(keys, t, y)) * load(vectors, 2 * width + t, here.y);
    vec4 mean = loadRow(scalars, 0, here.y, 3);
    mat4 p = load(weights, here.x, here.y);
    for (int a = 0; a < 4; a++) products[a] = p[a] * (products[a] - mean[a]);
  }
  store(products);
}
`,
};

/** `sum_j p_j (k_j.u - kbar.u) k_j` of the rows that move. */
export const imageSumShader: Shader = {
  name: 'imageSum',
  images: ['weights', 'keys', 'scalars'],
  params: { ...boundParams, rowTiles: 'int', keyTiles: 'int', tiles: 'int' },
  idle,
  writes: 'tile',
  code: `${boundCode}${STATES}
void main() {
  mat4 sum = mat4(0.0);
  if (anyMoves(scalars, here.y)) {
    int first = here.y / rowTiles * keyTiles;
    int seen = tilesSeen(here.y % rowTiles);
    for (int t = 0; t < seen; t++) sum += load(keys, here.x, first + t) * load(weights, t, here.y);
  }
  store(sum);
}
`,
};

/** `(C + ridge I) u` of a tile. */
const imageOf = `${aboutMean}
mat4 imageOf(mat4 u, vec4 weight, vec4 ridge, int x, int y) {
  mat4 image = aboutMean(sums, kbar, weight, x, y);
  for (int a = 0; a < 4; a++) image[a] += ridge[a] * u[a];
  return image;
}
`;

/**
 * Steps of the rows that move, one column of tiles: `alpha`, `beta`, the squared residual or the state, and the weighted
 * mean of the next direction's products. All come from sums over the present vectors, so that one draw updates them. `isLast`: no image was made, rows that still move
 * have missed. A row that stops takes half a step more, `x += alpha u` with the last `alpha`, and counts on the drop of its
 * residual, but for no more than `lowestDrop` (docs/decisions/0004).
 */
export const scalarsShader: Shader = {
  name: 'scalars',
  images: ['vectors', 'sums', 'kbar', 'setup', 'rowInfo', 'before'],
  params: { D: 'int', width: 'int', isLast: 'int', lowestDrop: 'float' },
  writes: 'tile',
  code: `${STATES}${imageOf}
void main() {
  mat4 last = load(before, 0, here.y);
  vec4 alpha = vec4(0.0);
  vec4 beta = vec4(0.0);
  vec4 state = last[2];
  vec4 mean = vec4(0.0);
  if (anyMoves(before, here.y)) {
    vec4 rr = vec4(0.0), ru = vec4(0.0), ua = vec4(0.0), ra = vec4(0.0), aa = vec4(0.0);
    vec4 kr = vec4(0.0), ka = vec4(0.0);
    vec4 ridge = loadRow(rowInfo, 0, here.y, 1);
    vec4 weight = sumOfWeights(sums, here.y);
    for (int t = 0; t < width; t++) {
      mat4 r = load(vectors, width + t, here.y);
      mat4 u = load(vectors, 2 * width + t, here.y);
      mat4 image = imageOf(u, weight, ridge, t, here.y);
      rr += rowDots(r, r);
      ru += rowDots(r, u);
      ua += rowDots(u, image);
      ra += rowDots(r, image);
      aa += rowDots(image, image);
      mat4 k = load(kbar, t, here.y);
      kr += rowDots(k, r);
      ka += rowDots(k, image);
    }
    vec4 target = loadRow(setup, 0, here.y, 1);
    for (int a = 0; a < 4; a++) {
      if (state[a] < 0.0) continue;
      float drop = last[2][a] > 0.0 ? clamp(rr[a] / last[2][a], lowestDrop * lowestDrop, 1.0) : 1.0;
      if (rr[a] * drop <= target[a]) {
        state[a] = DONE;
        alpha[a] = last[0][a];
      } else if (isLast != 0 || !(ua[a] > 0.0)) {
        state[a] = MISSED;
      } else {
        alpha[a] = ru[a] / ua[a];
        beta[a] = -(ra[a] - alpha[a] * aa[a]) / ua[a];
        mean[a] = kr[a] - alpha[a] * ka[a] + beta[a] * last[3][a];
        state[a] = rr[a];
      }
    }
  }
  store(mat4(alpha, beta, state, mean));
}
`,
};

/** Solution, residual and direction after a step. */
export const updateShader: Shader = {
  name: 'update',
  images: ['vectors', 'sums', 'kbar', 'rowInfo', 'scalars'],
  params: { D: 'int', width: 'int' },
  writes: 'tile',
  code: `${imageOf}
void main() {
  mat4 tile = load(vectors, here.x, here.y);
  vec4 alpha = loadRow(scalars, 0, here.y, 0);
  vec4 beta = loadRow(scalars, 0, here.y, 1);
  if (any(notEqual(alpha, vec4(0.0)))) {
    int column = here.x % width;
    mat4 u = load(vectors, 2 * width + column, here.y);
    if (here.x < width) {
      for (int a = 0; a < 4; a++) tile[a] += alpha[a] * u[a];
    } else {
      vec4 ridge = loadRow(rowInfo, 0, here.y, 1);
      mat4 image = imageOf(u, sumOfWeights(sums, here.y), ridge, column, here.y);
      mat4 r = load(vectors, width + column, here.y);
      for (int a = 0; a < 4; a++) {
        r[a] -= alpha[a] * image[a];
        tile[a] = here.x < 2 * width ? r[a] : r[a] + beta[a] * u[a];
      }
    }
  }
  store(tile);
}
`,
};
