// What the host starts for a step of softmax, Parallax and local linear attention, and for their calls with few queries.
#pragma once

#include <algorithm>

#include "common/cuda/launch.h"
#include "common/cuda/probe_plan.h"
#include "common/cuda/step_params.h"

namespace tfjs_lla {

using StepLaunch = KernelLaunch<StepParams>;
using StepPlan = LaunchPlan<StepParams>;

// Of a large GPU. A kernel gets no more blocks than run there at once, so that none begins when others are done.
constexpr int kMultiprocessors = 132;

// Fewest keys of a range of statistics: below this, joining the ranges costs more than they save.
constexpr int kLeastStatisticsKeys = 128;

// Bytes that statistics, or parts, of the rows may take at a time: rows beyond come one launch after another.
constexpr int64_t kMostStepBytes = int64_t{64} << 20;

// From so many new tokens on a step is one call of the kernels for whole calls, unless it had to copy more than so many
// cached tokens for each.
constexpr int kManyTokens = 16;
constexpr int kMostCopied = 16;

// Whether a call of the operator itself does better with its keys divided among blocks: its blocks of 64 rows would leave
// most of a GPU idle, or be empty but for a few rows. The bounds are estimates from the kernels' operations.
inline bool DividesKeys(ProbeSource source, int64_t heads, int64_t queries, int64_t keys) {
  if (keys < 1024) return false;
  const bool leaves_idle = heads * ((queries + 63) / 64) <= 64;
  if (source == kSolvedProbe) return queries <= (leaves_idle ? 8 : 2);
  return queries <= (leaves_idle ? 64 : 4);
}

// Where the keys of a step stand, for a cache that holds `length` tokens in `capacity` rows, the next one at position
// `total`. Sizes of the call are set.
inline void PlaceStep(StepParams& params, int64_t length, int64_t total, int64_t window) {
  const int64_t oldest = std::max(total - length, window > 0 ? total - window + 1 : 0);
  params.causal = 1;
  params.window = static_cast<int>(window);
  params.cached = static_cast<int>(total - oldest);
  params.start = static_cast<int>(oldest % params.capacity);
  params.first_new = std::max(0, params.new_keys - params.capacity);
}

class StepPlanner : private LaunchPlanner<StepParams> {
 public:
  // `call`: inputs, outputs, sizes and options are set, `rows` is not.
  StepPlanner(const StepParams& call, ProbeSource source, char* scratch)
      : LaunchPlanner(call, scratch), source_(source), key_dim_(PaddedHeadDim(call.dim)) {
    // Wider values go by slices.
    dim_ = std::max(key_dim_, call.value_dim > 256 ? 256 : PaddedHeadDim(call.value_dim));
  }

  // Attends, and appends the new keys where there is a cache.
  StepPlan Plan() {
    const int total = params_.queries, most = MostRows();
    const int64_t all = static_cast<int64_t>(params_.heads) * total;
    const bool has_cache = params_.cached_key != nullptr;
    params_.rows = std::min(total, most);
    const Pass of_values = MakePass(dim_, HasProbe(), DivideUp(params_.value_dim, dim_));
    const Pass of_keys = MakePass(key_dim_, false, 1);
    if (source_ == kSolvedProbe) {
      params_.mean_key = Take(all * params_.dim);
      params_.tops = Take(all);
      params_.solved = Take(all * params_.dim);
      if (params_.dim > kLargestSharedSystem) params_.triangles = Take(Rows() * TriangleFloats(params_.dim));
      DivideStatistics();
      params_.statistics = Take(Rows() * params_.statistics_ranges * StatisticsFloats(key_dim_));
    }
    params_.parts = Take(std::max(PassFloats(of_values), source_ == kSolvedProbe ? PassFloats(of_keys) : 0));
    const bool appends = has_cache && total <= most;
    for (params_.first_row = 0; params_.first_row < total; params_.first_row += most) {
      params_.rows = std::min(most, total - params_.first_row);
      if (source_ == kSolvedProbe) AddSolution(of_keys);
      params_.appends = appends;
      AddPass(of_values);
    }
    if (has_cache && !appends) AddAppend();
    return plan_;
  }

  // Only appends.
  StepPlan Append() {
    AddAppend();
    return plan_;
  }

  // Copies cached and new keys to where they lie in order.
  StepPlan Gather() {
    const int64_t count = static_cast<int64_t>(params_.heads) * (params_.cached + params_.new_keys);
    params_.whole_key = Take(count * params_.dim);
    params_.whole_value = Take(count * params_.value_dim);
    params_.whole_bias = Take(count);
    Add("step_gather", count, kJoinBlockThreads, 0);
    return plan_;
  }

 private:
  static constexpr int kJoinBlockThreads = 128;

  bool HasProbe() const { return source_ != kNoProbe; }
  int64_t Rows() const { return static_cast<int64_t>(params_.heads) * params_.rows; }

  // Rows of a head at a time.
  int MostRows() const {
    const int64_t floats = source_ == kSolvedProbe ? StatisticsFloats(key_dim_)
                                                   : DivideUp(params_.value_dim, dim_) * PartFloats(dim_, HasProbe());
    return static_cast<int>(std::max<int64_t>(1, kMostStepBytes / (4 * floats * params_.heads)));
  }

  // Keys that a block of `together` rows sees at most.
  int Span(int together) const {
    const int keys = params_.cached + params_.new_keys;
    return params_.window > 0 ? std::min<int64_t>(keys, static_cast<int64_t>(params_.window) + together - 1) : keys;
  }

  // Divides `span` keys into as many ranges as make `blocks` blocks, each of whole turns and no fewer than `least` keys.
  static void Divide(int span, int64_t per_range, int blocks, int turn, int least, int* ranges, int* keys) {
    const int64_t most = std::min<int64_t>({kMostRanges, std::max<int64_t>(1, blocks / per_range), DivideUp(span, least)});
    *keys = DivideUp(DivideUp(span, most), turn) * turn;
    *ranges = DivideUp(span, *keys);
  }

  // A pass over keys and values: the padded dimension of its kernels, and how it divides its work.
  struct Pass {
    int dim;
    bool has_probe;
    int slices, ranges, keys_per_range;
  };

  Pass MakePass(int dim, bool has_probe, int slices) const {
    Pass pass = {dim, has_probe, slices, 0, 0};
    WithAttend(pass, [&](auto shape, const std::string&) {
      using S = decltype(shape);
      const int64_t per_range = static_cast<int64_t>(params_.heads) * DivideUp(params_.rows, S::kBlockRows) * slices;
      Divide(Span(S::kBlockRows), per_range, kMultiprocessors * S::kBlocks, S::kTurnKeys, S::kTurnKeys, &pass.ranges,
             &pass.keys_per_range);
    });
    return pass;
  }

  int64_t PassFloats(const Pass& pass) const {
    return Rows() * pass.slices * pass.ranges * PartFloats(pass.dim, pass.has_probe);
  }

  void AddPass(const Pass& pass) {
    params_.value_slices = pass.slices;
    params_.ranges = pass.ranges;
    params_.keys_per_range = pass.keys_per_range;
    WithAttend(pass, [&](auto shape, const std::string& name) {
      using S = decltype(shape);
      const int64_t blocks = static_cast<int64_t>(params_.heads) * DivideUp(params_.rows, S::kBlockRows) * pass.slices;
      Add(name, blocks * pass.ranges, S::kThreads, S::kSharedBytes);
    });
    Add((pass.has_probe ? "step_probe_join_" : "step_softmax_join_") + std::to_string(pass.dim), Rows(), kJoinBlockThreads,
        4 * kMostRanges * 4);
  }

  void DivideStatistics() {
    WithStatistics([&](auto shape) {
      using S = decltype(shape);
      Divide(Span(1), Rows() * S::kMatrixBlocks, kMultiprocessors * S::kBlocks, S::kTurnKeys, kLeastStatisticsKeys,
             &params_.statistics_ranges, &params_.statistics_keys_per_range);
    });
  }

  // Local linear attention's probe: the mean key by a pass whose values are the keys, the statistics, the solution.
  void AddSolution(const Pass& of_keys) {
    const StepParams given = params_;
    params_.value = given.key;
    params_.cached_value = given.cached_key;
    params_.value_dim = given.dim;
    params_.out = given.mean_key;
    params_.appends = 0;
    AddPass(of_keys);
    params_ = given;
    params_.probe = params_.solved;
    const std::string of_dim = "_" + std::to_string(key_dim_);
    WithStatistics([&](auto shape) {
      using S = decltype(shape);
      Add("local_linear_statistics" + of_dim, Rows() * params_.statistics_ranges * S::kMatrixBlocks, S::kThreads,
          S::kSharedBytes);
    });
    const int triangle = params_.dim > kLargestSharedSystem ? 0 : TriangleFloats(params_.dim);
    Add("local_linear_solve" + of_dim, Rows(), kTriangleThreads, 4 * (2 * key_dim_ + triangle));
  }

  void AddAppend() {
    Add("step_append", static_cast<int64_t>(params_.heads) * params_.new_keys, kJoinBlockThreads, 0);
  }

  // Calls body(shape, kernel).
  template <class Body>
  void WithAttend(const Pass& pass, Body body) const {
    if (pass.dim == 32) WithProbe<32>(pass.has_probe, body);
    if (pass.dim == 64) WithProbe<64>(pass.has_probe, body);
    if (pass.dim == 128) WithProbe<128>(pass.has_probe, body);
    if (pass.dim == 256) WithProbe<256>(pass.has_probe, body);
  }

  template <int kDim, class Body>
  void WithProbe(bool has_probe, Body body) const {
    if (has_probe) {
      WithRows<kDim, true>("step_probe_", body);
    } else {
      WithRows<kDim, false>("step_softmax_", body);
    }
  }

  template <int kDim, bool kProbe, class Body>
  void WithRows(const std::string& name, Body body) const {
    constexpr int kRows = SharedRows(kProbe);
    const std::string of_dim = "_" + std::to_string(kDim);
    if (params_.queries == 1) {
      body(AttendShape<kDim, 1, 1, kProbe>(), name + "row" + of_dim);
    } else if (params_.queries <= kRows) {
      body(AttendShape<kDim, kRows, 1, kProbe>(), name + "rows" + of_dim);
    } else {
      body(AttendShape<kDim, kRows, kManySets, kProbe>(), name + "many" + of_dim);
    }
  }

  template <class Body>
  void WithStatistics(Body body) {
    if (key_dim_ == 32) body(StatisticsShape<32>());
    if (key_dim_ == 64) body(StatisticsShape<64>());
    if (key_dim_ == 128) body(StatisticsShape<128>());
    if (key_dim_ == 256) body(StatisticsShape<256>());
  }

  ProbeSource source_;
  int key_dim_, dim_;
};

}  // namespace tfjs_lla
