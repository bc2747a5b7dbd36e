// The size of a system that one block solves (triangle.cuh), for the host and for the kernels.
#pragma once

namespace tfjs_lla {

constexpr int kTriangleThreads = 256;

// Numbers of a lower triangle with the right-hand side as one more row.
constexpr int TriangleFloats(int dim) { return (dim + 1) * (dim + 2) / 2; }

// Systems up to this size are solved in shared memory: 75 KiB, where compute capability 8.6 has 99.
constexpr int kLargestSharedSystem = 192;

}  // namespace tfjs_lla
