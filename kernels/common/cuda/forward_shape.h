// How a forward kernel divides its work, for the host that starts it and for the kernel: no memory is named twice.
#pragma once

#include "common/cuda/capability.h"
#include "common/cuda/probe_params.h"

namespace tfjs_lla {

// A block works on 64 query rows of one head, each of its 4 warps on 16 rows; all share a ring of key and value tiles.
// kLarge: for GPUs with much shared memory.
template <int kDim_, bool kHigh_, ProbeSource kSource_, bool kLarge_>
struct SizedForwardShape {
  static constexpr bool kLarge = kLarge_;
  static constexpr int kDim = kDim_;     // padded head dimension
  static constexpr bool kHigh = kHigh_;  // operands split into high and low parts
  static constexpr ProbeSource kSource = kSource_;
  static constexpr bool kSolved = kSource == kSolvedProbe;

  static constexpr int kThreads = 128;
  static constexpr int kRows = 64;
  // Keys of a ring slot: 8 to 16 KiB each, as many as the accumulators of wide heads leave registers for.
  static constexpr int kMostKeys = kDim <= 64 ? 64 : kDim == 128 ? (kHigh ? 32 : 64) : (kHigh ? 16 : 32);
  static constexpr int kKeys = !kLarge && ((kDim == 128 && kHigh) || kDim == 256) ? 16 : kMostKeys;
  // Keys that a warp or warpgroup computes on at a time: their scores are in registers.
  static constexpr int kMostPartKeys = kWarpgroup && kDim <= 64 ? 64 : 32;
  static constexpr int kPartKeys = kKeys < kMostPartKeys ? kKeys : kMostPartKeys;
  static constexpr int kSlots = 4;
  // Slots are filled stage by stage, of one or two each. The copy engine is as fast with three, and its barriers need room.
  static constexpr int kMostStages = kLarge && kDim <= 128 ? 3 : 4;
  static constexpr bool kCopiesByBlock = kLarge && kByWarpgroup<kDim>;

  // Rows as operands: registers hold them for heads to 64.
  static constexpr bool kOperandsInMemory = kDim > 64;
  static constexpr bool kOperandsInShared = kLarge || kDim <= 128 || !kHigh;
  static constexpr OperandPlace kOperandPlace =
      !kOperandsInMemory ? kInRegisters : kLarge && kByWarpgroup<kDim> ? kAsTile : kInMemory;
  static constexpr OperandPlace kQueryPlace = kOperandPlace;
  // Queries and, unless softmax, the direction or probe; low parts of both where split.
  static constexpr int kOperands = (kHigh ? 2 : 1) * (kSource == kNoProbe ? 1 : 2);
  // Of solution, residual and mean key, which are [kDim / 8, kThreads] of 16 bytes each: the first two lie in shared
  // memory where they fit, the others in scratch.
  static constexpr int kSharedArrays = kSolved && kDim <= 64 ? 2 : 0;
  static constexpr int kScratchArrays = kSolved ? 3 - kSharedArrays : 0;
  static constexpr int kArrayBytes = (kDim / 8) * kThreads * 16;

  static constexpr int kLowOffset = kKeys * kDim * 2;  // of low parts from high ones
  static constexpr int kSlotBytes = kLowOffset * (kHigh ? 2 : 1);
  static constexpr int kBiasOffset = kSlots * kSlotBytes;
  static constexpr int kOperandBytes = kThreads * (kDim / 16) * 16;
  static constexpr int kBarrierOffset = kBiasOffset + kMostStages * kKeys * 4;
  // Rows as tiles begin where their pattern of chunks does.
  static constexpr int kOperandOffset = kLarge ? (kBarrierOffset + kMostStages * 8 + 1023) / 1024 * 1024 : kBarrierOffset;
  static constexpr int kAllOperandBytes = kOperandsInMemory ? kOperands * kOperandBytes : 0;
  static constexpr int kScratchOperandBytes = kOperandsInShared ? 0 : kAllOperandBytes;
  static constexpr int kStateOffset = kOperandOffset + kAllOperandBytes - kScratchOperandBytes;
  static constexpr int kSharedBytes = kStateOffset + kSharedArrays * kArrayBytes;
  // 64-dimensional heads in single half precision leave room for three blocks per multiprocessor.
  static constexpr int kBlocks = kDim <= 64 && !kHigh ? 3 : kDim <= 64 || (kDim == 128 && !kSolved) ? 2 : 1;
  static_assert(kLarge || kSharedBytes <= kSmallShared, "fits");
};

// The shape that this code is compiled for.
template <int kDim, bool kHigh, ProbeSource kSource>
using ForwardShape = SizedForwardShape<kDim, kHigh, kSource, kLargeShared>;

}  // namespace tfjs_lla
