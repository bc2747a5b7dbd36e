// Solves the systems of mesa attention for 64 right-hand sides at a time, and adds corrections to solutions.
#pragma once

#include "common/cuda/finite.cuh"
#include "mesa_attention/cuda/mesa_systems.cuh"

namespace tfjs_lla {

// A correction that is not smaller than this part of the solution is noise, and left out.
constexpr float kLargestCorrection = 0.5f;

// One block per head and tile of query rows.
struct SolveSystems {
  const ChunkParams& p;
  int head, start;
  long long row_base;
  float *rows, *tile, *work;  // shared: [padded_dim / 64] tiles of rows, one from scratch, one of a product
  int* state;                 // [64]

  TFJS_LLA_DEVICE explicit SolveSystems(const ChunkParams& params) : p(params) {}

  TFJS_LLA_DEVICE void Run() {
    const int tiles_of_head = PaddedRows(p.queries) / kChunkTile;
    head = static_cast<int>(BlockIndex() / tiles_of_head);
    start = static_cast<int>(BlockIndex() % tiles_of_head) * kChunkTile;
    row_base = static_cast<long long>(head) * PaddedRows(p.queries) + start;
    rows = reinterpret_cast<float*>(SharedMemory());
    tile = rows + kChunkTile * p.padded_dim;
    work = tile + kChunkTileFloats;
    state = reinterpret_cast<int*>(work + kChunkTileFloats);
    const SystemTiles system(p, head, p.systems == 1 ? 0 : start / kChunkTile);
    LoadRight();
    SyncBlock();
    // y = L^-1 b
    for (int column = 0; column < system.columns; column++) {
      Quarter sum;
      ClearQuarter(sum);
      for (int i = 0; i < column; i++) {
        LoadTile(tile, system.Factor(column, i), kChunkTile);
        AddTileProduct<true, false, true>(sum, Rows(i), tile);
        SyncBlock();
      }
      Divide<true>(sum, column, system);
    }
    const int last = start + kChunkTile < p.queries ? start + kChunkTile - 1 : p.queries - 1;
    if (KeysBefore(p, start) < KeysBefore(p, last)) AddOwnKeys(system);
    // x = L^-T y
    for (int column = system.columns - 1; column >= 0; column--) {
      Quarter sum;
      ClearQuarter(sum);
      for (int i = column + 1; i < system.columns; i++) {
        LoadTile(tile, system.Factor(i, column), kChunkTile);
        AddTileProduct<true, false, false>(sum, Rows(i), tile);
        SyncBlock();
      }
      Divide<false>(sum, column, system);
    }
    Store();
    if (p.ridge_parts && p.is_last) SumRidgeParts();
  }

 private:
  TFJS_LLA_DEVICE float* Rows(int column) const { return rows + column * kChunkTileFloats; }
  TFJS_LLA_DEVICE float& RowAt(int row, int d) const { return Rows(d / kChunkTile)[TileOffset(row, d % kChunkTile)]; }

  // Rows that are not ordinary are zeros.
  TFJS_LLA_DEVICE void LoadRight() const {
    const int lane = ThreadIndex() % kWarpSize;
    for (int r = ThreadIndex() / kWarpSize; r < kChunkTile; r += kChunkThreads / kWarpSize) {
      const bool given = p.right_sides.width != 0;
      const float* source =
          given ? p.right_sides.data + (static_cast<long long>(head) * p.queries + start + r) * p.right_sides.width
                : p.right_sides.data + (row_base + r) * p.padded_dim;
      if (given) {
        int found = kZeroRow;
        if (start + r < p.queries) {
          const bool finite = IsFiniteRow(source, p.right_sides.width) && p.head_ridges[head].usable;
          const ChunkKeyRecord record = p.head_records[head];
          const int bound = KeysBefore(p, start + r);
          if (record.first_visible < bound) found = finite && record.first_bad >= bound ? kOrdinaryRow : kNanRow;
        }
        if (lane == 0) p.row_state_out[row_base + r] = state[r] = found;
        for (int d = lane; d < p.padded_dim; d += kWarpSize) {
          const float x = found == kOrdinaryRow && d < p.right_sides.width ? source[d] : 0.0f;
          p.rests[(row_base + r) * p.padded_dim + d] = RowAt(r, d) = x;
        }
      } else {
        if (lane == 0) state[r] = p.row_states[row_base + r];
        for (int d = lane; d < p.padded_dim; d += kWarpSize) RowAt(r, d) = source[d];
      }
    }
  }

  // Rows of a column of tiles, less `sum`, by the inverted factor on the diagonal.
  template <bool kTurned>
  TFJS_LLA_DEVICE void Divide(Quarter& sum, int column, const SystemTiles& system) const {
    CopyTile(tile, system.Factor(column, column), kChunkTile);
    CommitCopies();
    SubtractFromTile(sum, Rows(column));
    StoreQuarter(work, sum);
    WaitForCopies<0>();
    SyncBlock();
    ClearQuarter(sum);
    AddTileProduct<true, false, kTurned>(sum, work, tile);
    StoreQuarter(Rows(column), sum);
    SyncBlock();
  }

  // y - W^T [keys that the row sees] W y
  TFJS_LLA_DEVICE void AddOwnKeys(const SystemTiles& system) const {
    Quarter sum;
    ClearQuarter(sum);
    for (int column = 0; column < system.columns; column++) {
      LoadTile(tile, system.OwnKeys(column), kChunkTile);
      AddTileProduct<true, false, true>(sum, Rows(column), tile);
      SyncBlock();
    }
    const QuarterPlace at;
    const int first = KeysBefore(p, start);
#pragma unroll
    for (int m = 0; m < 2; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int seen = KeysBefore(p, start + at.Row(m, half)) - first;
#pragma unroll
        for (int n = 0; n < 4; n++) {
#pragma unroll
          for (int e = 0; e < 2; e++) {
            if (at.Column(n) + e >= seen) sum[m][n][half * 2 + e] = 0;
          }
        }
      }
    }
    StoreQuarter(work, sum);
    for (int column = 0; column < system.columns; column++) {
      if (system.columns > 1) {
        LoadTile(tile, system.OwnKeys(column), kChunkTile);
      } else {
        SyncBlock();  // the tile is there
      }
      ClearQuarter(sum);
      AddTileProduct<true, false, false>(sum, work, tile);
      SubtractFromTile(sum, Rows(column));
      StoreQuarter(Rows(column), sum);
      SyncBlock();
    }
  }

  // A warp takes every fourth row.
  TFJS_LLA_DEVICE void Store() const {
    const int lane = ThreadIndex() % kWarpSize;
    for (int r = ThreadIndex() / kWarpSize; r < kChunkTile; r += kChunkThreads / kWarpSize) {
      float* solution = p.solutions + (row_base + r) * p.padded_dim;
      bool adds = true;
      if (p.is_correction) {
        float change = 0, size = 0;
        for (int d = lane; d < p.padded_dim; d += kWarpSize) {
          change += RowAt(r, d) * RowAt(r, d);
          size += solution[d] * solution[d];
        }
        adds = SumOverWarp(change) < kLargestCorrection * kLargestCorrection * SumOverWarp(size);
      }
      const bool exists = start + r < p.queries;
      for (int d = lane; d < p.padded_dim; d += kWarpSize) {
        float x = RowAt(r, d);
        if (p.is_correction) x = solution[d] + (adds ? x : 0.0f);
        solution[d] = RowAt(r, d) = x;
        if (!p.is_last) continue;
        if (p.minus_solutions) p.minus_solutions[(row_base + r) * p.padded_dim + d] = -x;
        if (exists && d < p.dim) {
          p.out[(static_cast<long long>(head) * p.queries + start + r) * p.dim + d] = state[r] == kOrdinaryRow ? x
                                                                                      : state[r] == kNanRow
                                                                                          ? FromBits(0x7fc00000)
                                                                                          : 0.0f;
        }
      }
    }
  }

  // What the rows add to the gradient of the ridge: minus the sum of solution times probe.
  TFJS_LLA_DEVICE void SumRidgeParts() const {
    SyncBlock();
    for (int d = ThreadIndex(); d < p.padded_dim; d += kChunkThreads) {
      float sum = 0;
      for (int r = 0; r < kChunkTile; r++) sum -= RowAt(r, d) * p.padded_probe[(row_base + r) * p.padded_dim + d];
      p.ridge_parts[BlockIndex() * p.padded_dim + d] = sum;
    }
  }
};

}  // namespace tfjs_lla
