// The frame of linear and mesa attention: groups of heads in scratch, their sums over chunks, and the tiles that read them.
#pragma once

#include "common/native/chunks.h"
#include "common/native/tasks.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {

// Heads and scratch of a call. `Plan` has the sizes; a `ChunkHead` loads a head and sums its rows up; a `Tile` is what a worker
// needs for some rows or keys.
template <typename Plan, typename ChunkHead, typename Tile>
struct ChunkWork {
  const Plan& plan;
  Executor& executor;
  int64_t group;
  float *head_memory, *tile_memory;
  ChunkHead* heads;
  int64_t* bad_bounds;  // [group, tiles]

  ChunkWork(const Plan& p, Executor& e) : plan(p), executor(e), group(HeadsAtATime(p.dims, e)) {
    head_memory = AllocateArray<float>(e, group * p.HeadFloats());
    tile_memory = AllocateArray<float>(e, e.workers() * p.TileFloats());
    heads = AllocateArray<ChunkHead>(e, group);
    bad_bounds = AllocateArray<int64_t>(e, group * p.tiles);
  }

  Tile TileOf(int worker, int64_t h) const { return Tile(plan, heads[h], tile_memory + worker * plan.TileFloats()); }

  // Calls `body(first, count)` for each group of heads, loaded and their keys summed up.
  template <typename Body>
  void ForGroups(Body body) {
    for (int64_t first = 0; first < plan.dims.heads; first += group) {
      const int64_t count = Min(group, plan.dims.heads - first);
      Load(first, count);
      body(first, count);
    }
  }

  // Calls `body(tile, index of the head, task of the head)` for `tasks` tasks of each head of a group.
  template <typename Body>
  void ForTiles(int64_t first, int64_t count, int64_t tasks, Body body) {
    auto run = [&](int worker, int64_t task) {
      Tile tile = TileOf(worker, task % count);
      body(tile, first + task % count, task / count);
    };
    ForEach(executor, count * tasks, run);
  }

  // The gradients of a group: of the rows, then, from sums over these, of the keys.
  template <typename Gradients>
  void Gradient(int64_t first, int64_t count, const Gradients& gradients) {
    ForTiles(first, count, plan.tiles, [&](Tile& tile, int64_t index, int64_t t) {
      bad_bounds[(index - first) * plan.tiles + t] = tile.QueryGradient(index, t, gradients);
    });
    auto sum = [&](int, int64_t task) { heads[task % count].SumRows(plan, task / count); };
    ForEach(executor, count * plan.rows.count, sum);
    auto scan = [&](int, int64_t h) {
      heads[h].ScanRows(plan);
      heads[h].bad_bound = 0;
      for (int64_t t = 0; t < plan.tiles; t++) {
        heads[h].bad_bound = Max(heads[h].bad_bound, bad_bounds[h * plan.tiles + t]);
      }
    };
    ForEach(executor, count, scan);
    ForTiles(first, count, BlocksOf(plan.dims.Tk),
             [&](Tile& tile, int64_t index, int64_t block) { tile.KeyGradient(index, block, gradients); });
  }

 private:
  void Load(int64_t first, int64_t count) {
    auto load = [&](int, int64_t h) { heads[h].Load(plan, first + h, head_memory + h * plan.HeadFloats()); };
    ForEach(executor, count, load);
    ForTiles(first, count, plan.keys.count, [](Tile& tile, int64_t, int64_t chunk) { tile.SumKeys(chunk); });
    auto scan = [&](int, int64_t h) { heads[h].ScanKeys(plan); };
    ForEach(executor, count, scan);
  }
};

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
