import fc from 'fast-check';
import { blockSizes, type Footprint, MAX_MULTIPLY_ADDS } from '../kernels/common/webgl/blocks.js';
import { keyColumnsOf } from '../kernels/common/webgl/keys.js';

const MiB = 2 ** 20;

/** Bytes of the matrices that `blockSizes` knows of. */
function bytesOf(sizes: ReturnType<typeof blockSizes>, Tk: number, { weights, keyColumns }: Footprint): number {
  const keys = 4 * Math.ceil(Tk / 4);
  return 4 * sizes.heads * keys * (sizes.rows * weights + keyColumns);
}

test('a block of any call keeps a draw short and its matrices within the budget', () => {
  const arbitrary = fc.record({
    heads: fc.integer({ min: 1, max: 64 }),
    Tq: fc.integer({ min: 1, max: 60_000 }),
    Tk: fc.integer({ min: 1, max: 60_000 }),
    D: fc.integer({ min: 1, max: 256 }),
    Dv: fc.integer({ min: 1, max: 256 }),
    weights: fc.integer({ min: 2, max: 5 }),
  });
  fc.assert(
    fc.property(arbitrary, ({ weights, ...dims }) => {
      const footprint = { weights, keyColumns: keyColumnsOf(dims.D, dims.Dv) };
      const sizes = blockSizes({ batch: 1, ...dims }, footprint, 16_384);
      const { heads, rows } = sizes;
      expect(rows % 4).toBe(0);
      expect(rows).toBeGreaterThan(0);
      expect(heads).toBeLessThanOrEqual(dims.heads);
      expect(heads * Math.ceil(dims.Tk / 4) <= 16_384 || heads === 1).toBe(true);
      expect(heads * rows * dims.Tk * Math.max(dims.D, dims.Dv)).toBeLessThanOrEqual(MAX_MULTIPLY_ADDS);
      // The keys of a single head are there whatever their number.
      const oneHead = 4 * (dims.Tk + 3) * footprint.keyColumns;
      expect(bytesOf(sizes, dims.Tk, footprint)).toBeLessThanOrEqual(24 * MiB + Math.max(5 * MiB, oneHead));
    }),
  );
});

test('4096 rows and keys of 64 channels take less than an eighth of a matrix of 4096 x 4096', () => {
  const dims = { batch: 1, heads: 32, Tq: 4096, Tk: 4096, D: 64, Dv: 64 };
  for (const weights of [2, 3, 5]) {
    const footprint = { weights, keyColumns: keyColumnsOf(64, 64) * (weights === 5 ? 2.5 : 1) };
    expect(bytesOf(blockSizes(dims, footprint, 8192), 4096, footprint)).toBeLessThan(8 * MiB);
  }
});
