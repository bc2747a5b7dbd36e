// What the host starts for one call of linear attention, in order (operator README).
#pragma once

#include "common/cuda/chunk_plan.h"

namespace tfjs_lla {

class LinearPlanner : private ChunkPlanner {
 public:
  LinearPlanner(const ChunkCall& call, bool high, char* scratch) : ChunkPlanner(call, high, scratch) {}

  ChunkPlan Forward() {
    const Sums sums = SumKeys();
    AddRows(sums, [&](ChunkParams& p) {
      p.result = kResultRows;
      p.out = call_.out;
      p.out_width = call_.value_dim;
    });
    return plan_;
  }

  ChunkPlan Gradient() {
    const Sums keys = SumKeys();
    const int64_t rows = int64_t{call_.heads} * padded_queries_;
    const int tiles = padded_queries_ / kChunkTile;
    float* const features = Take(rows * dim_);
    float* const cotangent = Take(rows * value_dim_);
    float* const constants = Take(rows);
    int* const states = Take<int>(rows);
    int* const tile_bounds = Take<int>(int64_t{call_.heads} * tiles);
    int* const head_bounds = Take<int>(call_.heads);
    AddRows(keys, [&](ChunkParams& p) {
      p.result = kResultFactors;
      p.dout = call_.dout;
      p.query_features = features;
      p.row_cotangent = cotangent;
      p.row_constants = constants;
      p.row_state_out = states;
      p.tile_bounds_out = tile_bounds;
    });
    AddProducts(false, dim_, [&](ChunkParams& p) {
      p.parts[0] = {InScratch(cotangent), value_, key_, keys.data, keys.floats, value_dim_, 1};
      p.part_count = 1;
      p.vector = keys.data + keys.matrix_floats;
      p.constants = constants;
      p.row_states = states;
      p.features = features;
      p.map = call_.map;
      p.out = call_.dquery;
      p.out_width = call_.dim;
    });
    const Sums sums = AddSums(true, features, dim_, cotangent, value_dim_, true, constants, [&](ChunkParams& p) {
      p.tile_bounds = tile_bounds;
      p.head_bounds = head_bounds;
    });
    AddProducts(true, dim_, [&](ChunkParams& p) {
      p.parts[0] = {InScratch(value_), cotangent, features, sums.data, sums.floats, value_dim_, 1};
      p.part_count = 1;
      p.vector = sums.data + sums.matrix_floats;
      p.constants = constants;
      p.row_states = key_states_;
      p.head_bounds = head_bounds;
      p.features = key_;
      p.map = call_.map;
      p.out = call_.dkey;
      p.out_width = call_.dim;
    });
    AddProducts(true, value_dim_, [&](ChunkParams& p) {
      p.parts[0] = {InScratch(key_), features, cotangent, sums.data, sums.floats, dim_, 0};
      p.part_count = 1;
      p.row_states = key_states_;
      p.head_bounds = head_bounds;
      p.out = call_.dvalue;
      p.out_width = call_.value_dim;
    });
    return plan_;
  }

 private:
  Sums SumKeys() {
    Prepare(call_.map);
    return AddKeySums(value_, value_dim_, true);
  }

  // Query rows as they were given, against the keys.
  template <class Set>
  void AddRows(const Sums& keys, Set set) {
    AddProducts(false, value_dim_, [&](ChunkParams& p) {
      p.parts[0] = {{call_.query, call_.dim, call_.map}, key_, value_, keys.data, keys.floats, dim_, 0};
      p.part_count = 1;
      p.normalize = call_.normalize;
      p.scale = call_.scale;
      if (call_.normalize) p.vector = keys.data + keys.matrix_floats;
      set(p);
    });
  }
};

}  // namespace tfjs_lla
