import { BLOCK, type Matrices } from './matrices.js';
import { unroll } from './shader.js';
import { blockColumnsOf, type Columns, type StagedExtra, threadsOf, type Tile } from './tile_shape.js';

/*
 * The columns of a tile by matrices (matrix_tile.wgsl.ts): half-precision vectors that a workgroup's subgroups share, in workgroup memory.
 * A column has a row there, with all its vectors side by side where several sets of columns are staged together.
 */

export interface MatrixTile extends Tile {
  readonly matrices: Matrices;
}

export const BLOCK_QUADS = BLOCK / 4;

/** Quads from column to column: two more than there are, so that neighbours lie in different banks. */
export const stagedStride = ({ chunk, regions = 1 }: Tile): number => regions * chunk + 2;

/** Quads of the staged columns of one tile. */
export const bufferQuads = (tile: Tile): number => blockColumnsOf(tile) * stagedStride(tile);

/** Where columns begin among the staged ones of the tile at hand. */
export const firstStaged = (tile: Tile, { region = 0 }: Columns, buffer = 'buffer'): string =>
  `${tile.buffers === 2 ? `${buffer} * ${bufferQuads(tile)}u + ` : ''}${region * tile.chunk}u`;

/** `text` for every quad of a tile's columns that a thread moves, the step's number and the quad's column and place, as expressions. */
function perMoved(
  tile: MatrixTile,
  { width }: Columns,
  text: (step: number, column: string, c: string) => string,
): string {
  const total = blockColumnsOf(tile) * width;
  const threads = threadsOf(tile);
  return unroll(Math.ceil(total / threads), (step) => {
    const at = `(tid + ${step * threads}u)`;
    const move = text(step, `${at} / ${width}u`, `${at} % ${width}u`);
    return (step + 1) * threads > total ? `if (tid < ${total - step * threads}u) { ${move} }` : move;
  });
}

const columnQuad = (tile: MatrixTile, columns: Columns, t: string, column: string, c: string): string =>
  `${columns.buffer}[${columns.base} + (${t} * ${blockColumnsOf(tile)}u + ${column}) * ${columns.stride}u + ${columns.offset}u + ${c}]`;

const stagedQuad = (tile: MatrixTile, columns: Columns, column: string, c: string, buffer?: string): string =>
  `staged[${firstStaged(tile, columns, buffer)} + ${column} * ${stagedStride(tile)}u + ${c}]`;

/** Copies the columns of tile `t`; nobody may be reading the last ones. */
export const stage = (tile: MatrixTile, columns: Columns): string =>
  perMoved(
    tile,
    columns,
    (_, column, c) => `${stagedQuad(tile, columns, column, c)} = ${columnQuad(tile, columns, 't', column, c)};`,
  );

const movesOf = (tile: MatrixTile, { width }: Columns): number =>
  Math.ceil((blockColumnsOf(tile) * width) / threadsOf(tile));

const NO_EXTRA: StagedExtra = { ask: () => '', write: () => '' };

/**
 * A loop over the tiles of columns from `first` to below `count`, expressions, all columns of a tile staged together. With room for two tiles
 * the next one's are asked for at the beginning of a turn and written by `stageNext`, which spares two barriers of a turn and the waiting.
 */
export function loopOverColumns(
  tile: MatrixTile,
  sets: readonly Columns[],
  { first, count, extra = NO_EXTRA }: { readonly first: string; readonly count: string; readonly extra?: StagedExtra },
  body: string,
): string {
  if (tile.buffers !== 2) {
    return `
  for (var t = ${first}; t < ${count}; t++) {
    ${extra.ask('t')}
    workgroupBarrier();
    ${sets.map((columns) => stage(tile, columns)).join('\n')}
    ${extra.write('0u')}
    workgroupBarrier();
    ${body}
  }`;
  }
  const ask = (t: string): string =>
    sets
      .map((columns, set) => {
        const names = unroll(movesOf(tile, columns), (step) => `var next${set}_${step}: Half4;`, ' ');
        return `${names}
    ${perMoved(tile, columns, (step, column, c) => `next${set}_${step} = ${columnQuad(tile, columns, t, column, c)};`)}`;
      })
      .join('\n');
  return `
  {
    ${ask(first)}
    ${extra.ask(first)}
    let buffer = 1u - ${first} % 2u;
    workgroupBarrier();
    ${stageNext(tile, sets, extra)}
    workgroupBarrier();
  }
  for (var t = ${first}; t < ${count}; t++) {
    let buffer = t % 2u;
    let ahead = min(t + 1u, ${count} - 1u);
    ${ask('ahead')}
    ${extra.ask('ahead')}
    ${body}
  }`;
}

/** Writes the columns of the next tile, in a loop over columns with room for two: before a barrier of the body behind which no products are made. */
export const stageNext = (tile: MatrixTile, sets: readonly Columns[], extra = NO_EXTRA): string =>
  tile.buffers === 2
    ? `${sets
        .map((columns, set) =>
          perMoved(
            tile,
            columns,
            (step, column, c) => `${stagedQuad(tile, columns, column, c, '(1u - buffer)')} = next${set}_${step};`,
          ),
        )
        .join('\n')}
    ${extra.write('(1u - buffer)')}`
    : '';
