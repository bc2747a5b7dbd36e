// What the host starts for a call of linear or mesa attention: the parts that both are made of. For the op library, for
// the benchmark and for the emulator; no CUDA header.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/cuda/chunk_params.h"
#include "common/cuda/launch.h"

namespace tfjs_lla {

using ChunkPlan = LaunchPlan<ChunkParams>;

class ChunkPlanner : protected LaunchList<ChunkParams> {
 protected:
  // `call`: inputs, outputs, sizes and options are set. `scratch`: null to ask for its size only.
  ChunkPlanner(const ChunkCall& call, bool high, char* scratch)
      : LaunchList(scratch),
        call_(call),
        high_(high),
        dim_(PaddedWidth("head", call.dim)),
        value_dim_(PaddedWidth("value", call.value_dim)),
        padded_keys_(PaddedRows(call.keys)),
        padded_queries_(PaddedRows(call.queries)) {
    // With at least as many items in a chunk as the narrower side has columns, sums take no more memory than the wider
    // side. Without a causal bound nothing happens inside a chunk.
    chunk_ = std::max(std::min(dim_, value_dim_), call.causal ? 2 * kChunkTile : 4 * kChunkTile);
  }

  static constexpr int kThreads = 128;
  static constexpr int kTileBytes = kChunkTile * kChunkTile * 4;

  // What all launches have in common.
  ChunkParams Common() const {
    ChunkParams p{};
    p.heads = call_.heads;
    p.heads_per_batch = call_.heads_per_batch;
    p.queries = call_.queries;
    p.keys = call_.keys;
    p.causal = call_.causal;
    p.dim = call_.dim;
    p.value_dim = call_.value_dim;
    p.padded_dim = dim_;
    p.padded_value_dim = value_dim_;
    p.chunk = chunk_;
    p.scale = 1;
    return p;
  }

  // Keys and values, padded, and what is known of the keys.
  void Prepare(int map) {
    ChunkParams p = Common();
    p.key = call_.key;
    p.value = call_.value;
    p.key_mask = call_.key_mask;
    p.map = map;
    p.padded_key = key_ = Take(int64_t{call_.heads} * padded_keys_ * dim_);
    p.padded_value = value_ = Take(int64_t{call_.heads} * padded_keys_ * value_dim_);
    p.key_states = key_states_ = Take<int>(int64_t{call_.heads} * padded_keys_);
    const int64_t tiles = int64_t{call_.heads} * (padded_keys_ / kChunkTile);
    tile_records_ = Take<ChunkKeyRecord>(tiles);
    head_records_ = Take<ChunkKeyRecord>(call_.heads);
    p.tile_records = tile_records_;
    Add("prepare_chunks", tiles, 4 * sizeof(ChunkKeyRecord), p);
  }

  // Sums of left^T right over chunks, and of left where `with_vector`.
  struct Sums {
    float* data;
    int floats, matrix_floats;
  };

  // Over the keys before each chunk, or, of query rows, from each on. `scan` adds to the launch that sums chunks up.
  template <class Scan>
  Sums AddSums(bool of_rows, const float* left, int left_width, const float* right, int right_width, bool with_vector,
               const float* constants, Scan scan) {
    ChunkParams p = Common();
    p.of_rows = of_rows;
    p.chunks = Chunks(of_rows ? call_.queries : call_.keys);
    p.left = left;
    p.right = right;
    p.left_width = left_width;
    p.right_width = right_width;
    p.constants = constants;
    p.sum_floats = left_width * right_width + (with_vector ? left_width : 0);
    p.sums = Take(int64_t{call_.heads} * (p.chunks + 1) * p.sum_floats);
    const int64_t tiles = left_width / kChunkTile * (right_width / kChunkTile);
    Add("sum_chunks" + Precision(), int64_t{call_.heads} * p.chunks * tiles, 2 * kTileBytes, p);
    scan(p);
    Add("scan_chunks", int64_t{call_.heads} * DivideUp(p.sum_floats, kThreads), 0, p);
    return {p.sums, p.sum_floats, left_width * right_width};
  }

  // Of keys and values, from which all that query rows see is read.
  Sums AddKeySums(const float* right, int right_width, bool with_vector) {
    return AddSums(false, key_, dim_, right, right_width, with_vector, nullptr, [&](ChunkParams& p) {
      p.tile_records = tile_records_;
      p.head_records = head_records_;
    });
  }

  // A launch for tiles of query rows or of keys; `set(params)` says what they are multiplied with.
  template <class Set>
  void AddProducts(bool rows_are_keys, int columns, Set set) {
    ChunkParams p = Common();
    p.rows_are_keys = rows_are_keys;
    p.chunks = Chunks(rows_are_keys ? call_.queries : call_.keys);
    p.columns = columns;
    p.head_records = head_records_;
    set(p);
    int depth = 0;
    for (int i = 0; i < p.part_count; i++) depth = std::max(depth, p.parts[i].depth);
    const int64_t tiles = int64_t{call_.heads} * ((rows_are_keys ? padded_keys_ : padded_queries_) / kChunkTile);
    const int shared_bytes = (depth / kChunkTile + 3) * kTileBytes + 5 * kChunkTile * 4;
    Add("multiply_chunks" + Precision() + "_" + std::to_string(columns), tiles, shared_bytes, p);
  }

  static ChunkRows InScratch(const float* data) { return {data, 0, kFeatureIdentity}; }

  void Add(const std::string& name, int64_t blocks, int shared_bytes, const ChunkParams& params,
           int threads = kThreads) {
    LaunchList::Add(name, blocks, threads, shared_bytes, params);
  }

  std::string Precision() const { return high_ ? "_high" : "_fast"; }

  static int PaddedRows(int rows) { return DivideUp(rows, kChunkTile) * kChunkTile; }
  int Chunks(int items) const { return DivideUp(items, chunk_); }

  // Padded widths that there are kernels for.
  static int PaddedWidth(const char* what, int width) {
    for (int padded : {64, 128, 256}) {
      if (width <= padded) return padded;
    }
    throw std::invalid_argument(std::string(what) + " dimension " + std::to_string(width) +
                                ": CUDA kernels take at most 256");
  }

  ChunkCall call_;
  bool high_;
  int dim_, value_dim_;  // padded
  int padded_keys_, padded_queries_;
  int chunk_;
  float *key_ = nullptr, *value_ = nullptr;
  int* key_states_ = nullptr;
  ChunkKeyRecord *tile_records_ = nullptr, *head_records_ = nullptr;
};

}  // namespace tfjs_lla
