// The kernels as the emulator runs them, by name.
#pragma once

#include <functional>
#include <map>
#include <stdexcept>
#include <string>

#include "common/cuda/prepare.cu"
#include "common/cuda/probe_plan.h"
#include "local_linear_attention/cuda/local_linear_attention.cu"
#include "parallax_attention/cuda/parallax_attention.cu"
#include "softmax_attention/cuda/softmax_attention.cu"

using Kernel = void (*)(const tfjs_lla::ProbeParams);

#define KERNELS_OF_PREPARE(dim)                                               \
  {"tfjs_lla_summarize_range_" #dim, tfjs_lla::tfjs_lla_summarize_range_##dim}, \
      {"tfjs_lla_summarize_head_" #dim, tfjs_lla::tfjs_lla_summarize_head_##dim}, \
      {"tfjs_lla_make_tiles_" #dim, tfjs_lla::tfjs_lla_make_tiles_##dim},
#define KERNEL_OF_FORWARD(operation, precision, dim) \
  {"tfjs_lla_" #operation "_forward_" #precision "_" #dim, tfjs_lla::tfjs_lla_##operation##_forward_##precision##_##dim},
#define KERNELS_OF_DIM(dim)                  \
  KERNELS_OF_PREPARE(dim)                    \
  KERNEL_OF_FORWARD(softmax, high, dim)      \
  KERNEL_OF_FORWARD(softmax, fast, dim)      \
  KERNEL_OF_FORWARD(parallax, high, dim)     \
  KERNEL_OF_FORWARD(parallax, fast, dim)     \
  KERNEL_OF_FORWARD(local_linear, high, dim) \
  KERNEL_OF_FORWARD(local_linear, fast, dim)

inline Kernel FindKernel(const std::string& name) {
  static const std::map<std::string, Kernel> kernels = {KERNELS_OF_DIM(32) KERNELS_OF_DIM(64) KERNELS_OF_DIM(128)
                                                            KERNELS_OF_DIM(256)};
  const auto found = kernels.find(name);
  if (found == kernels.end()) throw std::runtime_error("no kernel " + name);
  return found->second;
}
