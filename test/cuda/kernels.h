// The kernels as the emulator runs them, by name.
#pragma once

#include <functional>
#include <map>
#include <stdexcept>
#include <string>

#include "common/cuda/prepare.cu"
#include "common/cuda/probe_plan.h"
#include "local_linear_attention/cuda/local_linear_attention.cu"
#include "local_linear_attention/cuda/local_linear_attention_direct.cu"
#include "local_linear_attention/cuda/local_linear_attention_direct_gradient.cu"
#include "local_linear_attention/cuda/local_linear_attention_gradient.cu"
#include "parallax_attention/cuda/parallax_attention.cu"
#include "parallax_attention/cuda/parallax_attention_gradient.cu"
#include "softmax_attention/cuda/softmax_attention.cu"
#include "softmax_attention/cuda/softmax_attention_gradient.cu"

using Kernel = void (*)(const tfjs_lla::ProbeParams);

#define KERNELS_OF_PREPARE(dim)                                                   \
  {"tfjs_lla_summarize_range_" #dim, tfjs_lla::tfjs_lla_summarize_range_##dim},   \
      {"tfjs_lla_summarize_head_" #dim, tfjs_lla::tfjs_lla_summarize_head_##dim}, \
      {"tfjs_lla_make_tiles_" #dim, tfjs_lla::tfjs_lla_make_tiles_##dim},
#define KERNEL_OF(operation, kernel, precision, dim)           \
  {"tfjs_lla_" #operation "_" #kernel "_" #precision "_" #dim, \
   tfjs_lla::tfjs_lla_##operation##_##kernel##_##precision##_##dim},
#define KERNELS_OF_OPERATION(operation, precision, dim) \
  KERNEL_OF(operation, forward, precision, dim)         \
  KERNEL_OF(operation, gradient_rows, precision, dim)   \
  KERNEL_OF(operation, gradient_keys, precision, dim)
#define DIRECT_KERNEL_OF(kernel, dim) \
  {"tfjs_lla_local_linear_direct_" #kernel "_" #dim, tfjs_lla::tfjs_lla_local_linear_direct_##kernel##_##dim},
#define DIRECT_KERNELS_OF(dim)                                             \
  {"tfjs_lla_find_variance_" #dim, tfjs_lla::tfjs_lla_find_variance_##dim}, \
      {"tfjs_lla_find_smallest_ridge_" #dim, tfjs_lla::tfjs_lla_find_smallest_ridge_##dim}, \
      DIRECT_KERNEL_OF(forward, dim) DIRECT_KERNEL_OF(gradient_rows, dim) DIRECT_KERNEL_OF(gradient_keys, dim)
#define KERNELS_OF_DIM(dim)                     \
  DIRECT_KERNELS_OF(dim)                        \
  KERNELS_OF_PREPARE(dim)                       \
  KERNELS_OF_OPERATION(softmax, high, dim)      \
  KERNELS_OF_OPERATION(softmax, fast, dim)      \
  KERNELS_OF_OPERATION(parallax, high, dim)     \
  KERNELS_OF_OPERATION(parallax, fast, dim)     \
  KERNELS_OF_OPERATION(local_linear, high, dim) \
  KERNELS_OF_OPERATION(local_linear, fast, dim)

inline Kernel FindKernel(const std::string& name) {
  static const std::map<std::string, Kernel> kernels = {KERNELS_OF_DIM(32) KERNELS_OF_DIM(64) KERNELS_OF_DIM(128)
                                                            KERNELS_OF_DIM(256)};
  const auto found = kernels.find(name);
  if (found == kernels.end()) throw std::runtime_error("no kernel " + name);
  return found->second;
}
