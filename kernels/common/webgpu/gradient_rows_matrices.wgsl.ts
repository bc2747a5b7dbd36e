import { asOperand, type KeptWeights, onlineSoftmax } from './softmax_weights.wgsl.js';
import {
  addWeighted,
  type Columns,
  declareProducts,
  jointOperands,
  makeProducts,
  type MatrixTile,
  operand,
  overColumns,
  perQuad,
  perRow,
  type Products,
  quadOf,
  readAccumulator,
  readStaged,
  type RowQuad,
  stagedProducts,
  stageNext,
  storeHalves,
  sumOfQuads,
} from './tile.wgsl.js';

/** What the rows' part of a gradient (gradient_rows.wgsl.ts) does otherwise by matrices: it makes the products of a tile with keys and values together. */
export interface GradientRowsByMatrices {
  /** The first pass: with both products of a tile also both weighted sums, mean key and `N`. */
  readonly firstPass: (finished: string, kept: KeptWeights | undefined) => string;
  /** The last one: `Gamma`, less `k.u` where there is a solution `u`, is one sum `y`, for which both vectors are in one unit. */
  readonly lastPass: (solution: RowQuad | undefined) => {
    readonly operands: string;
    readonly products: (others: readonly Products[]) => string;
  };
}

export function gradientRowsByMatrices(
  tile: MatrixTile,
  key: Columns,
  value: Columns,
  cotangent: Products,
): GradientRowsByMatrices {
  const staged = [key, value];
  const firstPass = (finished: string, kept: KeptWeights | undefined): string => {
    const both = [stagedProducts(key, { name: 's' }), stagedProducts(value, cotangent)];
    // Weights are below 2^15.
    const gammaUnit = `(8.0 * unit_y * ${value.unit})`;
    const weighGamma = `
    ${perQuad(tile, (i, q) => `z${i}_${q} = ${asOperand(tile, `(p${i}_${q} * ${quadOf('y', i, q)})`)};`)}
    ${storeHalves(tile, (i, q) => `z${i}_${q}`, gammaUnit, 1)}`;
    const sums = ['a', 'n'].map((name, area) => ({ name, columns: key, area }));
    return `
  ${operand(tile, cotangent, value.width)}
  ${overColumns(
    tile,
    staged,
    'keyTiles',
    `${both.map(({ name }) => declareProducts(tile, name)).join('\n')}
    ${makeProducts(tile, both)}
    ${finished}
    ${perQuad(tile, (i, q) => `var z${i}_${q} = vec4f();`)}
    ${onlineSoftmax(
      tile,
      sums.map(({ name }) => ({ name, width: key.width })),
      ['gbar'],
      { columns: key, isStaged: true },
      `${both.map((set, area) => readStaged(tile, set, area)).join('\n')} ${finished}`,
      kept,
      { first: `${weighGamma} ${stageNext(tile, staged)}`, again: weighGamma },
    )}
    ${addWeighted(tile, sums)}
    ${perRow(tile, (i) => `peak${i} = max(peak${i}, top${i}); gbar${i} += ${sumOfQuads(tile, 'z', i)};`)}`,
  )}
  ${readAccumulator(tile, 'a', key.width, `${key.unit}`)}
  ${readAccumulator(tile, 'n', key.width, `(${gammaUnit} * ${key.unit})`)}`;
  };
  const lastPass: GradientRowsByMatrices['lastPass'] = (solution) => {
    const negated: RowQuad | undefined = solution && ((i, c) => `-${solution(i, c)}`);
    const parts = [
      { operand: 'y', row: cotangent.row, columns: value },
      ...(negated ? [{ operand: 'u', row: negated, columns: key }] : []),
    ];
    const joined = parts.map((part) => ({
      ...part,
      width: part.columns.width,
      columnUnit: part.columns.unit ?? '1.0',
    }));
    const eta = { name: 'y', parts, unit: 'unit_eta' };
    return {
      operands: `${jointOperands(tile, 'eta', joined)}
  ${solution ? 'let unit_u = unitAbove(sqrt(square_u0));' : ''}`,
      products: (others) => `
    ${['y', ...others.map(({ name }) => name)].map((name) => declareProducts(tile, name)).join('\n')}
    ${makeProducts(tile, [eta, ...others.map((set) => stagedProducts(key, set))])}`,
    };
  };
  return { firstPass, lastPass };
}
