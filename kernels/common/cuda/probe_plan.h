// What the host starts for one call of the family, in order: kernels, grids and scratch. For the op library, for the benchmark
// and for the emulator; no CUDA header.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/cuda/forward_shape.h"

namespace tfjs_lla {

struct ProbeLaunch {
  std::string entry;
  int64_t blocks;
  int threads;
  int shared_bytes;
  ProbeParams params;
};

struct ProbePlan {
  int64_t scratch_bytes = 0;
  std::vector<ProbeLaunch> launches;
};

// Padded head dimensions that there are kernels for.
inline int PaddedHeadDim(int dim) {
  for (int padded : {32, 64, 128, 256}) {
    if (dim <= padded) return padded;
  }
  throw std::invalid_argument("head dimension " + std::to_string(dim) + ": CUDA kernels take at most 256");
}

// Rows that see fewer keys than this times the head dimension have ill-conditioned systems, which single half precision does
// not solve.
constexpr int kKeysPerDimForFast = 3;

class ProbePlanner {
 public:
  // `call`: inputs, outputs, sizes and options are set. `scratch`: null to ask for its size only.
  ProbePlanner(const ProbeParams& call, ProbeSource source, bool high, char* scratch)
      : params_(call), source_(source), high_(high), scratch_(scratch), dim_(PaddedHeadDim(call.dim)) {
    params_.key_tiles_per_head = DivideUp(call.keys, 64);
    params_.value_slices = DivideUp(call.value_dim, dim_);
    // Many ranges keep the GPU busy, few are quick to add up.
    params_.key_ranges = params_.key_tiles_per_head < 32 ? params_.key_tiles_per_head : 32;
    params_.keys_per_range = DivideUp(call.keys, params_.key_ranges);
  }

  ProbePlan Forward() {
    const int64_t tile_bytes = 2 * 64 * static_cast<int64_t>(dim_) * 2;
    const int64_t heads = params_.heads, tiles = heads * params_.key_tiles_per_head;
    params_.ranges = Take(heads * params_.key_ranges * (static_cast<int64_t>(sizeof(RangeSummary)) + dim_ * 4 + 12));
    params_.summary = reinterpret_cast<HeadSummary*>(Take(heads * sizeof(HeadSummary)));
    params_.centre = reinterpret_cast<float*>(Take(heads * dim_ * 4));
    params_.key_tiles = Take(tiles * tile_bytes);
    params_.value_tiles = Take(tiles * params_.value_slices * tile_bytes);
    params_.bias = reinterpret_cast<float*>(Take(tiles * 64 * 4));
    Add("summarize_range", heads * params_.key_ranges, kPrepareThreads, 4 * (sizeof(RangeSummary) + dim_ * 4 + 12));
    Add("summarize_head", heads, kPrepareThreads, 0);
    Add("make_tiles", tiles * (1 + params_.value_slices), kPrepareThreads, 64 * 4);
    WithDim([&](auto dim) { AddForward<decltype(dim)::kValue>(); });
    plan_.scratch_bytes = used_;
    return plan_;
  }

 private:
  static constexpr int kPrepareThreads = 128;

  template <int kValue_>
  struct Constant {
    static constexpr int kValue = kValue_;
  };

  static int DivideUp(int a, int b) { return (a + b - 1) / b; }

  char* Take(int64_t bytes) {
    char* at = scratch_ ? scratch_ + used_ : nullptr;
    used_ += (bytes + 255) / 256 * 256;
    return at;
  }

  void Add(const std::string& name, int64_t blocks, int threads, int64_t shared_bytes) {
    if (blocks > INT32_MAX) throw std::invalid_argument("too many rows for one call of a CUDA kernel");
    plan_.launches.push_back({"tfjs_lla_" + name + "_" + std::to_string(dim_), blocks, threads,
                              static_cast<int>(shared_bytes), params_});
  }

  template <class Body>
  void WithDim(Body body) {
    if (dim_ == 32) body(Constant<32>());
    if (dim_ == 64) body(Constant<64>());
    if (dim_ == 128) body(Constant<128>());
    if (dim_ == 256) body(Constant<256>());
  }

  template <int kDim>
  void AddForward() {
    constexpr int kRows = 64;
    const int tiles = DivideUp(params_.queries, kRows);
    int split = high_ ? tiles : 0;
    // In a causal call the first rows see few keys.
    if (!high_ && source_ == kSolvedProbe) {
      const int enough = kKeysPerDimForFast * params_.dim;
      const int few = params_.causal ? enough - (params_.keys - params_.queries) : 0;
      split = params_.keys < enough ? tiles : few > 0 ? DivideUp(few, kRows) : 0;
      if (split > tiles) split = tiles;
    }
    const int64_t array_bytes = kDim / 8 * 128 * 16;
    if (source_ == kSolvedProbe) {
      const int arrays = ForwardShape<kDim, true, kSolvedProbe>::kScratchArrays;
      params_.state = reinterpret_cast<float*>(Take(static_cast<int64_t>(params_.heads) * tiles * arrays * array_bytes));
    }
    AddTiles<kDim, false>(split, tiles - split);
    AddTiles<kDim, true>(0, split);
  }

  template <int kDim, bool kHigh>
  void AddTiles(int first, int count) {
    if (count == 0) return;
    params_.first_tile = first;
    params_.tiles = count;
    const std::string precision = kHigh ? "high" : "fast";
    const auto add = [&](const std::string& name, int threads, int shared_bytes) {
      Add(name + "_forward_" + precision, static_cast<int64_t>(params_.heads) * count, threads, shared_bytes);
    };
    if (source_ == kNoProbe) AddShape<ForwardShape<kDim, kHigh, kNoProbe>>("softmax", add);
    if (source_ == kGivenProbe) AddShape<ForwardShape<kDim, kHigh, kGivenProbe>>("parallax", add);
    if (source_ == kSolvedProbe) AddShape<ForwardShape<kDim, kHigh, kSolvedProbe>>("local_linear", add);
  }

  template <class Shape, class Body>
  void AddShape(const std::string& name, Body add) {
    add(name, Shape::kThreads, Shape::kSharedBytes);
  }

  ProbeParams params_;
  ProbeSource source_;
  bool high_;
  char* scratch_;
  int dim_;
  int64_t used_ = 0;
  ProbePlan plan_;
};

}  // namespace tfjs_lla
