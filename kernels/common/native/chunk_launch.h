// What linear and mesa attention share of their start on a GPU.
#pragma once

#include <string>
#include <vector>

#include "common/cuda/chunk_plan.h"
#include "common/native/cuda_plan.h"
#include "common/native/problem.h"

namespace tfjs_lla {

// Inputs and sizes of a call.
inline ChunkCall ChunkCallOf(const Problem& problem) {
  const Dims& dims = problem.dims;
  ChunkCall call{};
  call.query = problem.query;
  call.key = problem.key;
  call.value = problem.value;
  call.key_mask = reinterpret_cast<const unsigned char*>(problem.key_mask);
  call.heads = Count(dims.heads);
  call.heads_per_batch = Count(dims.heads / dims.batch);
  call.queries = Count(dims.Tq);
  call.keys = Count(dims.Tk);
  call.dim = Count(dims.D);
  call.value_dim = Count(dims.Dv);
  call.causal = problem.causal;
  return call;
}

// The entry points that both have, and `own` of one of them.
inline std::vector<std::string> ChunkEntryPoints(const std::vector<std::string>& own = {}) {
  std::vector<std::string> entries = {"tfjs_lla_prepare_chunks", "tfjs_lla_scan_chunks"};
  for (const std::string precision : {"high", "fast"}) {
    entries.push_back("tfjs_lla_sum_chunks_" + precision);
    for (const char* columns : {"64", "128", "256"}) {
      entries.push_back("tfjs_lla_multiply_chunks_" + precision + "_" + columns);
    }
  }
  entries.insert(entries.end(), own.begin(), own.end());
  return entries;
}

}  // namespace tfjs_lla
