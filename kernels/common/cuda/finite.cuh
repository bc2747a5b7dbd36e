// Numbers that are not finite.
#pragma once

#include "common/cuda/device.cuh"

namespace tfjs_lla {

TFJS_LLA_DEVICE bool IsFinite(float x) { return (Bits(x) & 0x7f800000) != 0x7f800000; }

// Whether all numbers of a row are finite: to all lanes of the warp.
TFJS_LLA_DEVICE bool IsFiniteRow(const float* row, int width) {
  bool bad = false;
  for (int d = ThreadIndex() % kWarpSize; d < width; d += kWarpSize) bad |= !IsFinite(row[d]);
  return !AnyInWarp(bad);
}

}  // namespace tfjs_lla
