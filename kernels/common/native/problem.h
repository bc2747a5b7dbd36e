// What every kernel computes on, and what it computes with. No header of TensorFlow's: the kernels also run without it.
#pragma once

#include <stdint.h>

namespace tfjs_lla {

// Sizes after the leading dimensions are flattened (kernels/common/dims.ts).
struct Dims {
  int64_t batch;
  int64_t heads;
  int64_t Tq;
  int64_t Tk;
  int64_t D;
  int64_t Dv;
};

struct Problem {
  Dims dims;
  bool causal;
  const float* query;    // [heads, Tq, D]
  const float* key;      // [heads, Tk, D]
  const float* value;    // [heads, Tk, Dv]
  const bool* key_mask;  // [batch, Tk], null: every key is visible
  const float* key_bias; // [heads, Tk], null: zeros
};

// The number of keys before the causal bound of a row.
inline int64_t VisibleKeys(const Dims& dims, bool causal, int64_t row) {
  if (!causal) return dims.Tk;
  const int64_t bound = dims.Tk - dims.Tq + row + 1;
  return bound < 0 ? 0 : bound;
}

// Cores and memory of one call.
class Executor {
 public:
  virtual ~Executor() = default;

  // Threads that work at the same time.
  virtual int workers() const = 0;

  // Memory that lives as long as the call, aligned to 64 bytes. Throws std::bad_alloc where there is none. Not for tasks.
  virtual void* Allocate(int64_t bytes) = 0;

  // Calls `body(context, worker, task)` for every task before `tasks`, in that order of starting; no two at a time have
  // the same worker. Returns when all are done.
  virtual void Run(int64_t tasks, void (*body)(void* context, int worker, int64_t task), void* context) = 0;
};

}  // namespace tfjs_lla
