// Stands in for kernels/common/cuda/device.cuh: the kernels compiled for a processor, each thread of a block a fiber.
// Found first in the include path, so the sources of the kernels are the very same.
#pragma once

#include "common/cuda/capability.h"
#include "emulator.h"

#define TFJS_LLA_DEVICE inline
#define TFJS_LLA_IN_PLACE
#define TFJS_LLA_BOUNDS(threads, blocks)
#define TFJS_LLA_KERNEL void

namespace tfjs_lla {

using Half2Bits = unsigned int;
constexpr int kWarpSize = 32;

struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

inline int ThreadIndex() { return emulator::Current().thread; }
inline int BlockThreads() { return emulator::Current().block->threads; }
inline long long BlockIndex() { return emulator::Current().block->index; }
inline char* SharedMemory() { return emulator::Current().block->shared; }

inline void SyncBlock() { emulator::SyncBlock(false); }
inline void SyncWarp() { emulator::AnyInWarp(false); }
inline bool AnyInBlock(bool value) { return emulator::SyncBlock(value); }
inline bool AnyInWarp(bool value) { return emulator::AnyInWarp(value); }
inline float ShuffleXor(float value, int lanes) { return emulator::Shuffle(value, ThreadIndex() % kWarpSize ^ lanes); }
inline double ShuffleXor(double value, int lanes) { return emulator::Shuffle(value, ThreadIndex() % kWarpSize ^ lanes); }
inline float Shuffle(float value, int lane) { return emulator::Shuffle(value, lane); }

inline float Exp2(float x) { return x < -126 ? 0.0f : std::exp2(x); }
inline float Log2(float x) { return std::log2(x); }
inline float Rsqrt(float x) { return 1 / std::sqrt(x); }
inline float Sqrt(float x) { return std::sqrt(x); }
inline double Sqrt(double x) { return std::sqrt(x); }
inline float Max(float a, float b) { return std::fmax(a, b); }
inline float Abs(float x) { return std::fabs(x); }
inline int Bits(float x) { return emulator::BitCast<int>(x); }
inline float FromBits(int bits) { return emulator::BitCast<float>(bits); }

inline Half2Bits PackHalf2(float first, float second) {
  const auto low = emulator::BitCast<unsigned short>(static_cast<_Float16>(first));
  const auto high = emulator::BitCast<unsigned short>(static_cast<_Float16>(second));
  return low | static_cast<Half2Bits>(high) << 16;
}

inline float2 UnpackHalf2(Half2Bits packed) {
  return {static_cast<float>(emulator::BitCast<_Float16>(static_cast<unsigned short>(packed))),
          static_cast<float>(emulator::BitCast<_Float16>(static_cast<unsigned short>(packed >> 16)))};
}

inline void MultiplyAdd(float (&d)[4], const Half2Bits (&a)[4], Half2Bits b0, Half2Bits b1) {
  emulator::MultiplyAdd(d, a, b0, b1);
}
inline float RoundToTensorFloat(float x) { return FromBits((Bits(x) + 0x1000) & ~0x1fff); }
inline void MultiplyAddTensorFloat(float (&d)[4], const float (&a)[4], float b0, float b1) {
  emulator::MultiplyAddTensorFloat(d, a, b0, b1);
}
inline void LoadMatrices(Half2Bits (&m)[4], const void* row) { emulator::LoadMatrices(m, row, false); }
inline void LoadMatricesTransposed(Half2Bits (&m)[4], const void* row) { emulator::LoadMatrices(m, row, true); }
inline void PublishTiles() {}
inline void StartProducts() {}
inline void CommitProducts() { emulator::CommitProducts(); }
template <int kPending, int kBlocks>
inline void FinishProducts(float (&)[kBlocks][4]) {
  if (kWarpgroup) emulator::WaitForProducts(kPending);
}
inline void KeepRegisters(Half2Bits (&)[4]) {}

// As the GPU's descriptor, with the place in shared memory in bytes.
template <int kRowBytes>
inline unsigned long long DescribeTile(const void* shared) {
  const unsigned long long offset = static_cast<const char*>(shared) - SharedMemory();
  return (kRowBytes == 128 ? 1ull : 2ull) << 62 | offset >> 4;
}
template <bool kTransposed, int kBlocks>
inline void MultiplyAddTile(float (&d)[kBlocks][4], const Half2Bits (&a)[4], unsigned long long tile, bool keep) {
  emulator::MultiplyAddTile(&d[0][0], kBlocks * 8, a, tile, kTransposed, keep);
}
template <int kBlocks>
inline void MultiplyTiles(float (&d)[kBlocks][4], unsigned long long rows, unsigned long long tile, bool keep) {
  emulator::MultiplyTiles(&d[0][0], kBlocks * 8, rows, tile, keep);
}

using CopyBarrier = unsigned long long;
inline void InitBarriers(CopyBarrier* barriers, int count) { emulator::InitBarriers(barriers, count); }
inline void CopyBlock(void* shared, const void* global, int bytes, CopyBarrier* barrier) {
  emulator::CopyBlock(shared, global, bytes, barrier);
}
inline void CloseBarrier(CopyBarrier* barrier) { emulator::CloseBarrier(barrier); }
inline void WaitForBarrier(CopyBarrier* barrier, unsigned phase) { emulator::WaitForBarrier(barrier, phase); }
inline void CopyAsync(void* shared, const void* global) { emulator::CopyAsync(shared, global); }
inline void CommitCopies() { emulator::CommitCopies(); }
template <int kPending>
inline void WaitForCopies() {
  emulator::WaitForCopies(kPending);
}

}  // namespace tfjs_lla
