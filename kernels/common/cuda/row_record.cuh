// What the gradient of keys takes from tiles of query rows: the largest of several.
#pragma once

#include "common/cuda/device.cuh"
#include "common/cuda/probe_params.h"

namespace tfjs_lla {

TFJS_LLA_DEVICE void Combine(RowTileRecord& all, const RowTileRecord& other) {
  all.largest = Max(all.largest, other.largest);
  if (other.bad_bound > all.bad_bound) all.bad_bound = other.bad_bound;
}

// Of all lanes of a warp, in each.
TFJS_LLA_DEVICE void CombineLanes(RowTileRecord& all) {
#pragma unroll
  for (int lanes = 1; lanes < kWarpSize; lanes *= 2) {
    RowTileRecord other;
    other.largest = ShuffleXor(all.largest, lanes);
    other.bad_bound = Bits(ShuffleXor(FromBits(all.bad_bound), lanes));
    Combine(all, other);
  }
}

// Writes the one of the block, through the memory of its ring.
template <int kThreads>
TFJS_LLA_DEVICE void CombineBlock(RowTileRecord& all, char* shared, RowTileRecord* to) {
  CombineLanes(all);
  SyncBlock();
  RowTileRecord* const of_warps = reinterpret_cast<RowTileRecord*>(shared);
  if (ThreadIndex() % kWarpSize == 0) of_warps[ThreadIndex() / kWarpSize] = all;
  SyncBlock();
  if (ThreadIndex() != 0) return;
  for (int warp = 1; warp < kThreads / kWarpSize; warp++) Combine(all, of_warps[warp]);
  *to = all;
}

}  // namespace tfjs_lla
