// Calls of linear and mesa attention in the emulator.
#pragma once

#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>

#include "chunk_reference.h"
#include "common/cuda/chunk_plan.h"
#include "common/cuda/chunks.cu"
#include "emulator.h"
#include "inputs.h"

using ChunkKernel = void (*)(const tfjs_lla::ChunkParams);

#define CHUNK_KERNEL(name) {"tfjs_lla_" #name, tfjs_lla::tfjs_lla_##name},
#define CHUNK_KERNELS(precision)                  \
  CHUNK_KERNEL(sum_chunks_##precision)            \
  CHUNK_KERNEL(multiply_chunks_##precision##_64)  \
  CHUNK_KERNEL(multiply_chunks_##precision##_128) \
  CHUNK_KERNEL(multiply_chunks_##precision##_256)

inline std::map<std::string, ChunkKernel>& ChunkKernels() {
  static std::map<std::string, ChunkKernel> kernels = {CHUNK_KERNEL(prepare_chunks) CHUNK_KERNEL(scan_chunks)
                                                           CHUNK_KERNELS(high) CHUNK_KERNELS(fast)};
  return kernels;
}

// Runs what `plan_of(scratch)` says.
inline void RunPlan(const std::function<tfjs_lla::ChunkPlan(char*)>& plan_of) {
  using namespace tfjs_lla;
  emulator::GuardedMemory scratch(plan_of(nullptr).scratch_bytes);
  for (const auto& launch : plan_of(scratch.data()).launches) {
    const auto found = ChunkKernels().find(launch.entry);
    if (found == ChunkKernels().end()) throw std::runtime_error("no kernel " + launch.entry);
    emulator::Run(launch, found->second);
  }
}

// Inputs and outputs of a call, guarded.
struct ChunkMemory {
  std::unique_ptr<tfjs_lla::emulator::GuardedMemory> query, key, value, mask, dout, out, dquery, dkey, dvalue;
  tfjs_lla::ChunkCall call{};

  ChunkMemory(const Inputs& in, const std::vector<float>& cotangent)
      : query(Copy(in.query)), key(Copy(in.key)), value(Copy(in.value)), mask(Copy(in.mask)), dout(Copy(cotangent)) {
    const Sizes& s = in.sizes;
    out = Unwritten(cotangent.size());
    dquery = Unwritten(in.query.size());
    dkey = Unwritten(in.key.size());
    dvalue = Unwritten(in.value.size());
    call.query = Address<float>(query);
    call.key = Address<float>(key);
    call.value = Address<float>(value);
    call.key_mask = Address<unsigned char>(mask);
    call.dout = Address<float>(dout);
    call.out = Address<float>(out);
    call.dquery = Address<float>(dquery);
    call.dkey = Address<float>(dkey);
    call.dvalue = Address<float>(dvalue);
    call.heads = s.heads;
    call.heads_per_batch = s.heads / s.batch;
    call.queries = s.queries;
    call.keys = s.keys;
    call.dim = s.dim;
    call.value_dim = s.value_dim;
    call.causal = s.causal;
    call.scale = in.scale;
  }

  static std::unique_ptr<tfjs_lla::emulator::GuardedMemory> Unwritten(size_t floats) {
    return std::make_unique<tfjs_lla::emulator::GuardedMemory>(floats * 4);
  }
};

// Small, as gradients are.
inline std::vector<float> MakeCotangent(const Sizes& s) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0, 1e-4f);
  std::vector<float> cotangent(static_cast<size_t>(s.heads) * s.queries * s.value_dim);
  for (float& x : cotangent) x = normal(random);
  return cotangent;
}

struct Result {
  const char* name;
  double error;
};

// Whether what `run` computes is within `bar`.
inline bool Judge(const char* name, double bar, const std::function<void()>& run,
                  const std::function<std::vector<Result>()>& results) {
  bool good = true;
  try {
    run();
    const std::vector<Result> found = results();
    for (const Result& result : found) good &= result.error <= Bar(bar);
    std::printf("%-28s %s (bar %.0e)", name, good ? "ok  " : "FAIL", Bar(bar));
    for (const Result& result : found) std::printf(" %s %.1e", result.name, result.error);
    std::printf("\n");
  } catch (const std::runtime_error& error) {
    good = false;
    std::printf("%-28s FAIL %s\n", name, error.what());
  }
  std::fflush(stdout);
  return good;
}

// Numbers that are not finite come out as NaN in the rows that see them and in the gradients of the keys that those
// rows see, and nowhere else (docs/decisions/0002): `run(memory, gradient)` computes. Head 0 of two has them;
// `other_is_bad`: all rows of the other are NaN.
inline bool JudgeBadValues(const std::function<void(ChunkMemory&, bool)>& run, bool other_is_bad = false) {
  const int kRows = 100, kKeys = 120, kDim = 20, kBadKey = 90, kBadRow = 30, kBadDout = 12, kShift = kKeys - kRows;
  const Sizes sizes = {1, 2, kRows, kKeys, kDim, kDim, true};
  Inputs in = MakeInputs({"", Family::kSoftmax, true, sizes, 0, false, false, 0, 0, 0}, 3);
  in.key[kBadKey * kDim + 3] = NAN;
  in.value[(kBadKey + 5) * kDim] = INFINITY;
  in.query[kBadRow * kDim] = NAN;
  std::vector<float> cotangent(2 * kRows * kDim, 0.5f);
  const auto in_head = [&](int i, int rows, bool bad) { return i < rows ? bad : other_is_bad; };
  bool good = true;
  const auto check = [&](const char* what, bool as_wanted) {
    std::printf("%-28s %s\n", what, as_wanted ? "ok" : "FAIL");
    good &= as_wanted;
  };
  ChunkMemory forward(in, cotangent);
  run(forward, false);
  check("rows that see a bad number", NanExactly(forward.call.out, 2 * kRows, kDim, [&](int i) {
          return in_head(i, kRows, i == kBadRow || i + kShift >= kBadKey);
        }));
  // The bad keys are hidden, so that what is left of badness is that of single rows.
  in.mask.assign(kKeys, 1);
  in.mask[kBadKey] = in.mask[kBadKey + 5] = 0;
  cotangent[kBadDout * kDim + 1] = NAN;
  ChunkMemory gradient(in, cotangent);
  gradient.call.probe = gradient.call.query;
  run(gradient, true);
  const auto bad_key = [&](int j) {
    const bool hidden = j % kKeys == kBadKey || j % kKeys == kBadKey + 5;
    return !hidden && in_head(j, kKeys, j < kBadRow + kShift + 1);
  };
  check("gradients of rows", NanExactly(gradient.call.dquery, 2 * kRows, kDim,
                                        [&](int i) { return in_head(i, kRows, i == kBadRow || i == kBadDout); }));
  check("gradients of keys", NanExactly(gradient.call.dkey, 2 * kKeys, kDim, bad_key));
  check("gradients of values", NanExactly(gradient.call.dvalue, 2 * kKeys, kDim, bad_key));
  return good;
}
