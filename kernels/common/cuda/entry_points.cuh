// The entry points of an operator's kernels: one for each padded head dimension and precision, named
// tfjs_lla_<operation>_<kernel>_<precision>_<dimension>.
#pragma once

#include "common/cuda/device.cuh"
#include "common/cuda/probe_params.h"

// A kernel that runs `Body<Shape<dimension, high, probe>>`.
#define TFJS_LLA_ENTRY_POINT(operation, kernel, precision, high, dim, Body, Shape, probe)                     \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS((Shape<dim, high, probe>::kThreads), (Shape<dim, high, probe>::kBlocks))    \
      tfjs_lla_##operation##_##kernel##_##precision##_##dim(const ProbeParams p) {                            \
    Body<Shape<dim, high, probe>>(p).Run();                                                                   \
  }

#define TFJS_LLA_ENTRY_POINTS_OF(operation, kernel, precision, high, Body, Shape, probe)    \
  TFJS_LLA_ENTRY_POINT(operation, kernel, precision, high, 32, Body, Shape, probe)          \
  TFJS_LLA_ENTRY_POINT(operation, kernel, precision, high, 64, Body, Shape, probe)          \
  TFJS_LLA_ENTRY_POINT(operation, kernel, precision, high, 128, Body, Shape, probe)         \
  TFJS_LLA_ENTRY_POINT(operation, kernel, precision, high, 256, Body, Shape, probe)

#define TFJS_LLA_ENTRY_POINTS(operation, kernel, Body, Shape, probe)                        \
  TFJS_LLA_ENTRY_POINTS_OF(operation, kernel, high, true, Body, Shape, probe)               \
  TFJS_LLA_ENTRY_POINTS_OF(operation, kernel, fast, false, Body, Shape, probe)
