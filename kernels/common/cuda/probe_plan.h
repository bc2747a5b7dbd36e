// What the host starts for one call of the family, in order: kernels, grids and scratch. For the op library, for the
// benchmark and for the emulator; no CUDA header.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/cuda/direct_shape.h"
#include "common/cuda/gradient_shape.h"
#include "common/cuda/launch.h"

namespace tfjs_lla {

using ProbePlan = LaunchPlan<ProbeParams>;

// Padded head dimensions that there are kernels for.
inline int PaddedHeadDim(int dim) {
  for (int padded : {32, 64, 128, 256}) {
    if (dim <= padded) return padded;
  }
  throw std::invalid_argument("head dimension " + std::to_string(dim) + ": CUDA kernels take at most 256");
}

// Rows that see fewer keys than this times the head dimension have ill-conditioned systems. Single half precision does
// not solve them, and conjugate gradient takes several times as many iterations on them unless its direction is split
// as well.
constexpr int kFewKeysPerDim = 3;

// Conjugate gradient gains nothing below these relative residuals where operands are not split, and where they are only
// for the first rows of such a call.
constexpr float kFastTolerance = 1e-3f;
constexpr float kFastToleranceOfFirstRows = 3e-4f;

// Rounded directions are not quite conjugate: in few dimensions the last of two iterations a dimension, the default, comes too early. A
// call that allows those may have this many.
constexpr int kLeastIterations = 16;

// What the running blocks of the direct solver may take for weights and factors in all, and the number of them: two for
// each multiprocessor of a large GPU, and as few as keep a GPU busy where rows are very long.
constexpr int64_t kDirectScratchBytes = int64_t{256} << 20;
constexpr int64_t kMostDirectBlocks = 264;
constexpr int64_t kFewestDirectBlocks = 16;

// Blocks of a kernel that only reads.
constexpr int kBlocksToKeepBusy = 2048;

class ProbePlanner : private LaunchPlanner<ProbeParams> {
 public:
  // `call`: inputs, outputs, sizes and options are set, `direct.use` among them, and what the GPU has. `scratch`: null to ask for its size only.
  ProbePlanner(const ProbeParams& call, ProbeSource source, bool high, char* scratch)
      : LaunchPlanner(call, scratch), source_(source), high_(high), dim_(PaddedHeadDim(call.dim)) {
    params_.key_tiles_per_head = DivideUp(call.keys, 64);
    params_.value_slices = DivideUp(call.value_dim, dim_);
    // Many ranges keep the GPU busy, few are quick to add up.
    params_.key_ranges = std::min(params_.key_tiles_per_head, std::clamp(kBlocksToKeepBusy / call.heads, 32, 256));
    params_.keys_per_range = DivideUp(call.keys, params_.key_ranges);
    if (source != kSolvedProbe) params_.direct.use = kNeverDirect;
    params_.split_tiles = 0;
    if (call.max_iterations >= 2 * call.dim) params_.max_iterations = std::max(call.max_iterations, kLeastIterations);
    const int tiles = DivideUp(call.queries, kRows);
    few_ = TilesWithFewKeys(tiles);
    params_.low_tiles = high || few_ == tiles ? params_.key_tiles_per_head : KeyTilesOfFirst(few_);
  }

  ProbePlan Forward() {
    Prepare();
    PrepareDirect(false);
    WithDim([&](auto dim) { WithShapes([&](auto shapes) { AddForward<decltype(dim)::kValue>(shapes); }); });
    AddDirect({"forward"});
    return plan_;
  }

  ProbePlan Gradient() {
    if (params_.value_dim > dim_) {
      dim_ = PaddedHeadDim(params_.value_dim);
      params_.value_slices = 1;
    }
    Prepare();
    PrepareDirect(true);
    WithDim([&](auto dim) { WithShapes([&](auto shapes) { AddGradient<decltype(dim)::kValue>(shapes); }); });
    AddDirect({"gradient_rows", "gradient_keys"});
    return plan_;
  }

 private:
  static constexpr int kPrepareThreads = 128;
  static constexpr int kRows = 64, kTileKeys = 64;

  template <int kValue_>
  struct Constant {
    static constexpr int kValue = kValue_;
  };

  void Prepare() {
    const int64_t tile_bytes = 2 * 64 * static_cast<int64_t>(dim_) * 2;
    const int64_t heads = params_.heads, tiles = heads * params_.key_tiles_per_head;
    const int64_t range_bytes = static_cast<int64_t>(sizeof(RangeSummary)) + dim_ * 4 + 12;
    params_.ranges = Take<char>(heads * params_.key_ranges * range_bytes);
    params_.summary = Take<HeadSummary>(heads);
    params_.centre = Take(heads * dim_);
    if (params_.direct.use != kAllDirect) {
      params_.key_tiles = Take<char>(tiles * tile_bytes);
      params_.value_tiles = Take<char>(tiles * params_.value_slices * tile_bytes);
      params_.bias = Take(tiles * 64);
    }
    Add("summarize_range", heads * params_.key_ranges, kPrepareThreads, 4 * range_bytes);
    Add("summarize_head", heads, kPrepareThreads, 0);
    if (params_.direct.use != kAllDirect) Add("make_tiles", tiles * (1 + params_.value_slices), kPrepareThreads, 64 * 4);
  }

  // Scratch of the direct solver, and what decides on its rows.
  void PrepareDirect(bool gradient) {
    DirectParams& direct = params_.direct;
    if (direct.use == kNeverDirect) return;
    constexpr int kRows = DirectShape<32>::kRows;
    const int64_t heads = params_.heads, rows = heads * params_.queries, n = (params_.dim + 7) / 8 * 8;
    const int64_t keys = static_cast<int64_t>(params_.key_tiles_per_head) * 64;
    const int64_t factor_bytes = kRows * n * (n + 1) / 2 * 4, weight_bytes = kRows * keys * 4;
    const int64_t block_bytes = factor_bytes + weight_bytes * (gradient ? 3 : 1);
    const int64_t fitting = std::max(kFewestDirectBlocks, std::min(kMostDirectBlocks, kDirectScratchBytes / block_bytes));
    direct.blocks = static_cast<int>(std::min(fitting, heads * DivideUp(params_.queries, kRows)));
    direct.factors = Take(direct.blocks * factor_bytes / 4);
    direct.weights = Take(direct.blocks * weight_bytes / 4);
    if (gradient || direct.use == kMissedDirect) direct.rows = Take<unsigned char>(rows);
    if (gradient) {
      direct.gammas = Take<double>(direct.blocks * weight_bytes / 4);
      direct.records = Take<DirectRecord>(rows);
      direct.u = Take(rows * params_.dim);
      direct.u_rest = Take(rows * params_.dim);
      direct.probe_rest = Take(rows * params_.dim);
    }
    if (direct.use == kAllDirect) return;
    direct.variance = Take(heads * params_.key_ranges * 2);
    direct.smallest_ridge = Take(heads);
    Add("find_variance", heads * params_.key_ranges, kPrepareThreads, kPrepareThreads * 8);
    Add("find_smallest_ridge", heads, 32, 0);
  }

  // Kernels of the direct solver: they return at once where they have no rows.
  void AddDirect(const std::vector<std::string>& kernels) {
    if (params_.direct.use == kNeverDirect) return;
    WithDim([&](auto dim) {
      using Rows = DirectShape<decltype(dim)::kValue>;
      using Keys = DirectKeyShape<decltype(dim)::kValue>;
      for (const std::string& kernel : kernels) {
        const bool by_keys = kernel == "gradient_keys";
        const int64_t key_blocks = static_cast<int64_t>(params_.heads) * DivideUp(params_.keys, Keys::kKeys);
        Add("local_linear_direct_" + kernel, by_keys ? key_blocks : params_.direct.blocks, Rows::kThreads,
            by_keys ? Keys::kSharedBytes : Rows::kSharedBytes);
      }
    });
  }

  void Add(const std::string& name, int64_t blocks, int threads, int64_t shared_bytes) {
    LaunchPlanner::Add(name + "_" + std::to_string(dim_), blocks, threads, shared_bytes);
  }

  template <class Body>
  void WithDim(Body body) {
    if (dim_ == 32) body(Constant<32>());
    if (dim_ == 64) body(Constant<64>());
    if (dim_ == 128) body(Constant<128>());
    if (dim_ == 256) body(Constant<256>());
  }

  // The number of a head's first query tiles whose rows see few keys: of a causal call, or all of them.
  int TilesWithFewKeys(int tiles) const {
    if (source_ != kSolvedProbe) return 0;
    const int enough = kFewKeysPerDim * params_.dim;
    if (params_.keys < enough) return tiles;
    const int few = params_.causal ? enough - (params_.keys - params_.queries) : 0;
    return few <= 0 ? 0 : std::min(tiles, DivideUp(few, kRows));
  }

  // Calls body(shape, operation) for the shape of the call's kernels: Shape<kDim, kHigh, source>.
  template <template <int, bool, ProbeSource> class Shape, int kDim, bool kHigh, class Body>
  void WithSource(Body body) {
    if (source_ == kNoProbe) body(Shape<kDim, kHigh, kNoProbe>(), std::string("softmax"));
    if (source_ == kGivenProbe) body(Shape<kDim, kHigh, kGivenProbe>(), std::string("parallax"));
    if (source_ == kSolvedProbe) body(Shape<kDim, kHigh, kSolvedProbe>(), std::string("local_linear"));
  }

  template <bool kHigh>
  static std::string Name(const std::string& operation, const std::string& kernel) {
    return operation + "_" + kernel + (kHigh ? "_high" : "_fast");
  }

  // How many tiles of keys the first query tiles of a causal call see.
  int KeyTilesOfFirst(int tiles) const {
    if (tiles == 0) return 0;
    return DivideUp(std::clamp(params_.keys - params_.queries + tiles * kRows, 0, params_.keys), kTileKeys);
  }

  // Launches for all query tiles, the long ones first.
  template <template <int, bool, ProbeSource> class Shape, int kDim>
  void AddAllTiles(const std::string& kernel, int tiles) {
    params_.split_tiles = few_;
    if (high_) {
      AddTiles<Shape, kDim, true>(kernel, 0, tiles);
    } else {
      AddTiles<Shape, kDim, false>(kernel, few_, tiles - few_);
      AddTiles<Shape, kDim, true>(kernel, 0, few_);
    }
  }

  // Launches for query tiles from `first`.
  template <template <int, bool, ProbeSource> class Shape, int kDim, bool kHigh>
  void AddTiles(const std::string& kernel, int first, int count) {
    if (count == 0) return;
    const float tolerance = params_.tolerance;
    if (!high_) params_.tolerance = std::max(tolerance, kHigh ? kFastToleranceOfFirstRows : kFastTolerance);
    params_.first_tile = first;
    params_.tiles = count;
    WithSource<Shape, kDim, kHigh>([&](auto shape, const std::string& operation) {
      using S = decltype(shape);
      Add(Name<kHigh>(operation, kernel), static_cast<int64_t>(params_.heads) * count, S::kThreads, S::kSharedBytes);
    });
    params_.tolerance = tolerance;
  }

  // Both precisions keep as much in scratch, or the split one more.
  template <template <int, bool, ProbeSource> class Shape, int kDim>
  void TakeState(int64_t blocks) {
    WithSource<Shape, kDim, true>([&](auto shape, const std::string&) {
      using S = decltype(shape);
      params_.state = Take(blocks * S::kScratchArrays * S::kArrayBytes / 4);
    });
  }

  // The shapes of kernels for GPUs with much shared memory, or with less.
  template <bool kLarge>
  struct Shapes {
    template <int kDim, bool kHigh, ProbeSource kSource>
    using Forward = SizedForwardShape<kDim, kHigh, kSource, kLarge>;
    template <int kDim, bool kHigh, ProbeSource kSource>
    using GradientRows = SizedGradientRowShape<kDim, kHigh, kSource, kLarge>;
    template <int kDim, bool kHigh, ProbeSource kSource>
    using GradientKeys = SizedGradientKeyShape<kDim, kHigh, kSource, kLarge>;
  };

  // Calls body(shapes) with the shapes of the call's GPU, unless all its rows are the direct solver's.
  template <class Body>
  void WithShapes(Body body) {
    if (params_.direct.use == kAllDirect) return;
    if (params_.large_shared) body(Shapes<true>());
    if (!params_.large_shared) body(Shapes<false>());
  }

  // Both precisions keep as many operands in scratch, or the split one more.
  template <template <int, bool, ProbeSource> class Shape, int kDim>
  int64_t ScratchOperandBytes() {
    int64_t bytes = 0;
    WithSource<Shape, kDim, true>([&](auto shape, const std::string&) { bytes = decltype(shape)::kScratchOperandBytes; });
    return bytes;
  }

  template <int kDim, class S>
  void AddForward(S) {
    const int tiles = DivideUp(params_.queries, kRows);
    const int64_t blocks = static_cast<int64_t>(params_.heads) * tiles;
    TakeState<S::template Forward, kDim>(blocks);
    params_.operands = Take<char>(blocks * ScratchOperandBytes<S::template Forward, kDim>());
    AddAllTiles<S::template Forward, kDim>("forward", tiles);
  }

  template <int kDim, class S>
  void AddGradient(S shapes) {
    const int tiles = DivideUp(params_.queries, kRows);
    const int64_t blocks = static_cast<int64_t>(params_.heads) * tiles;
    const int64_t key_blocks = static_cast<int64_t>(params_.heads) * params_.key_tiles_per_head;
    params_.row_tiles = tiles;
    params_.records = Take(blocks * kRowFields * kRows);
    params_.tile_records = Take<RowTileRecord>(blocks);
    params_.row_tiles_memory = Take<char>(blocks * kRowImages * 2 * kRows * kDim * 2);
    TakeState<S::template GradientRows, kDim>(blocks);
    params_.operands = Take<char>(std::max(blocks * ScratchOperandBytes<S::template GradientRows, kDim>(),
                                     key_blocks * ScratchOperandBytes<S::template GradientKeys, kDim>()));
    AddAllTiles<S::template GradientRows, kDim>("gradient_rows", tiles);
    if (high_ || few_ == tiles) {
      AddKeys<kDim, true>(key_blocks, shapes);
    } else {
      AddKeys<kDim, false>(key_blocks, shapes);
    }
  }

  template <int kDim, bool kHigh, class S>
  void AddKeys(int64_t blocks, S) {
    WithSource<S::template GradientKeys, kDim, kHigh>([&](auto shape, const std::string& operation) {
      using Shape = decltype(shape);
      Add(Name<kHigh>(operation, "gradient_keys"), blocks, Shape::kThreads, Shape::kSharedBytes);
    });
  }

  ProbeSource source_;
  bool high_;
  int dim_;
  int few_;  // query tiles that see few keys
};

}  // namespace tfjs_lla
