// What the CUDA kernels take that divide the keys of few query rows among blocks: steps of a cache, and calls with few
// queries. One struct, by value; read by the compiler of the host and by CUDA's: plain types only.
#pragma once

#include "common/cuda/triangle_size.h"

namespace tfjs_lla {

// Key j of a row: the first `cached` stand in the cache, key j in row (start + j) % capacity of it; the others are new.
struct StepParams {
  const float* query;             // [heads, queries, dim]
  const float* key;               // [heads, new_keys, dim]
  const float* value;             // [heads, new_keys, value_dim]
  const unsigned char* key_mask;  // [heads / heads_per_batch, new_keys], null: every new key is visible
  const float* key_bias;          // [heads, new_keys], null: zeros
  const float* probe;             // [heads, queries, dim]: Parallax's r, or what `solve` has found; null: none
  const float* ridge;             // [heads, queries], null: `ridge_value` in every row
  float* cached_key;              // [heads, capacity, dim]
  float* cached_value;            // [heads, capacity, value_dim]
  float* cached_bias;             // [heads, capacity], null: zeros
  float* out;                     // [heads, queries, value_dim]
  float* probe_out;               // [heads, queries, dim]: the solution x = -r, null: not asked for

  // Scratch; step_plan.h gives the sizes.
  float* mean_key;       // [heads, queries, dim]: mean of the keys by a row's weights
  float* tops;           // [heads, queries]: the largest exponent; null: not asked for
  float* statistics;     // [heads, rows, statistics_ranges, StatisticsFloats]
  float* triangles;      // [heads, rows, TriangleFloats], null: in shared memory
  float* solved;         // [heads, queries, dim]: what `probe` is then
  float* parts;          // [heads, rows, value_slices, ranges, PartFloats]
  float* whole_key;      // [heads, cached + new_keys, dim]: where a step runs as one call over a copy
  float* whole_value;    // [heads, cached + new_keys, value_dim]
  float* whole_bias;     // [heads, cached + new_keys]

  int heads, heads_per_batch;
  int queries, new_keys;
  int cached, start, capacity;
  int first_new;            // of the new keys, the first that is appended: earlier ones would be written over
  int dim, value_dim, value_slices;
  int causal;               // 0 or 1: row i sees keys before cached + new_keys - queries + i + 1
  int window;               // keys that a row sees, the last ones; 0: all
  int first_row, rows;      // rows of every head that this launch works on
  int ranges, keys_per_range;
  int statistics_ranges, statistics_keys_per_range;
  int appends;              // 0 or 1: the kernel that joins the ranges also appends
  float scale;
  float ridge_value;
};

// The most ranges of a row's keys: they are joined by one block.
constexpr int kMostRanges = 128;

// Numbers of a part: sums of values, once more where there is a probe; m, sum w, sum w r.(k - c), 1 where bad.
constexpr int PartFloats(int padded_dim, bool has_probe) { return padded_dim * (has_probe ? 2 : 1) + 4; }

// Tiles of 8 x 8 in the lower triangle of a matrix of the padded dimension.
constexpr int TriangleTiles(int padded_dim) { return (padded_dim / 8) * (padded_dim / 8 + 1) / 2; }

// Numbers of the statistics of a range of keys: tiles of sum w y y^T; sum w y; sum w and three unused.
constexpr int StatisticsFloats(int padded_dim) { return TriangleTiles(padded_dim) * 64 + padded_dim + 4; }

// How the kernel that attends divides its work: a group of lanes reads a key together.
template <int kDim_, int kRows_, int kSets_, bool kProbe_>
struct AttendShape {
  static constexpr int kDim = kDim_;    // padded, of keys and of a slice of values
  static constexpr int kRows = kRows_;  // query rows of a thread, which share what it reads
  static constexpr int kSets = kSets_;  // of rows in a block: each set's warps read all keys of the block
  static constexpr bool kProbe = kProbe_;
  static constexpr int kThreads = 128;
  static constexpr int kBlockRows = kRows * kSets;
  static constexpr int kSetThreads = kThreads / kSets;
  // Several rows cost more for the sums over lanes than for the products: fewer lanes.
  static constexpr int kLanes = kRows > 1 ? kDim / 8 : kDim < 128 ? kDim / 4 : 32;
  static constexpr int kQuads = kDim / 4 / kLanes;  // of a lane
  static constexpr int kGroups = kSetThreads / kLanes;
  // Keys of a group in a turn: reads on their way.
  static constexpr int kSteps = (kRows == 1 ? 4 : 2) / kQuads;
  static constexpr int kTurnKeys = kGroups * kSteps;
  // Centre, largest exponents, sums of weights, quads to add up.
  static constexpr int kSharedBytes = (kDim + 16 + kSets * kGroups * 4 + kThreads * 4) * 4;
  // Of a multiprocessor, as registers allow.
  static constexpr int kBlocks = kRows > 1 ? (kProbe ? 4 : 3) : (kProbe ? 5 : 6) - (kQuads > 1 ? 1 : 0);
};

// Rows of a thread where there are several, and sets of them where there are many.
constexpr int SharedRows(bool has_probe) { return has_probe ? 2 : 4; }
constexpr int kManySets = 4;

// How the kernel of statistics divides its work: a thread has a tile of 8 x 8 numbers, for the keys of its group.
template <int kDim_>
struct StatisticsShape {
  static constexpr int kDim = kDim_;
  static constexpr int kAcross = kDim / 8;
  static constexpr int kThreads = kDim == 32 ? 128 : kDim == 64 ? 256 : kDim == 128 ? 288 : 192;
  static constexpr int kMatrixBlocks = kDim == 256 ? 3 : 1;  // that share a matrix
  static constexpr int kTiles = TriangleTiles(kDim) / kMatrixBlocks;
  static constexpr int kGroups = kThreads / kTiles;
  static constexpr int kLanes = kDim < 128 ? kDim / 4 : 32;
  static constexpr int kQuads = kDim / 4 / kLanes;
  static constexpr int kReaders = kThreads / kLanes;  // keys that are read side by side
  static constexpr int kSteps = kQuads > 1 ? 2 : 4;
  static constexpr int kTurnKeys = kReaders * kSteps;
  // Keys of two turns (or quads to add up), sums of weights.
  static constexpr int kTurnFloats = kTurnKeys * kDim;
  static constexpr int kSharedBytes = (2 * kTurnFloats + kReaders) * 4;
  static constexpr int kBlocks = kDim == 32 ? 3 : kDim == 128 ? 1 : 2;  // of a multiprocessor
};

}  // namespace tfjs_lla
