// Which of the GPU's ways to multiply the kernels are compiled for.
#pragma once

namespace tfjs_lla {

// Compute capability 9.0 multiplies 64 rows at a time, by a warpgroup of four warps, with tiles that it reads from shared
// memory by itself (wgmma; only code for sm_90a has it). All others, from 8.0 on, multiply 16 rows, warp by warp (mma).
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(TFJS_LLA_EMULATE_WARPGROUP)
constexpr bool kWarpgroup = true;
#else
constexpr bool kWarpgroup = false;
#endif

}  // namespace tfjs_lla
