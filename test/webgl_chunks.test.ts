import fc from 'fast-check';
import { headGroups } from '../kernels/common/webgl/texels/blocks.js';

/** What a call's memory and draws are bounded by. */
const loads = fc.record({
  heads: fc.integer({ min: 1, max: 20 }),
  length: fc.integer({ min: 1, max: 30_000 }),
  chunk: fc.constantFrom(64, 128, 256),
  floats: fc.integer({ min: 40, max: 8000 }),
  products: fc.integer({ min: 100, max: 1_000_000 }),
});

test('groups of heads cover every head once, their blocks every position once', () => {
  fc.assert(
    fc.property(loads, fc.double({ min: 0, max: 1, noNaN: true }), (load, part) => {
      const groups = headGroups(load);
      const heads = groups.flatMap(({ firstHead, heads: count }) =>
        Array.from({ length: count }, (_, h) => firstHead + h),
      );
      expect(heads).toEqual(Array.from({ length: load.heads }, (_, h) => h));
      for (const length of [load.length, Math.max(1, Math.floor(part * load.length))]) {
        for (const group of groups) {
          let covered = 0;
          for (const block of group.blocksOf(length)) {
            expect(block.first).toBe(covered);
            expect(block.positions).toBe(block.chunks * load.chunk);
            covered += block.positions;
          }
          expect(covered).toBeGreaterThanOrEqual(length);
        }
      }
    }),
  );
});

test('a block is within 40 MiB and 1e9 multiply-adds, or is one chunk; one of several heads holds them whole', () => {
  fc.assert(
    fc.property(loads, (load) => {
      for (const group of headGroups(load)) {
        const blocks = group.blocksOf(load.length);
        for (const { positions, chunks, heads } of blocks) {
          if (heads === 1 && chunks === 1) continue;
          expect(heads * positions * load.floats).toBeLessThanOrEqual(10 * 2 ** 20);
          expect(heads * positions * load.products).toBeLessThanOrEqual(1e9);
        }
        if (group.heads > 1) expect(blocks).toHaveLength(1);
      }
    }),
  );
});
