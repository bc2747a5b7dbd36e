// Mesa attention's ridge and its gradient, and the rows of a gradient.
#pragma once

#include "common/cuda/chunk_tiles.cuh"
#include "common/cuda/finite.cuh"

namespace tfjs_lla {

// One block per head.
struct PrepareRidge {
  const ChunkParams& p;

  TFJS_LLA_DEVICE void Run() const {
    const int head = static_cast<int>(BlockIndex());
    const float* given = p.ridge ? p.ridge + head % p.heads_per_batch * p.dim : nullptr;
    // The smallest of positive numbers is that of their bits.
    int smallest = 0x7f7fffff;
    bool bad = false;
    for (int d = ThreadIndex(); d < p.dim; d += kChunkThreads) {
      const float ridge = given ? given[d] : p.ridge_value;
      if (!(ridge > 0) || !IsFinite(ridge)) {
        bad = true;
      } else if (Bits(ridge) < smallest) {
        smallest = Bits(ridge);
      }
    }
    const bool usable = !AnyInBlock(bad);
    int* shared = reinterpret_cast<int*>(SharedMemory());
    smallest = MinOverWarp(smallest);
    if (ThreadIndex() % kWarpSize == 0) shared[ThreadIndex() / kWarpSize] = smallest;
    SyncBlock();
    for (int d = ThreadIndex(); d < p.padded_dim; d += kChunkThreads) {
      p.ridges[head * p.padded_dim + d] = usable && d < p.dim ? given ? given[d] : p.ridge_value : 1.0f;
    }
    if (ThreadIndex() != 0) return;
    for (int w = 1; w < kChunkThreads / kWarpSize; w++) smallest = shared[w] < smallest ? shared[w] : smallest;
    p.head_ridges[head] = {usable ? FromBits(smallest) : 1.0f, usable};
  }
};

// One block per head and tile of query rows: solutions of the forward pass and cotangents, padded, zeros in rows that
// are not ordinary.
struct PrepareMesaRows {
  const ChunkParams& p;

  TFJS_LLA_DEVICE void Run() const {
    const int tiles = PaddedRows(p.queries) / kChunkTile;
    const int head = static_cast<int>(BlockIndex() / tiles),
              start = static_cast<int>(BlockIndex() % tiles) * kChunkTile;
    const long long row_base = static_cast<long long>(head) * tiles * kChunkTile + start;
    const int lane = ThreadIndex() % kWarpSize, warp = ThreadIndex() / kWarpSize;
    const ChunkKeyRecord record = p.head_records[head];
    int bad_bound = 0;
    for (int r = warp; r < kChunkTile; r += kChunkThreads / kWarpSize) {
      const long long from = static_cast<long long>(head) * p.queries + start + r;
      int found = kZeroRow;
      if (start + r < p.queries) {
        bool finite = IsFiniteRow(p.probe + from * p.dim, p.dim);
        finite = IsFiniteRow(p.dout + from * p.value_dim, p.value_dim) && finite && p.head_ridges[head].usable;
        const int bound = KeysBefore(p, start + r);
        if (record.first_visible < bound) found = finite && record.first_bad >= bound ? kOrdinaryRow : kNanRow;
        if (found == kNanRow && bound > bad_bound) bad_bound = bound;
      }
      const bool ordinary = found == kOrdinaryRow;
      if (lane == 0) p.row_state_out[row_base + r] = found;
      for (int d = lane; d < p.padded_dim; d += kWarpSize) {
        p.padded_probe[(row_base + r) * p.padded_dim + d] = ordinary && d < p.dim ? p.probe[from * p.dim + d] : 0.0f;
      }
      for (int d = lane; d < p.padded_value_dim; d += kWarpSize) {
        p.row_cotangent[(row_base + r) * p.padded_value_dim + d] =
            ordinary && d < p.value_dim ? p.dout[from * p.value_dim + d] : 0.0f;
      }
    }
    int* shared = reinterpret_cast<int*>(SharedMemory());
    if (lane == 0) shared[warp] = bad_bound;
    SyncBlock();
    if (ThreadIndex() != 0) return;
    for (int w = 1; w < kChunkThreads / kWarpSize; w++) bad_bound = shared[w] > bad_bound ? shared[w] : bad_bound;
    p.tile_bounds_out[BlockIndex()] = bad_bound;
  }
};

// One block per head of a batch entry: adds up what tiles of query rows add to the gradient of its ridge. NaN where one
// of its rows is.
struct SumRidgeGradient {
  const ChunkParams& p;

  TFJS_LLA_DEVICE void Run() const {
    const int of_batch = static_cast<int>(BlockIndex()), tiles = PaddedRows(p.queries) / kChunkTile;
    for (int d = ThreadIndex(); d < p.dim; d += kChunkThreads) {
      float sum = 0;
      for (int head = of_batch; head < p.heads; head += p.heads_per_batch) {
        if (p.head_bounds[head] > 0) sum = FromBits(0x7fc00000);
        for (int t = 0; t < tiles; t++) {
          sum += p.ridge_parts[(static_cast<long long>(head) * tiles + t) * p.padded_dim + d];
        }
      }
      p.dridge[of_batch * p.dim + d] = sum;
    }
  }
};

}  // namespace tfjs_lla
