// What comes before the products of chunks: keys and values made safe to multiply by zero, the sums of each chunk, and
// the sums over all chunks before or from it.
#pragma once

#include "common/cuda/chunk_tiles.cuh"
#include "common/cuda/finite.cuh"

namespace tfjs_lla {

// One block per tile of 64 keys of a head; a warp takes every fourth key.
struct PrepareChunks {
  const ChunkParams& p;

  TFJS_LLA_DEVICE void Run() const {
    const int tiles = PaddedRows(p.keys) / kChunkTile;
    const int head = static_cast<int>(BlockIndex() / tiles), tile = static_cast<int>(BlockIndex() % tiles);
    const int lane = ThreadIndex() % kWarpSize, warp = ThreadIndex() / kWarpSize;
    ChunkKeyRecord record = {p.keys, p.keys};
    for (int row = warp; row < kChunkTile; row += kChunkThreads / kWarpSize) {
      const int j = tile * kChunkTile + row;
      const long long mask_row = head / p.heads_per_batch;
      const bool visible = j < p.keys && !(p.key_mask && !p.key_mask[mask_row * p.keys + j]);
      const long long from = static_cast<long long>(head) * p.keys + j;
      bool used = visible;
      if (visible) {
        used = IsFiniteRow(p.key + from * p.dim, p.dim);
        used = IsFiniteRow(p.value + from * p.value_dim, p.value_dim) && used;
        if (j < record.first_visible) record.first_visible = j;
        if (!used && j < record.first_bad) record.first_bad = j;
      }
      const long long to = static_cast<long long>(head) * tiles * kChunkTile + j;
      Store(p.padded_key + to * p.padded_dim, p.padded_dim, p.key + from * p.dim, p.dim, used, p.map);
      Store(p.padded_value + to * p.padded_value_dim, p.padded_value_dim, p.value + from * p.value_dim, p.value_dim,
            used, kFeatureIdentity);
      if (lane == 0) p.key_states[to] = !visible ? kZeroRow : used ? kOrdinaryRow : kNanRow;
    }
    ChunkKeyRecord* shared = reinterpret_cast<ChunkKeyRecord*>(SharedMemory());
    if (lane == 0) shared[warp] = record;
    SyncBlock();
    if (ThreadIndex() != 0) return;
    for (int w = 1; w < kChunkThreads / kWarpSize; w++) {
      if (shared[w].first_visible < record.first_visible) record.first_visible = shared[w].first_visible;
      if (shared[w].first_bad < record.first_bad) record.first_bad = shared[w].first_bad;
    }
    p.tile_records[BlockIndex()] = record;
  }

 private:
  static TFJS_LLA_DEVICE void Store(float* target, int padded, const float* source, int width, bool used, int map) {
    for (int d = ThreadIndex() % kWarpSize; d < padded; d += kWarpSize) {
      target[d] = used && d < width ? FeatureOf(map, source[d]) : 0.0f;
    }
  }
};

// One block per head, chunk and 64 x 64 numbers of left^T right; those of the first columns also sum up left.
template <bool kHigh>
struct SumChunk {
  const ChunkParams& p;

  TFJS_LLA_DEVICE void Run() const {
    const int items = p.of_rows ? p.queries : p.keys;
    const int left_tiles = p.left_width / kChunkTile, right_tiles = p.right_width / kChunkTile;
    long long block = BlockIndex();
    const int right_tile = static_cast<int>(block % right_tiles);
    block /= right_tiles;
    const int left_tile = static_cast<int>(block % left_tiles);
    block /= left_tiles;
    const int chunk = static_cast<int>(block % p.chunks), head = static_cast<int>(block / p.chunks);
    const int first = chunk * p.chunk, end = first + p.chunk < items ? first + p.chunk : items;
    const long long rows = static_cast<long long>(head) * PaddedRows(items);
    const bool with_vector = right_tile == 0 && p.sum_floats > p.left_width * p.right_width;
    float* left = reinterpret_cast<float*>(SharedMemory());
    float* right = left + kChunkTileFloats;
    Quarter sum;
    ClearQuarter(sum);
    // Two threads a column.
    const int column = ThreadIndex() / 2, part = ThreadIndex() % 2;
    float vector = 0;
    for (int item = first; item < end; item += kChunkTile) {
      CopyTile(left, p.left + (rows + item) * p.left_width + left_tile * kChunkTile, p.left_width);
      CopyTile(right, p.right + (rows + item) * p.right_width + right_tile * kChunkTile, p.right_width);
      CommitCopies();
      WaitForCopies<0>();
      SyncBlock();
      AddTileProduct<kHigh, true, false>(sum, left, right);
      if (with_vector) {
        for (int i = part; i < kChunkTile; i += 2) {
          const float weight = p.constants ? p.constants[rows + item + i] : 1.0f;
          vector += weight * left[TileOffset(i, column)];
        }
      }
      SyncBlock();
    }
    float* target = p.sums + (static_cast<long long>(head) * (p.chunks + 1) + chunk) * p.sum_floats;
    ForEachNumber(sum, [&](float x, int row, int of_right) {
      target[(left_tile * kChunkTile + row) * p.right_width + right_tile * kChunkTile + of_right] = x;
    });
    if (!with_vector) return;
    vector += ShuffleXor(vector, 1);
    if (part == 0) target[p.left_width * p.right_width + left_tile * kChunkTile + column] = vector;
  }
};

// One block per head and 128 numbers of its sums: those before each chunk and, last, of all; or those from each on and,
// last, zeros. The first block of a head also finds what is to be known of all its tiles.
struct ScanChunks {
  const ChunkParams& p;
  static constexpr int kAtOnce = 8;

  TFJS_LLA_DEVICE void Run() const {
    const int blocks = (p.sum_floats + kChunkThreads - 1) / kChunkThreads;
    const int head = static_cast<int>(BlockIndex() / blocks), block = static_cast<int>(BlockIndex() % blocks);
    const int number = block * kChunkThreads + ThreadIndex();
    if (block == 0) Records(head);
    if (number >= p.sum_floats) return;
    float* sums = p.sums + static_cast<long long>(head) * (p.chunks + 1) * p.sum_floats + number;
    float total = 0;
    for (int first = 0; first < p.chunks; first += kAtOnce) {
      float own[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) {
        if (first + i < p.chunks) own[i] = sums[Place(first + i)];
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) {
        if (first + i >= p.chunks) continue;
        const float before = total;
        total += own[i];
        sums[Place(first + i)] = p.of_rows ? total : before;
      }
    }
    sums[static_cast<long long>(p.chunks) * p.sum_floats] = p.of_rows ? 0.0f : total;
  }

 private:
  // Where the chunk is that comes at this place.
  TFJS_LLA_DEVICE long long Place(int place) const {
    return static_cast<long long>(p.of_rows ? p.chunks - 1 - place : place) * p.sum_floats;
  }

  TFJS_LLA_DEVICE void Records(int head) const {
    if (ThreadIndex() >= kWarpSize) return;
    if (p.head_records) {
      const int tiles = PaddedRows(p.keys) / kChunkTile;
      ChunkKeyRecord all = {p.keys, p.keys};
      for (int t = ThreadIndex(); t < tiles; t += kWarpSize) {
        const ChunkKeyRecord tile = p.tile_records[static_cast<long long>(head) * tiles + t];
        if (tile.first_visible < all.first_visible) all.first_visible = tile.first_visible;
        if (tile.first_bad < all.first_bad) all.first_bad = tile.first_bad;
      }
      all.first_visible = MinOverWarp(all.first_visible);
      all.first_bad = MinOverWarp(all.first_bad);
      if (ThreadIndex() == 0) p.head_records[head] = all;
    }
    if (p.head_bounds) {
      const int tiles = PaddedRows(p.queries) / kChunkTile;
      int bound = 0;
      for (int t = ThreadIndex(); t < tiles; t += kWarpSize) {
        const int own = p.tile_bounds[static_cast<long long>(head) * tiles + t];
        bound = own > bound ? own : bound;
      }
      bound = MaxOverWarp(bound);
      if (ThreadIndex() == 0) p.head_bounds[head] = bound;
    }
  }
};

}  // namespace tfjs_lla
