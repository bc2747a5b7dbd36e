import type { Shader } from './shader.js';

/**
 * Writes rows of tiles into a tensor `[heads, T, C]` whose texture is `width` texels wide: the elements
 * `first .. last - 1`, of rows from `start` on. By the tiles of `marks`, one column of them, a row is NaN where row 3 is
 * above 0, and zeros where row 2 is not. With `isVector` the source has one number a row, in row 0 of its tiles.
 */
export const storeShader: Shader = {
  name: 'store',
  images: ['source', 'marks'],
  params: {
    T: 'int',
    C: 'int',
    tiles: 'int',
    firstHead: 'int',
    start: 'int',
    first: 'int',
    last: 'int',
    width: 'int',
    isVector: 'int',
    factor: 'float',
  },
  writes: 'number',
  code: `
void main() {
  int element = here.y * width + here.x;
  if (element < first || element >= last) discard;
  int row = element / C;
  int c = element % C;
  int i = row % T - start;
  int y = (row / T - firstHead) * tiles + i / 4;
  float number = 0.0;
  if (loadRow(marks, 0, y, 2)[i % 4] > 0.0) {
    float found = isVector != 0 ? loadRow(source, 0, y, 0)[i % 4] : loadRow(source, c / 4, y, i % 4)[c % 4];
    number = loadRow(marks, 0, y, 3)[i % 4] > 0.0 ? uintBitsToFloat(0x7fc00000u) : factor * found;
  }
  store(number);
}
`,
};
