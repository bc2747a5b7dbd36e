// The entry points of the direct solver's kernels, by padded head dimension: tfjs_lla_local_linear_direct_<kernel>_<dimension>.
#pragma once

#include "common/cuda/device.cuh"
#include "common/cuda/probe_params.h"

#define TFJS_LLA_DIRECT_ENTRY_POINT(kernel, Body, Shape, dim)                                \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS((Shape<dim>::kThreads), (Shape<dim>::kBlocks))             \
      tfjs_lla_local_linear_direct_##kernel##_##dim(const TFJS_LLA_IN_PLACE ProbeParams p) { \
    Body<Shape<dim>>(p).Run();                                                               \
  }

#define TFJS_LLA_DIRECT_ENTRY_POINTS(kernel, Body, Shape)   \
  TFJS_LLA_DIRECT_ENTRY_POINT(kernel, Body, Shape, 32)      \
  TFJS_LLA_DIRECT_ENTRY_POINT(kernel, Body, Shape, 64)      \
  TFJS_LLA_DIRECT_ENTRY_POINT(kernel, Body, Shape, 128)     \
  TFJS_LLA_DIRECT_ENTRY_POINT(kernel, Body, Shape, 256)
