// Forms and factors the systems of mesa attention.
#pragma once

#include "mesa_attention/cuda/mesa_systems.cuh"

namespace tfjs_lla {

// One block per head and system.
struct FactorSystems {
  const ChunkParams& p;
  int head, shared_keys, last_key;               // keys that all rows of the system see, and that its last row does
  int chunk, first_key;                          // whose sums are in the system as they are, and the first key besides
  float *left, *right, *diagonal, *elimination;  // shared: three tiles

  TFJS_LLA_DEVICE explicit FactorSystems(const ChunkParams& params) : p(params) {}

  TFJS_LLA_DEVICE void Run() {
    head = static_cast<int>(BlockIndex() / p.systems);
    const int system = static_cast<int>(BlockIndex() % p.systems), start = system * kChunkTile;
    shared_keys = KeysBefore(p, start);
    last_key = KeysBefore(p, start + kChunkTile < p.queries ? start + kChunkTile - 1 : p.queries - 1);
    chunk = shared_keys == p.keys ? p.chunks : shared_keys / p.chunk;
    first_key = shared_keys == p.keys ? p.keys : chunk * p.chunk;
    left = reinterpret_cast<float*>(SharedMemory());
    right = left + kChunkTileFloats;
    diagonal = right + kChunkTileFloats;
    elimination = diagonal + kChunkTileFloats;
    const SystemTiles tiles(p, head, system);
    const float smallest = p.head_ridges[head].smallest;
    for (int column = 0; column < tiles.columns; column++) {
      for (int row = column; row < tiles.columns; row++) {
        Quarter sum;
        ClearQuarter(sum);
        for (int i = 0; i < column; i++) {
          LoadTile(left, tiles.Factor(row, i), kChunkTile);
          LoadTile(right, tiles.Factor(column, i), kChunkTile);
          AddTileProduct<true, false, true>(sum, left, right);
          SyncBlock();
        }
        AddSystem(sum, row, column);
        if (row == column) {
          StoreQuarter(diagonal, sum);
          SyncBlock();
          InvertFactor(diagonal, elimination, smallest);
          KeepTile(tiles.Factor(row, row), diagonal);
        } else {
          StoreQuarter(left, sum);
          SyncBlock();
          ClearQuarter(sum);
          AddTileProduct<true, false, true>(sum, left, diagonal);
          StoreQuarter(right, sum);
          SyncBlock();
          KeepTile(tiles.Factor(row, column), right);
        }
      }
    }
    if (shared_keys < last_key) AddOwnKeys(tiles);
  }

 private:
  TFJS_LLA_DEVICE const float* Key(int j, int column) const {
    return p.padded_key + (static_cast<long long>(head) * PaddedRows(p.keys) + j) * p.padded_dim + column * kChunkTile;
  }

  // sum = a tile of the system - sum.
  TFJS_LLA_DEVICE void AddSystem(Quarter& sum, int row, int column) const {
    const float* gram = p.gram + (static_cast<long long>(head) * (p.chunks + 1) + chunk) * p.padded_dim * p.padded_dim;
    ForEachNumber(sum, [&](float& number, int of_row, int of_column) {
      const int r = row * kChunkTile + of_row, c = column * kChunkTile + of_column;
      float x = gram[static_cast<long long>(r) * p.padded_dim + c];
      if (r == c) x += p.ridges[head * p.padded_dim + r];
      number = x - number;
    });
    int item = first_key;
    for (; item + 1 < shared_keys; item += kChunkTile) {
      LoadKeys(left, item, row, shared_keys);
      if (row != column) LoadKeys(right, item, column, shared_keys);
      AddTileProduct<true, true, false>(sum, left, row != column ? right : left);
      SyncBlock();
    }
    // As many queries as keys: the first row of a tile sees one key more than whole tiles.
    if (item < shared_keys) AddKey(sum, Key(item, row), Key(item, column));
  }

  TFJS_LLA_DEVICE static void AddKey(Quarter& sum, const float* by_row, const float* by_column) {
    ForEachNumber(sum, [&](float& x, int row, int column) { x += by_row[row] * by_column[column]; });
  }

  // 64 keys from `first`, zeros from `end` on.
  TFJS_LLA_DEVICE void LoadKeys(float* tile, int first, int column, int end) const {
    for (int i = ThreadIndex(); i < kChunkTileFloats / 4; i += kChunkThreads) {
      const int row = i / (kChunkTile / 4), c = i % (kChunkTile / 4) * 4;
      float* to = tile + TileOffset(row, c);
      if (first + row < end) {
        CopyAsync(to, Key(first + row, column) + c);
      } else {
        *reinterpret_cast<float4*>(to) = float4{0, 0, 0, 0};
      }
    }
    CommitCopies();
    WaitForCopies<0>();
    SyncBlock();
  }

  // Z = K L^-T, column by column, and W = R^-1 Z with the factor R of 1 + Z Z^T.
  TFJS_LLA_DEVICE void AddOwnKeys(const SystemTiles& tiles) {
    Quarter products;
    ClearQuarter(products);
    for (int column = 0; column < tiles.columns; column++) {
      Quarter sum;
      ClearQuarter(sum);
      for (int i = 0; i < column; i++) {
        LoadTile(left, tiles.OwnKeys(i), kChunkTile);
        LoadTile(right, tiles.Factor(column, i), kChunkTile);
        AddTileProduct<true, false, true>(sum, left, right);
        SyncBlock();
      }
      LoadKeys(left, shared_keys, column, last_key);
      SubtractFromTile(sum, left);
      StoreQuarter(left, sum);
      LoadTile(right, tiles.Factor(column, column), kChunkTile);
      ClearQuarter(sum);
      AddTileProduct<true, false, true>(sum, left, right);
      SyncBlock();
      StoreQuarter(left, sum);
      SyncBlock();
      AddTileProduct<true, false, true>(products, left, left);
      KeepTile(tiles.OwnKeys(column), left);
    }
    ForEachNumber(products, [&](float& x, int row, int column) {
      if (row == column) x += 1;
    });
    StoreQuarter(diagonal, products);
    SyncBlock();
    InvertFactor(diagonal, elimination, 1);
    for (int column = 0; column < tiles.columns; column++) {
      LoadTile(left, tiles.OwnKeys(column), kChunkTile);
      Quarter sum;
      ClearQuarter(sum);
      AddTileProduct<true, false, false>(sum, diagonal, left);
      StoreQuarter(right, sum);
      SyncBlock();
      KeepTile(tiles.OwnKeys(column), right);
    }
  }
};

}  // namespace tfjs_lla
