// What the gradient of keys takes from tiles of query rows: the largest of several.
#pragma once

#include "common/cuda/device.cuh"
#include "common/cuda/probe_params.h"

namespace tfjs_lla {

TFJS_LLA_DEVICE void Combine(RowTileRecord& all, const RowTileRecord& other) {
#pragma unroll
  for (int i = 0; i < kRowImages; i++) all.largest[i] = Max(all.largest[i], other.largest[i]);
  if (other.bad_bound > all.bad_bound) all.bad_bound = other.bad_bound;
}

// Of all lanes of a warp, in each.
TFJS_LLA_DEVICE void CombineLanes(RowTileRecord& all) {
#pragma unroll
  for (int lanes = 1; lanes < kWarpSize; lanes *= 2) {
    RowTileRecord other;
#pragma unroll
    for (int i = 0; i < kRowImages; i++) other.largest[i] = ShuffleXor(all.largest[i], lanes);
    other.bad_bound = Bits(ShuffleXor(FromBits(all.bad_bound), lanes));
    Combine(all, other);
  }
}

}  // namespace tfjs_lla
