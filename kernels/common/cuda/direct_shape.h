// How the kernels of the direct solver divide their work, for the host that starts them and for the kernels.
#pragma once

#include "common/cuda/direct_params.h"

namespace tfjs_lla {

constexpr int kDirectInfoBytes = 64;

// A block works on 8 query rows of one head, or on a tile of keys and 8 rows at a time. Every warp has a row's system.
template <int kDim_>
struct DirectShape {
  static constexpr int kDim = kDim_;  // padded head dimension
  static constexpr int kThreads = 256;
  static constexpr int kRows = 8;
  static constexpr int kBlocks = kDim <= 64 ? 2 : 1;
  // Keys that are staged at a time.
  static constexpr int kKeys = kDim <= 64 ? 64 : kDim == 128 ? 32 : 16;
  static constexpr int kStride = kDim + 1;  // of staged keys, so that both rows and columns are free of bank conflicts

  static constexpr int kVectorBytes = kDim * kRows * 8;
  static constexpr int kTileBytes = (kKeys * kStride * 4 + 15) / 16 * 16;
  static constexpr int kMeanOffset = 2 * kVectorBytes;  // after two vectors a row
  static constexpr int kPartialOffset = kMeanOffset + kVectorBytes;
  static constexpr int kWeightOffset = kPartialOffset + kThreads * kRows * 8;
  static constexpr int kTileOffset = kWeightOffset + kKeys * kRows * 8;
  static constexpr int kBiasOffset = kTileOffset + kTileBytes;
  static constexpr int kInfoOffset = kBiasOffset + kKeys * 4;
  static constexpr int kSharedBytes = kInfoOffset + kRows * kDirectInfoBytes;
};

// The gradient of keys: a second tile, of values, and weights of three kinds in float.
template <int kDim_>
struct DirectKeyShape : DirectShape<kDim_> {
  using Base = DirectShape<kDim_>;
  static constexpr int kBlocks = 2;
  // Nothing else is in the second vectors and the mean keys.
  static constexpr bool kFits = Base::kTileBytes <= Base::kPartialOffset - Base::kVectorBytes;
  static constexpr int kValueOffset = kFits ? Base::kVectorBytes : Base::kSharedBytes;
  static constexpr int kWeightsOffset = Base::kSharedBytes + (kFits ? 0 : Base::kTileBytes);
  static constexpr int kWeightKinds = 3;
  static constexpr int kSharedBytes = kWeightsOffset + kWeightKinds * Base::kRows * Base::kKeys * 4;
};

}  // namespace tfjs_lla
