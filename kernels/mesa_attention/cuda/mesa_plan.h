// What the host starts for one call of mesa attention, in order (operator README).
#pragma once

#include "common/cuda/chunk_plan.h"

namespace tfjs_lla {

class MesaPlanner : private ChunkPlanner {
 public:
  // Operands are split in either precision: solutions of rows that see few keys are large where no key is, and the
  // products with them cancel.
  MesaPlanner(const ChunkCall& call, char* scratch) : ChunkPlanner(call, true, scratch) {}

  ChunkPlan Forward() {
    const KeySums sums = SumKeys();
    float* const rests = Take(Rows() * dim_);
    float* const solutions = Take(Rows() * dim_);
    int* const states = Take<int>(Rows());
    AddSolver(sums, {call_.query, call_.dim, kFeatureIdentity}, rests, solutions, states, [&](ChunkParams& p) {
      p.row_state_out = states;
      p.out = call_.probe_out;
    });
    AddProducts(false, value_dim_, [&](ChunkParams& p) {
      p.parts[0] = {InScratch(solutions), key_, value_, sums.values.data, sums.values.floats, dim_, 0};
      p.part_count = 1;
      p.row_states = states;
      p.out = call_.out;
      p.out_width = call_.value_dim;
    });
    return plan_;
  }

  ChunkPlan Gradient() {
    const KeySums keys = SumKeys();
    const int tiles = padded_queries_ / kChunkTile;
    float* const probe = Take(Rows() * dim_);
    float* const cotangent = Take(Rows() * value_dim_);
    float* const rests = Take(Rows() * dim_);
    float* const solutions = Take(Rows() * dim_);
    float* const minus_solutions = Take(Rows() * dim_);
    float* const ridge_parts = call_.dridge ? Take(int64_t{call_.heads} * tiles * dim_) : nullptr;
    int* const states = Take<int>(Rows());
    int* const tile_bounds = Take<int>(int64_t{call_.heads} * tiles);
    int* const head_bounds = Take<int>(call_.heads);
    ChunkParams rows = Common();
    rows.probe = call_.probe;
    rows.dout = call_.dout;
    rows.padded_probe = probe;
    rows.row_cotangent = cotangent;
    rows.row_state_out = states;
    rows.tile_bounds_out = tile_bounds;
    rows.head_records = head_records_;
    rows.head_ridges = head_ridges_;
    Add("mesa_prepare_rows", int64_t{call_.heads} * tiles, 4 * sizeof(int), rows);
    // u = H^-1 N, N_i = sum_j (g_i.v_j) k_j
    AddProducts(false, dim_, [&](ChunkParams& p) {
      p.parts[0] = {InScratch(cotangent), value_, key_, keys.values.data, keys.values.floats, value_dim_, 1};
      p.part_count = 1;
      p.row_states = states;
      p.padded_out = rests;
    });
    AddSolver(keys, InScratch(rests), rests, solutions, states, [&](ChunkParams& p) {
      p.row_states = states;
      p.padded_probe = probe;
      p.minus_solutions = minus_solutions;
      p.ridge_parts = ridge_parts;
      p.out = call_.dquery;
    });
    const Sums of_cotangents = AddSums(true, probe, dim_, cotangent, value_dim_, false, nullptr, [&](ChunkParams& p) {
      p.tile_bounds = tile_bounds;
      p.head_bounds = head_bounds;
    });
    const Sums of_solutions = AddSums(true, probe, dim_, minus_solutions, dim_, false, nullptr, [](ChunkParams&) {});
    // dk_j = sum_i (v_j.g_i - k_j.u_i) x_i - (k_j.x_i) u_i
    AddProducts(true, dim_, [&](ChunkParams& p) {
      p.parts[0] = {InScratch(value_), cotangent, probe, of_cotangents.data, of_cotangents.floats, value_dim_, 1};
      p.parts[1] = {InScratch(key_), minus_solutions, probe, of_solutions.data, of_solutions.floats, dim_, 1};
      p.parts[2] = {InScratch(key_), probe, minus_solutions, of_solutions.data, of_solutions.floats, dim_, 0};
      p.part_count = 3;
      p.row_states = key_states_;
      p.head_bounds = head_bounds;
      p.out = call_.dkey;
      p.out_width = call_.dim;
    });
    AddProducts(true, value_dim_, [&](ChunkParams& p) {
      p.parts[0] = {InScratch(key_), probe, cotangent, of_cotangents.data, of_cotangents.floats, dim_, 0};
      p.part_count = 1;
      p.row_states = key_states_;
      p.head_bounds = head_bounds;
      p.out = call_.dvalue;
      p.out_width = call_.value_dim;
    });
    if (call_.dridge) {
      ChunkParams p = Common();
      p.ridge_parts = ridge_parts;
      p.head_bounds = head_bounds;
      p.dridge = call_.dridge;
      Add("mesa_sum_ridge_gradient", call_.heads_per_batch, 0, p);
    }
    return plan_;
  }

 private:
  struct KeySums {
    Sums values, keys;
  };

  int64_t Rows() const { return int64_t{call_.heads} * padded_queries_; }

  KeySums SumKeys() {
    Prepare(kFeatureIdentity);
    ridges_ = Take(int64_t{call_.heads} * dim_);
    head_ridges_ = Take<MesaRidge>(call_.heads);
    ChunkParams p = Common();
    p.ridge = call_.ridge;
    p.ridge_value = call_.ridge_value;
    p.ridges = ridges_;
    p.head_ridges = head_ridges_;
    Add("mesa_prepare_ridge", call_.heads, 4 * sizeof(int), p);
    const Sums values = AddKeySums(value_, value_dim_, false);
    return {values, AddKeySums(key_, dim_, false)};
  }

  // Solves the systems for `right`, and corrects the solutions once by what is left of it. What `set(params)` sets
  // serves both.
  template <class Set>
  void AddSolver(const KeySums& sums, ChunkRows right, float* rests, float* solutions, int* states, Set set) {
    const int row_tiles = padded_queries_ / kChunkTile, columns = dim_ / kChunkTile;
    ChunkParams p = Common();
    p.chunks = Chunks(call_.keys);
    p.head_records = head_records_;
    p.head_ridges = head_ridges_;
    p.ridges = ridges_;
    p.padded_key = key_;
    p.gram = sums.keys.data;
    p.systems = call_.causal ? row_tiles : 1;
    const int64_t tiles = columns * (columns + 1) / 2 + columns;
    p.factors = Take(int64_t{call_.heads} * p.systems * tiles * kChunkTile * kChunkTile);
    Add("mesa_factor", int64_t{call_.heads} * p.systems, 3 * kTileBytes + 4 * kChunkTile * 4, p);
    p.right_sides = right;
    p.rests = rests;
    p.solutions = solutions;
    set(p);
    const int shared_bytes = (columns + 2) * kTileBytes + kChunkTile * 4;
    Add("mesa_solve", int64_t{call_.heads} * row_tiles, shared_bytes, p);
    AddProducts(false, dim_, [&](ChunkParams& rest) {
      rest.parts[0] = {InScratch(solutions), key_, key_, sums.keys.data, sums.keys.floats, dim_, 0};
      rest.part_count = 1;
      rest.result = kResultRests;
      rest.row_states = states;
      rest.ridges = ridges_;
      rest.rests = rests;
      rest.solutions = solutions;
      rest.padded_out = rests;
    });
    p.right_sides = InScratch(rests);
    p.row_states = states;
    p.is_correction = 1;
    p.is_last = 1;
    Add("mesa_solve", int64_t{call_.heads} * row_tiles, shared_bytes, p);
  }

  float* ridges_ = nullptr;
  MesaRidge* head_ridges_ = nullptr;
};

}  // namespace tfjs_lla
