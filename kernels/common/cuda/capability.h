// What the kernels are compiled for: the GPU's way to multiply, and its shared memory.
#pragma once

namespace tfjs_lla {

// Compute capability 9.0 multiplies 64 rows at a time, by a warpgroup of four warps, with tiles that it reads from shared
// memory by itself (wgmma; only code for sm_90a has it). All others, from 8.0 on, multiply 16 rows, warp by warp (mma).
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(TFJS_LLA_EMULATE_WARPGROUP)
constexpr bool kWarpgroup = true;
#else
constexpr bool kWarpgroup = false;
#endif

// Whether kernels of a padded head dimension do. With 256 dimensions sums alone take half of the registers, and rows that
// are read anew for each product took twice the time (H100, local linear forward: 14.4 ms to 7.5).
template <int kDim>
constexpr bool kByWarpgroup = kWarpgroup && kDim <= 128;

// Compute capability 9 and 10 let a block have 227 KiB of shared memory. On all others the kernels take no more than 99 KiB, as
// 8.6, 8.9 and 12.0 have: code for 8.0 runs on all of 8. The host, which has code of either kind started, goes by the GPU.
constexpr int kSmallShared = 99 * 1024;
constexpr bool HasLargeShared(int capability_major) { return capability_major == 9 || capability_major == 10; }

#if defined(__CUDA_ARCH__)
constexpr bool kLargeShared = HasLargeShared(__CUDA_ARCH__ / 100);
#elif defined(TFJS_LLA_EMULATE_SMALL_SHARED)
constexpr bool kLargeShared = false;
#else
constexpr bool kLargeShared = true;
#endif

// Where the left operand of products lies: in registers; in the thread's own part of memory, from where it is loaded for each
// product; or as a tile half of 64 rows in shared memory, from where a warpgroup multiplies without loading it.
enum OperandPlace { kInRegisters, kInMemory, kAsTile };

}  // namespace tfjs_lla
