// How the kernels of the gradient divide their work, for the host that starts them and for the kernels.
#pragma once

#include "common/cuda/forward_shape.h"

namespace tfjs_lla {

// By query rows: the gradient of queries, given probes and ridges, and what the one of keys needs. As the forward pass,
// but with more operands.
template <int kDim_, bool kHigh_, ProbeSource kSource_, bool kLarge>
struct SizedGradientRowShape {
  using Forward = SizedForwardShape<kDim_, kHigh_, kSource_, kLarge>;
  static constexpr int kDim = kDim_;
  static constexpr bool kHigh = kHigh_;
  static constexpr ProbeSource kSource = kSource_;
  static constexpr bool kSolved = Forward::kSolved;
  static constexpr int kThreads = Forward::kThreads, kRows = Forward::kRows, kKeys = Forward::kKeys;
  static constexpr int kPartKeys = Forward::kPartKeys, kSlots = Forward::kSlots;
  static constexpr int kLowOffset = Forward::kLowOffset, kSlotBytes = Forward::kSlotBytes;
  static constexpr int kBiasOffset = Forward::kBiasOffset, kOperandBytes = Forward::kOperandBytes;
  static constexpr int kBarrierOffset = Forward::kBarrierOffset, kOperandOffset = Forward::kOperandOffset;
  static constexpr int kMostStages = Forward::kMostStages;
  static constexpr bool kCopiesByBlock = Forward::kCopiesByBlock;

  // The solver's state lies in scratch: in shared memory it would cost one of three blocks.
  static constexpr int kSharedArrays = 0, kScratchArrays = kSource == kNoProbe ? 0 : 3;
  static constexpr int kArrayBytes = Forward::kArrayBytes;

  // Queries and the solver's direction: in registers for heads to 64, else in shared memory.
  static constexpr bool kOperandsInMemory = Forward::kOperandsInMemory;
  static constexpr OperandPlace kOperandPlace = Forward::kOperandPlace;
  static constexpr int kFirstOperands = kOperandsInMemory ? (kHigh ? 2 : 1) * (kSolved ? 2 : 1) : 0;
  // dout, probe and u: always in memory, in scratch for wide heads.
  static constexpr int kLaterOperands = (kHigh ? 2 : 1) * (kSource == kNoProbe ? 1 : kSolved ? 3 : 2);
  static constexpr bool kOperandsInShared = Forward::kOperandsInShared;
  static constexpr int kFirstScratchBytes = kOperandsInShared ? 0 : kFirstOperands * kOperandBytes;
  static constexpr int kLaterOffset = kOperandOffset + kFirstOperands * kOperandBytes - kFirstScratchBytes;
  static constexpr int kLaterBytes = kLaterOperands * kOperandBytes;
  static constexpr bool kLaterInShared = kDim <= 64 && (kLarge || kLaterOffset + kLaterBytes <= kSmallShared);
  static constexpr OperandPlace kLaterPlace = kByWarpgroup<kDim> && kLaterInShared ? kAsTile : kInMemory;
  // Queries, too, where they fit.
  static constexpr bool kQueryAsTile = kLaterInShared && kLarge && !kHigh;
  static constexpr OperandPlace kQueryPlace = kQueryAsTile && kWarpgroup ? kAsTile : kOperandPlace;
  static constexpr int kQueryOffset = kLaterOffset + (kLaterInShared ? kLaterBytes : 0);
  static constexpr int kStateOffset = kQueryOffset + (kQueryAsTile ? kOperandBytes : 0);
  static constexpr int kSharedBytes = kStateOffset + kSharedArrays * kArrayBytes;
  static constexpr int kScratchOperandBytes = kFirstScratchBytes + (kLaterInShared ? 0 : kLaterBytes);
  static_assert(kLarge || kSharedBytes <= kSmallShared, "fits");

  static constexpr int kBlocks = kDim > 64 ? 1 : kWarpgroup && !kHigh ? 3 : 2;
};

// By keys: a block works on a tile of 64 keys, each of its 4 warps on 16; all share a ring of query rows.
template <int kDim_, bool kHigh_, ProbeSource kSource_, bool kLarge>
struct SizedGradientKeyShape {
  static constexpr int kDim = kDim_;
  static constexpr bool kHigh = kHigh_;
  static constexpr ProbeSource kSource = kSource_;
  static constexpr bool kSolved = kSource == kSolvedProbe;
  static constexpr int kThreads = 128;
  static constexpr int kImages = kSource == kNoProbe ? 2 : kSolved ? 4 : 3;
  // Query rows of a step, and how many a warp or warpgroup computes on at a time.
  static constexpr int kRows = kDim > 64 ? 16 : kHigh || !kLarge ? 32 : 64;
  static constexpr int kMostPartRows = kWarpgroup && kDim <= 64 ? (kHigh ? 32 : 64) : 16;
  static constexpr int kPartRows = kRows < kMostPartRows ? kRows : kMostPartRows;
  static constexpr int kLowOffset = kRows * kDim * 2;
  static constexpr int kImageBytes = kLowOffset * (kHigh ? 2 : 1);
  static constexpr int kRecordOffset = kImages * kImageBytes;
  // Tiles begin where their pattern of chunks does.
  static constexpr int kStageBytes = (kRecordOffset + kRowFields * kRows * 4 + 1023) / 1024 * 1024;
  static constexpr int kMostStages = kLarge || kDim > 64 ? 2 : 3, kSmallStages = kSmallShared / kStageBytes;
  static constexpr int kStages = kLarge || kSmallStages > kMostStages ? kMostStages : kSmallStages;
  // Keys and values as operands: in registers for heads to 64, in shared memory to 128, else in scratch.
  static constexpr bool kOperandsInMemory = kDim > 64;
  static constexpr int kOperandBytes = kThreads * (kDim / 16) * 16;
  static constexpr int kOperands = kOperandsInMemory ? (kHigh ? 4 : 2) : 0;
  static constexpr bool kCopiesByBlock = kLarge && kByWarpgroup<kDim>;
  static constexpr int kBarrierOffset = kStages * kStageBytes;
  static constexpr int kOperandOffset = kBarrierOffset + (kLarge ? 1024 : 0);
  static constexpr bool kOperandsInShared =
      kDim <= 128 && (kLarge || kOperandOffset + kOperands * kOperandBytes <= kSmallShared);
  static constexpr OperandPlace kOperandPlace =
      !kOperandsInMemory ? kInRegisters : kByWarpgroup<kDim> && kOperandsInShared ? kAsTile : kInMemory;
  static constexpr int kSharedBytes = kOperandOffset + (kOperandsInShared ? kOperands * kOperandBytes : 0);
  static constexpr int kScratchOperandBytes = kOperandsInShared ? 0 : kOperands * kOperandBytes;
  static constexpr int kBlocks = kDim > 64 ? 1 : kHigh || kLarge ? 2 : 3;
  static_assert(kLarge || kSharedBytes <= kSmallShared, "fits");
  static_assert(kRows % kRecordRows<kDim> == 0 && kRows % kPartRows == 0 &&
                    (kRecordRows<kDim> % kPartRows == 0 || kPartRows % kRecordRows<kDim> == 0),
                "a part begins where records of rows do, or lies among them");
};

// The shapes that this code is compiled for.
template <int kDim, bool kHigh, ProbeSource kSource>
using GradientRowShape = SizedGradientRowShape<kDim, kHigh, kSource, kLargeShared>;
template <int kDim, bool kHigh, ProbeSource kSource>
using GradientKeyShape = SizedGradientKeyShape<kDim, kHigh, kSource, kLargeShared>;

}  // namespace tfjs_lla
