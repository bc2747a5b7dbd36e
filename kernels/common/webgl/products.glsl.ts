import type { Shader } from './shader.js';
import { boundCode, boundParams } from './weights.glsl.js';

/** \`weights [rows, keys] x keys [keys, columns]\` of a block of rows: sums over the keys that a row may see. */
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
