// The systems of mesa attention, H_i = sum_j k_j k_j^T + diag(ridge) over the keys that row i sees, a tile of 64 rows
// at a time. The keys that the first row sees are in one system for all, H = L L^T. Those that only later rows see, the
// tile's own keys K, are added by Woodbury's identity: with Z = K L^-T and C = 1 + Z Z^T, whose leading parts belong to
// the rows,
//   x_i = L^-T (y - Z^T C_i^-1 Z y),  y = L^-1 b_i.
// Leading parts of the factor R of C = R R^T, and of its inverse, belong to those of C: with W = R^-1 Z
//   Z^T C_i^-1 Z y = W^T [keys that the row sees] W y.
// All is products of tiles. That the first row's key is in H matters: where keys have a direction in common, Z would be
// as large as the condition of the system without it (docs/decisions/0121).
#pragma once

#include "common/cuda/chunk_tiles.cuh"

namespace tfjs_lla {

// Shared memory of the elimination: two columns and two rows, which take turns.
constexpr int kEliminationFloats = 4 * kChunkTile;

// In place of a positive definite tile A = R R^T: R^-1, with zeros above the diagonal. Gauss's elimination without
// pivoting, which is stable here; pivots are at least `smallest` but for rounding. A thread has half a row in
// registers.
TFJS_LLA_DEVICE void InvertFactor(float* tile, float* shared, float smallest) {
  constexpr int kHalf = kChunkTile / 2;
  const int row = ThreadIndex() % kChunkTile, first = ThreadIndex() / kChunkTile * kHalf;
  float own[kHalf];
#pragma unroll
  for (int c = 0; c < kHalf; c += 4) {
    const float4 four = *reinterpret_cast<const float4*>(tile + TileOffset(row, first + c));
    own[c] = four.x;
    own[c + 1] = four.y;
    own[c + 2] = four.z;
    own[c + 3] = four.w;
  }
  float scale = 0;
  for (int half = 0; half < kChunkTile; half += kHalf) {
    const bool has_column = first == half;
#pragma unroll
    for (int i = 0; i < kHalf; i++) {
      const int pivot = half + i;
      float* column = shared + i % 2 * 2 * kChunkTile;
      float* pivot_row = column + kChunkTile;
      if (has_column) column[row] = own[i];
      if (row == pivot) {
#pragma unroll
        for (int c = 0; c < kHalf; c += 4) {
          float4 four;
          four.x = own[c];
          four.y = own[c + 1];
          four.z = own[c + 2];
          four.w = own[c + 3];
          *reinterpret_cast<float4*>(pivot_row + first + c) = four;
        }
      }
      SyncBlock();
      const float divisor = Max(column[pivot], smallest);
      if (row == pivot) scale = Rsqrt(divisor);
      const float factor = row > pivot ? column[row] / divisor : 0.0f;
#pragma unroll
      for (int c = 0; c < kHalf; c += 4) {
        const float4 four = *reinterpret_cast<const float4*>(pivot_row + first + c);
        own[c] -= factor * four.x;
        own[c + 1] -= factor * four.y;
        own[c + 2] -= factor * four.z;
        own[c + 3] -= factor * four.w;
      }
      // The column is done with; the inverse takes its place.
      if (has_column && row > pivot) own[i] = -factor;
    }
  }
#pragma unroll
  for (int c = 0; c < kHalf; c++) {
    const float x = first + c < row ? own[c] : first + c == row ? 1.0f : 0.0f;
    tile[TileOffset(row, first + c)] = x * scale;
  }
  SyncBlock();
}

// Writes a thread's part of a tile.
TFJS_LLA_DEVICE void StoreQuarter(float* tile, const Quarter& sum) {
  ForEachNumber(sum, [&](float x, int row, int column) { tile[TileOffset(row, column)] = x; });
}

// sum = tile - sum.
TFJS_LLA_DEVICE void SubtractFromTile(Quarter& sum, const float* tile) {
  ForEachNumber(sum, [&](float& x, int row, int column) { x = tile[TileOffset(row, column)] - x; });
}

// The factor of a system in scratch: tiles of L by rows, those on the diagonal inverted; then Z, later W, by columns.
struct SystemTiles {
  float* data;
  int columns;  // tiles across

  TFJS_LLA_DEVICE SystemTiles(const ChunkParams& p, int head, int system) : columns(p.padded_dim / kChunkTile) {
    const int tiles = columns * (columns + 1) / 2 + columns;
    data = p.factors + (static_cast<long long>(head) * p.systems + system) * tiles * kChunkTileFloats;
  }
  TFJS_LLA_DEVICE float* Factor(int row, int column) const { return Tile(row * (row + 1) / 2 + column); }
  TFJS_LLA_DEVICE float* OwnKeys(int column) const { return Tile(columns * (columns + 1) / 2 + column); }

 private:
  TFJS_LLA_DEVICE float* Tile(int index) const { return data + static_cast<long long>(index) * kChunkTileFloats; }
};

// Loads a tile and waits for it; all threads are done with what was in its place by then.
TFJS_LLA_DEVICE void LoadTile(float* tile, const float* source, int stride) {
  CopyTile(tile, source, stride);
  CommitCopies();
  WaitForCopies<0>();
  SyncBlock();
}

// Writes a tile to scratch, for this block to read again.
TFJS_LLA_DEVICE void KeepTile(float* target, const float* tile) {
  for (int i = ThreadIndex() * 4; i < kChunkTileFloats; i += kChunkThreads * 4) {
    const int row = i / kChunkTile, column = i % kChunkTile;
    *reinterpret_cast<float4*>(target + i) = *reinterpret_cast<const float4*>(tile + TileOffset(row, column));
  }
  SyncBlock();
}

}  // namespace tfjs_lla
