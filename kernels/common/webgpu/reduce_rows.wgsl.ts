import { combinePair } from './matrix.wgsl.js';
import { blockRowsOf, perRow, type Tile } from './tile_shape.js';

/** Whether threads of a row exchange numbers through workgroup memory, not within their subgroup. */
const usesMemory = ({ matrices }: Tile): boolean => matrices !== 'hardware';

/** Bytes of the array in which threads exchange numbers of a row. */
export const reductionBytes = (tile: Tile): number => (usesMemory(tile) ? 4 * blockRowsOf(tile) * tile.threadsX : 0);

export const declareReduction = (tile: Tile): string =>
  usesMemory(tile) ? `var<workgroup> reduction: array<array<f32, ${tile.threadsX}>, ${blockRowsOf(tile)}>;` : '';

/** Combines `name{i}` over the threads of each row, for every name; all of them get the result. */
export function reduceRows(tile: Tile, names: readonly string[], operation: 'sum' | 'max'): string {
  const { threadsX, threadsY } = tile;
  if (!usesMemory(tile)) {
    return names.map((name) => perRow(tile, (i) => combinePair(`${name}${i}`, operation))).join('\n');
  }
  const at = (i: number, x: string | number): string => `reduction[ty + ${threadsY * i}u][${x}]`;
  const combined = (i: number): string => {
    const all = Array.from({ length: threadsX }, (_, x) => at(i, x));
    return operation === 'sum' ? all.join(' + ') : all.reduce((a, b) => `max(${a}, ${b})`);
  };
  return names
    .map(
      (name) => `
  ${perRow(tile, (i) => `${at(i, 'tx')} = ${name}${i};`, ' ')}
  workgroupBarrier();
  ${perRow(tile, (i) => `${name}${i} = ${combined(i)};`)}
  workgroupBarrier();`,
    )
    .join('');
}
