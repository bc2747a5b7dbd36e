// How kernels share their work among cores and their memory among tasks.
#pragma once

#include "common/native/problem.h"
#include "common/native/vector.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {

// Calls `body(worker, task)` for every task before `tasks`, on all cores.
template <typename Body>
void ForEach(Executor& executor, int64_t tasks, Body& body) {
  executor.Run(
      tasks, [](void* context, int worker, int64_t task) { (*static_cast<Body*>(context))(worker, task); }, &body);
}

inline int64_t Aligned(int64_t floats) { return (floats + 15) / 16 * 16; }

template <typename T>
T* AllocateArray(Executor& executor, int64_t count) {
  return static_cast<T*>(executor.Allocate(count * static_cast<int64_t>(sizeof(T))));
}

// Heads that are in scratch at a time: enough for all cores, and no more memory with more heads.
inline int64_t HeadsAtATime(const Dims& dims, Executor& executor) {
  return Min<int64_t>(dims.heads, 2 * executor.workers());
}

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
