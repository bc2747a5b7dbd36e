import type { Shader } from './shader.js';

/** A score that hides a key. Finite: no arithmetic with infinities. */
const HIDDEN = '-1e30';

/** Parameters of `keyBound`, the number of keys before a row's causal bound. */
export const boundParams = { start: 'int', offset: 'int', causal: 'int', Tk: 'int' } as const;

const keyBound = `
/** Keys before the causal bound of row i of the block; offset is Tk - Tq. */
int keyBound(int i) {
  return causal == 0 ? Tk : clamp(offset + start + i + 1, 0, Tk);
}
`;

/** Tiles of keys that a tile of rows reads: up to the bound of its last row. */
export const boundCode = `${keyBound}
int tilesSeen(int rowTile) {
  return (keyBound(4 * rowTile + 3) + 3) / 4;
}
`;

/** Scores `scale q.k + b` of a block of rows, by tiles of keys and rows. */
export const scoresShader: Shader = {
  name: 'scores',
  images: ['rows', 'keys', 'keyInfo'],
  params: { ...boundParams, rowTiles: 'int', keyTiles: 'int', inner: 'int' },
  writes: 'tile',
  code: `${boundCode}
void main() {
  int head = here.y / rowTiles;
  int rowTile = here.y % rowTiles;
  mat4 scores = mat4(${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN},
    ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN});
  if (here.x < tilesSeen(rowTile)) {
    int y = head * keyTiles + here.x;
    mat4 products = mat4(0.0);
    for (int t = 0; t < inner; t++) products += transpose(load(keys, t, y)) * load(rows, t, here.y);
    vec4 bias = loadRow(keyInfo, 0, y, 0);
    vec4 visible = loadRow(keyInfo, 0, y, 1);
    for (int a = 0; a < 4; a++) {
      int bound = keyBound(4 * rowTile + a);
      for (int b = 0; b < 4; b++) {
        if (visible[b] > 0.0 && 4 * here.x + b < bound) scores[a][b] = products[a][b] + bias[b];
      }
    }
  }
  store(scores);
}
`,
};

/**
 * What the rows of a block need to become weights, one column of tiles: its rows are the largest scores, the inverses of
 * the sums of exponentials (0 where a row sees no key), the numbers of visible keys, and 1 where a row must come out as
 * NaN: it has or sees a number that is not finite.
 */
export const rowStatsShader: Shader = {
  name: 'rowStats',
  images: ['scores', 'keyInfo', 'rowInfo'],
  params: { ...boundParams, rowTiles: 'int', keyTiles: 'int' },
  writes: 'tile',
  code: `${boundCode}
void main() {
  int head = here.y / rowTiles;
  int seen = tilesSeen(here.y % rowTiles);
  mat4 largest = mat4(${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN},
    ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN}, ${HIDDEN});
  for (int t = 0; t < seen; t++) {
    mat4 tile = load(scores, t, here.y);
    for (int a = 0; a < 4; a++) largest[a] = max(largest[a], tile[a]);
  }
  vec4 top;
  for (int a = 0; a < 4; a++) {
    top[a] = max(max(largest[a].x, largest[a].y), max(largest[a].z, largest[a].w));
  }
  mat4 sums = mat4(0.0);
  mat4 counts = mat4(0.0);
  mat4 bad = mat4(0.0);
  for (int t = 0; t < seen; t++) {
    mat4 tile = load(scores, t, here.y);
    vec4 isBad = loadRow(keyInfo, 0, head * keyTiles + t, 2);
    for (int a = 0; a < 4; a++) {
      vec4 sees = step(vec4(-1e29), tile[a]);
      sums[a] += sees * exp(min(tile[a] - top[a], 0.0));
      counts[a] += sees;
      bad[a] += sees * isBad;
    }
  }
  mat4 ones = mat4(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0);
  vec4 count = rowDots(counts, ones);
  vec4 sum = rowDots(sums, ones);
  vec4 isBad = rowDots(bad, ones) + loadRow(rowInfo, 0, here.y, 0);
  vec4 inverse = vec4(0.0);
  vec4 marks = vec4(0.0);
  for (int a = 0; a < 4; a++) {
    if (count[a] == 0.0) continue;
    inverse[a] = 1.0 / sum[a];
    if (isBad[a] > 0.0) marks[a] = 1.0;
  }
  store(mat4(top, inverse, count, marks));
}
`,
};

/** The softmax weights of a block of rows. */
export const weightsShader: Shader = {
  name: 'weights',
  images: ['scores', 'rowStats'],
  params: { ...boundParams, rowTiles: 'int' },
  writes: 'tile',
  code: `${boundCode}
void main() {
  mat4 tile = mat4(0.0);
  if (here.x < tilesSeen(here.y % rowTiles)) {
    mat4 s = load(scores, here.x, here.y);
    vec4 top = loadRow(rowStats, 0, here.y, 0);
    vec4 inverse = loadRow(rowStats, 0, here.y, 1);
    for (int a = 0; a < 4; a++) tile[a] = step(vec4(-1e29), s[a]) * exp(min(s[a] - top[a], 0.0)) * inverse[a];
  }
  store(tile);
}
`,
};
