// What the kernels ask of the GPU, of compute capability 8.0 and newer. Everything else is plain C++: the emulator
// (scripts/cuda/emulator) stands in for this header, and the same kernels run on a processor.
#pragma once

#include "common/cuda/capability.h"

namespace tfjs_lla {

using Half2Bits = unsigned int;  // two half-precision numbers, the first in the low half

constexpr int kWarpSize = 32;

#define TFJS_LLA_KERNEL extern "C" __global__ void
#define TFJS_LLA_DEVICE __device__ __forceinline__
// Of a parameter: it stays where it is, even where it is taken by reference.
#define TFJS_LLA_IN_PLACE __grid_constant__
#define TFJS_LLA_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)

TFJS_LLA_DEVICE int ThreadIndex() { return threadIdx.x; }
TFJS_LLA_DEVICE int BlockThreads() { return blockDim.x; }
TFJS_LLA_DEVICE long long BlockIndex() { return blockIdx.x; }

// The block's dynamic shared memory.
TFJS_LLA_DEVICE char* SharedMemory() {
  extern __shared__ __align__(1024) char memory[];
  return memory;
}

TFJS_LLA_DEVICE void SyncBlock() { __syncthreads(); }
TFJS_LLA_DEVICE void SyncWarp() { __syncwarp(); }
TFJS_LLA_DEVICE bool AnyInBlock(bool value) { return __syncthreads_or(value); }
TFJS_LLA_DEVICE bool AnyInWarp(bool value) { return __any_sync(0xffffffffu, value); }
TFJS_LLA_DEVICE float ShuffleXor(float value, int lanes) { return __shfl_xor_sync(0xffffffffu, value, lanes); }
TFJS_LLA_DEVICE double ShuffleXor(double value, int lanes) { return __shfl_xor_sync(0xffffffffu, value, lanes); }
// The value of lane `lane`.
TFJS_LLA_DEVICE float Shuffle(float value, int lane) { return __shfl_sync(0xffffffffu, value, lane); }

// 2^x, to about 2 units in the last place; 0 for large negative x.
TFJS_LLA_DEVICE float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

TFJS_LLA_DEVICE float Log2(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

TFJS_LLA_DEVICE float Rsqrt(float x) { return rsqrtf(x); }
TFJS_LLA_DEVICE float Sqrt(float x) { return sqrtf(x); }
TFJS_LLA_DEVICE double Sqrt(double x) { return sqrt(x); }
TFJS_LLA_DEVICE float Max(float a, float b) { return fmaxf(a, b); }
TFJS_LLA_DEVICE float Abs(float x) { return fabsf(x); }
TFJS_LLA_DEVICE int Bits(float x) { return __float_as_int(x); }
TFJS_LLA_DEVICE float FromBits(int bits) { return __int_as_float(bits); }

// Rounds to nearest, ties to even.
TFJS_LLA_DEVICE Half2Bits PackHalf2(float first, float second) {
  Half2Bits packed;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(second), "f"(first));
  return packed;
}

TFJS_LLA_DEVICE float2 UnpackHalf2(Half2Bits packed) {
  float2 numbers;
  asm("{.reg .b16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high;}"
      : "=f"(numbers.x), "=f"(numbers.y)
      : "r"(packed));
  return numbers;
}

// d [16, 8] += a [16, 16] b [16, 8]: half-precision operands, float32 sums. Lane 4 g + c holds of `d` row g, columns 2c
// and 2c + 1, then row g + 8; of `a` rows g, g + 8 at columns 2c, 2c + 1, then both rows at columns 2c + 8, 2c + 9.
TFJS_LLA_DEVICE void MultiplyAdd(float (&d)[4], const Half2Bits (&a)[4], Half2Bits b0, Half2Bits b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The nearest number with the 11 significant bits that tensor cores take of float32.
TFJS_LLA_DEVICE float RoundToTensorFloat(float x) {
  unsigned rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
  return __uint_as_float(rounded);
}

// d [16, 8] += a [16, 8] b [8, 8], of whose numbers tensor cores drop the last 13 bits; float32 sums. Lane 4 g + c holds
// `d` as above, of `a` rows g, g + 8 at column c, then at column c + 4, of `b` column g at rows c and c + 4.
TFJS_LLA_DEVICE void MultiplyAddTensorFloat(float (&d)[4], const float (&a)[4], float b0, float b1) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
                 "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}

TFJS_LLA_DEVICE unsigned SharedAddress(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }

// Four 8 x 8 matrices of half-precision numbers; lanes 8 i .. 8 i + 7 give the rows (16 bytes each) of matrix i.
TFJS_LLA_DEVICE void LoadMatrices(Half2Bits (&m)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(SharedAddress(row))
               : "memory");
}

TFJS_LLA_DEVICE void LoadMatricesTransposed(Half2Bits (&m)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(SharedAddress(row))
               : "memory");
}

// Starts to copy 16 bytes from global to shared memory.
TFJS_LLA_DEVICE void CopyAsync(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(SharedAddress(shared)), "l"(global) : "memory");
}

// Closes this thread's group of copies; an empty one counts.
TFJS_LLA_DEVICE void CommitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `kPending` of this thread's groups are unfinished.
template <int kPending>
TFJS_LLA_DEVICE void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Copies of blocks of bytes by the copy engine of compute capability 9.0. A barrier in shared memory counts those that were started
// on it before it was closed, and is then used again: its phase, 0 or 1, is over when it is closed and its copies are there.
using CopyBarrier = unsigned long long;

TFJS_LLA_DEVICE void InitBarriers(CopyBarrier* barriers, int count) {
  for (int i = 0; i < count; i++) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(SharedAddress(barriers + i)) : "memory");
  }
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

TFJS_LLA_DEVICE void CopyBlock(void* shared, const void* global, int bytes, CopyBarrier* barrier) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile(
      "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%3], %2;"
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(SharedAddress(shared)),
      "l"(global), "r"(bytes), "r"(SharedAddress(barrier))
      : "memory");
#endif
}

TFJS_LLA_DEVICE void CloseBarrier(CopyBarrier* barrier) {
  asm volatile("{.reg .b64 state; mbarrier.arrive.shared::cta.b64 state, [%0];}" ::"r"(SharedAddress(barrier)) : "memory");
}

TFJS_LLA_DEVICE void WaitForBarrier(CopyBarrier* barrier, unsigned phase) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile(
      "{.reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; @done bra over; bra again; over:}" ::"r"(
          SharedAddress(barrier)),
      "r"(phase)
      : "memory");
#endif
}

// Products of a warpgroup. They are started, closed to groups and waited for as copies are; until then neither the sums nor
// the rows that they take may change, nor may the tile.

// Writes to shared memory that this thread made or waited for are seen by products that are started after a barrier.
TFJS_LLA_DEVICE void PublishTiles() {
  if constexpr (kWarpgroup) asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Before the first product that takes registers which have changed.
TFJS_LLA_DEVICE void StartProducts() {
  if constexpr (kWarpgroup) asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

TFJS_LLA_DEVICE void CommitProducts() {
  if constexpr (kWarpgroup) asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits until at most `kPending` groups of products are unfinished, the last ones; `sums` are of one that is finished.
template <int kPending, int kBlocks>
TFJS_LLA_DEVICE void FinishProducts(float (&sums)[kBlocks][4]) {
  if constexpr (kWarpgroup) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#pragma unroll
    for (int n = 0; n < kBlocks; n++) {
      asm volatile("" : "+f"(sums[n][0]), "+f"(sums[n][1]), "+f"(sums[n][2]), "+f"(sums[n][3])::"memory");
    }
  }
}

TFJS_LLA_DEVICE void KeepRegisters(Half2Bits (&a)[4]) {
  if constexpr (kWarpgroup) asm volatile("" : "+r"(a[0]), "+r"(a[1]), "+r"(a[2]), "+r"(a[3])::"memory");
}

// Where a tile lies: rows of `kRowBytes` (128 or 64), eight of them in a pattern of as many bytes, one after the other.
template <int kRowBytes>
TFJS_LLA_DEVICE unsigned long long DescribeTile(const void* shared) {
  constexpr unsigned long long kStride = 8 * kRowBytes / 16, kPattern = kRowBytes == 128 ? 1 : 2;
  // The lower word is an address, of less than 2^18 bytes, and a distance.
  const unsigned low = (SharedAddress(shared) >> 4) + static_cast<unsigned>(kStride << 16);
  return kPattern << 62 | kStride << 32 | low;
}

#define TFJS_LLA_SUMS(n) "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])

// d [64, 8 kBlocks] = (keep ? d : 0) + a [64, 16] b, with the lanes of each warp as in MultiplyAdd for its 16 rows. The tile is
// b [16, 8 kBlocks], or its transpose where kTransposed is false.
template <bool kTransposed, int kBlocks>
TFJS_LLA_DEVICE void MultiplyAddTile(float (&d)[kBlocks][4], const Half2Bits (&a)[4], unsigned long long tile, bool keep) {
  static_assert(kBlocks == 2 || kBlocks == 4 || kBlocks == 8, "products with 16, 32 or 64 columns");
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define TFJS_LLA_OPERANDS "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(tile), "r"(static_cast<int>(keep)), "n"(kTransposed)
  if constexpr (kBlocks == 2) {
    asm volatile(
        "{.reg .pred keep; setp.ne.b32 keep, %13, 0;"
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7}, "
        "{%8, %9, %10, %11}, %12, keep, 1, 1, %14;}"
        : TFJS_LLA_SUMS(0), TFJS_LLA_SUMS(1)
        : TFJS_LLA_OPERANDS);
  }
  if constexpr (kBlocks == 4) {
    asm volatile(
        "{.reg .pred keep; setp.ne.b32 keep, %21, 0;"
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
        "{%16, %17, %18, %19}, %20, keep, 1, 1, %22;}"
        : TFJS_LLA_SUMS(0), TFJS_LLA_SUMS(1), TFJS_LLA_SUMS(2), TFJS_LLA_SUMS(3)
        : TFJS_LLA_OPERANDS);
  }
  if constexpr (kBlocks == 8) {
    asm volatile(
        "{.reg .pred keep; setp.ne.b32 keep, %37, 0;"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "{%32, %33, %34, %35}, %36, keep, 1, 1, %38;}"
        : TFJS_LLA_SUMS(0), TFJS_LLA_SUMS(1), TFJS_LLA_SUMS(2), TFJS_LLA_SUMS(3), TFJS_LLA_SUMS(4), TFJS_LLA_SUMS(5), TFJS_LLA_SUMS(6), TFJS_LLA_SUMS(7)
        : TFJS_LLA_OPERANDS);
  }
#undef TFJS_LLA_OPERANDS
#endif
}

// d [64, 8 kBlocks] = (keep ? d : 0) + rows b, where both are tiles: rows [64, 16], and b as in MultiplyAddTile<false>.
template <int kBlocks>
TFJS_LLA_DEVICE void MultiplyTiles(float (&d)[kBlocks][4], unsigned long long rows, unsigned long long tile, bool keep) {
  static_assert(kBlocks == 2 || kBlocks == 4 || kBlocks == 8, "products with 16, 32 or 64 columns");
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define TFJS_LLA_OPERANDS "l"(rows), "l"(tile), "r"(static_cast<int>(keep))
  if constexpr (kBlocks == 2) {
    asm volatile(
        "{.reg .pred keep; setp.ne.b32 keep, %10, 0;"
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7}, "
        "%8, %9, keep, 1, 1, 0, 0;}"
        : TFJS_LLA_SUMS(0), TFJS_LLA_SUMS(1)
        : TFJS_LLA_OPERANDS);
  }
  if constexpr (kBlocks == 4) {
    asm volatile(
        "{.reg .pred keep; setp.ne.b32 keep, %18, 0;"
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
        "%16, %17, keep, 1, 1, 0, 0;}"
        : TFJS_LLA_SUMS(0), TFJS_LLA_SUMS(1), TFJS_LLA_SUMS(2), TFJS_LLA_SUMS(3)
        : TFJS_LLA_OPERANDS);
  }
  if constexpr (kBlocks == 8) {
    asm volatile(
        "{.reg .pred keep; setp.ne.b32 keep, %34, 0;"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "%32, %33, keep, 1, 1, 0, 0;}"
        : TFJS_LLA_SUMS(0), TFJS_LLA_SUMS(1), TFJS_LLA_SUMS(2), TFJS_LLA_SUMS(3), TFJS_LLA_SUMS(4), TFJS_LLA_SUMS(5), TFJS_LLA_SUMS(6), TFJS_LLA_SUMS(7)
        : TFJS_LLA_OPERANDS);
  }
#undef TFJS_LLA_OPERANDS
#endif
}

#undef TFJS_LLA_SUMS

}  // namespace tfjs_lla
