// A tile of 64 rows against the sums of whole chunks, and against the items of the chunk that only some of the rows go
// with: outputs of query rows, gradients of query rows, keys and values are all of this form (ChunkPart).
#pragma once

#include "common/cuda/chunk_tiles.cuh"
#include "common/cuda/finite.cuh"

namespace tfjs_lla {

// Blocks of 128 threads at a time that the registers of 64 kTiles columns leave room for.
constexpr int ChunkBlocksAtOnce(int tiles) { return tiles == 1 ? 3 : 2; }

// One block per head and tile of rows; `kTiles`: 64 columns each.
template <int kTiles, bool kHigh>
struct MultiplyChunks {
  const ChunkParams& p;
  int head, start, rows, items;     // rows: of the head, as items
  int chunk, first_item, end_item;  // the sums that all rows of the tile share, and the items besides
  long long row_base, item_base;    // of the head in scratch
  float *own, *stream, *weights;    // shared: [depth / 64] tiles of rows; two tiles that come in turn; one of weights
  float *factor, *norm;             // [64], [2, 64]
  int *finite, *state;              // [64]

  Quarter sum[kTiles];
  float norm_part[2][2];  // of this thread's columns
  int step;

  TFJS_LLA_DEVICE explicit MultiplyChunks(const ChunkParams& params) : p(params) {}

  TFJS_LLA_DEVICE void Run() {
    Place();
#pragma unroll
    for (int t = 0; t < kTiles; t++) ClearQuarter(sum[t]);
#pragma unroll
    for (int m = 0; m < 2; m++) norm_part[m][0] = norm_part[m][1] = 0;
    for (int part = 0; part < p.part_count; part++) Add(p.parts[part], part == 0);
    FindStates();
    if (p.normalize) AddNorms();
    SyncBlock();
    SetFactors();
    SyncBlock();
    if (p.result == kResultFactors) {
      StoreFactors();
    } else {
      StoreRows();
    }
  }

 private:
  TFJS_LLA_DEVICE void Place() {
    rows = p.rows_are_keys ? p.keys : p.queries;
    items = p.rows_are_keys ? p.queries : p.keys;
    const int tiles = PaddedRows(rows) / kChunkTile;
    head = static_cast<int>(BlockIndex() / tiles);
    start = static_cast<int>(BlockIndex() % tiles) * kChunkTile;
    row_base = static_cast<long long>(head) * PaddedRows(rows);
    item_base = static_cast<long long>(head) * PaddedRows(items);
    int depth = 0;
    for (int i = 0; i < p.part_count; i++) depth = p.parts[i].depth > depth ? p.parts[i].depth : depth;
    own = reinterpret_cast<float*>(SharedMemory());
    stream = own + depth * kChunkTile;
    weights = stream + 2 * kChunkTileFloats;
    factor = weights + kChunkTileFloats;
    norm = factor + kChunkTile;
    finite = reinterpret_cast<int*>(norm + 2 * kChunkTile);
    state = finite + kChunkTile;
    const int last = start + kChunkTile < rows ? start + kChunkTile - 1 : rows - 1;
    if (!p.rows_are_keys) {
      // Items are keys: the state is of those before a chunk.
      const int shared = KeysBefore(p, start);
      chunk = shared == items ? p.chunks : shared / p.chunk;
      first_item = shared == items ? items : chunk * p.chunk;
      end_item = KeysBefore(p, last);
    } else {
      // Items are query rows, those that see the key: the state is of those from a chunk on.
      const int first = FirstQuery(start), all = FirstQuery(last);
      chunk = (all + p.chunk - 1) / p.chunk;
      first_item = first / kChunkTile * kChunkTile;
      end_item = chunk * p.chunk < items ? chunk * p.chunk : items;
    }
  }

  // The first query that sees a key.
  TFJS_LLA_DEVICE int FirstQuery(int key) const {
    const int query = key + p.queries - p.keys;
    return !p.causal || query < 0 ? 0 : query;
  }

  TFJS_LLA_DEVICE bool Sees(int row, int item) const {
    const int query = p.rows_are_keys ? item : row, key = p.rows_are_keys ? row : item;
    return query < p.queries && key < KeysBefore(p, query);
  }

  TFJS_LLA_DEVICE void Add(const ChunkPart& part, bool is_first) {
    LoadOwn(part);
    const int depths = part.depth / kChunkTile;
    step = 0;
    Fetch(part, 0);
    SyncBlock();
    if (is_first && p.normalize) NormOfState(part);
    for (int d = 0; d < depths; d++) {
#pragma unroll
      for (int t = 0; t < kTiles; t++) {
        const float* tile = NextTile(part);
        if (part.state_turned) {
          AddTileProduct<kHigh, false, true>(sum[t], own + d * kChunkTileFloats, tile);
        } else {
          AddTileProduct<kHigh, false, false>(sum[t], own + d * kChunkTileFloats, tile);
        }
      }
    }
    for (int item = first_item; item < end_item; item += kChunkTile) {
      Quarter score;
      ClearQuarter(score);
      for (int d = 0; d < depths; d++) {
        AddTileProduct<kHigh, false, true>(score, own + d * kChunkTileFloats, NextTile(part));
      }
      StoreWeights(score, item, is_first);
#pragma unroll
      for (int t = 0; t < kTiles; t++) AddTileProduct<kHigh, false, false>(sum[t], weights, NextTile(part));
    }
    SyncBlock();
  }

  TFJS_LLA_DEVICE void LoadOwn(const ChunkPart& part) {
    const ChunkRows& a = part.a;
    if (a.width == 0) {
      for (int d = 0; d < part.depth; d += kChunkTile) {
        CopyTile(own + d * kChunkTile, a.data + (row_base + start) * part.depth + d, part.depth);
      }
      CommitCopies();
      return;
    }
    for (int row = ThreadIndex() / kWarpSize; row < kChunkTile; row += kChunkThreads / kWarpSize) {
      const bool exists = start + row < rows;
      const float* source = a.data + (static_cast<long long>(head) * rows + start + row) * a.width;
      bool bad = false;
      for (int d = ThreadIndex() % kWarpSize; d < part.depth; d += kWarpSize) {
        const float x = exists && d < a.width ? source[d] : 0.0f;
        bad |= !IsFinite(x);
        own[d / kChunkTile * kChunkTileFloats + TileOffset(row, d % kChunkTile)] =
            exists && d < a.width ? FeatureOf(a.map, x) : 0.0f;
      }
      bad = AnyInWarp(bad);
      if (ThreadIndex() % kWarpSize == 0) finite[row] = !bad;
    }
  }

  // Starts to copy the tile that comes at a step: first the state, then for every 64 items b by its depth, c by its
  // columns.
  TFJS_LLA_DEVICE void Fetch(const ChunkPart& part, int at) const {
    float* target = stream + at % 2 * kChunkTileFloats;
    const int depths = part.depth / kChunkTile, of_state = depths * kTiles;
    if (at < of_state) {
      const float* state_of_chunk =
          part.state + (static_cast<long long>(head) * (p.chunks + 1) + chunk) * part.state_floats;
      const int d = at / kTiles * kChunkTile, t = at % kTiles * kChunkTile;
      if (part.state_turned) {
        CopyTile(target, state_of_chunk + t * part.depth + d, part.depth);
      } else {
        CopyTile(target, state_of_chunk + d * p.columns + t, p.columns);
      }
    } else {
      const int item = first_item + (at - of_state) / (depths + kTiles) * kChunkTile,
                i = (at - of_state) % (depths + kTiles);
      if (item < end_item) {
        if (i < depths) {
          CopyTile(target, part.b + (item_base + item) * part.depth + i * kChunkTile, part.depth);
        } else {
          CopyTile(target, part.c + (item_base + item) * p.columns + (i - depths) * kChunkTile, p.columns);
        }
      }
    }
    CommitCopies();
  }

  // The tile of the next step, while the one after it is on its way. What was written to shared memory before is there
  // for all.
  TFJS_LLA_DEVICE const float* NextTile(const ChunkPart& part) {
    WaitForCopies<0>();
    SyncBlock();
    const float* tile = stream + step % 2 * kChunkTileFloats;
    Fetch(part, ++step);
    return tile;
  }

  // What the sums of whole chunks add to a row's norm; for rows as given, which are there by now.
  TFJS_LLA_DEVICE void NormOfState(const ChunkPart& part) {
    const float* vector = VectorOfChunk(part);
    const int lane = ThreadIndex() % kWarpSize;
    for (int row = ThreadIndex() / kWarpSize; row < kChunkTile; row += kChunkThreads / kWarpSize) {
      float dot = 0;
      for (int d = lane; d < part.depth; d += kWarpSize) {
        dot += own[d / kChunkTile * kChunkTileFloats + TileOffset(row, d % kChunkTile)] * vector[d];
      }
      dot = SumOverWarp(dot);
      if (lane == 0) factor[row] = dot;
    }
  }

  TFJS_LLA_DEVICE const float* VectorOfChunk(const ChunkPart& part) const {
    return p.vector + (static_cast<long long>(head) * (p.chunks + 1) + chunk) * part.state_floats;
  }

  TFJS_LLA_DEVICE void StoreWeights(const Quarter& score, int item, bool is_first) {
    const QuarterPlace at;
#pragma unroll
    for (int m = 0; m < 2; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int row = at.Row(m, half);
        float row_constant = 0;
        if (is_first && p.constants && !p.rows_are_keys) row_constant = p.constants[row_base + start + row];
#pragma unroll
        for (int n = 0; n < 4; n++) {
#pragma unroll
          for (int e = 0; e < 2; e++) {
            const int column = at.Column(n) + e;
            float weight = score[m][n][half * 2 + e] + row_constant;
            if (is_first && p.constants && p.rows_are_keys) weight += p.constants[item_base + item + column];
            if (!Sees(start + row, item + column)) weight = 0;
            norm_part[m][half] += weight;
            weights[TileOffset(row, column)] = weight;
          }
        }
      }
    }
  }

  // Adds what the items have added to the rows' norms.
  TFJS_LLA_DEVICE void AddNorms() {
    const QuarterPlace at;
#pragma unroll
    for (int m = 0; m < 2; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float of_columns = SumOverQuad(norm_part[m][half]);
        if (at.c == 0) norm[at.column / 32 * kChunkTile + at.Row(m, half)] = of_columns;
      }
    }
  }

  // What the rows come out as, and the sum of their weights.
  TFJS_LLA_DEVICE void FindStates() {
    if (ThreadIndex() >= kChunkTile) return;
    const int row = start + ThreadIndex();
    int found = kZeroRow;
    if (row < rows) {
      if (p.row_states) {
        found = p.row_states[row_base + row];
        if (p.rows_are_keys && found != kZeroRow) found = row < p.head_bounds[head] ? kNanRow : kOrdinaryRow;
      } else {
        const ChunkKeyRecord record = p.head_records[head];
        const int bound = KeysBefore(p, row);
        if (record.first_visible < bound) {
          found = finite[ThreadIndex()] && record.first_bad >= bound ? kOrdinaryRow : kNanRow;
        }
      }
    }
    state[ThreadIndex()] = found;
  }

  // What the rows' sums are multiplied by.
  TFJS_LLA_DEVICE void SetFactors() {
    if (ThreadIndex() >= kChunkTile) return;
    float f = p.scale;
    if (p.normalize) {
      const float total = factor[ThreadIndex()] + norm[ThreadIndex()] + norm[kChunkTile + ThreadIndex()];
      f = total != 0 ? 1 / total : 0.0f;
    }
    factor[ThreadIndex()] = f;
  }

  TFJS_LLA_DEVICE void StoreRows() {
    const QuarterPlace at;
    const float* vector = p.vector && !p.normalize ? VectorOfChunk(p.parts[0]) : nullptr;
#pragma unroll
    for (int m = 0; m < 2; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int r = at.Row(m, half), row = start + r, found = state[r];
        float of_vector = 1;
        if (vector && !p.rows_are_keys) of_vector = p.constants[row_base + row];
#pragma unroll
        for (int t = 0; t < kTiles; t++) {
#pragma unroll
          for (int n = 0; n < 4; n++) {
#pragma unroll
            for (int e = 0; e < 2; e++) {
              const int column = t * kChunkTile + at.Column(n) + e;
              float x = sum[t][m][n][half * 2 + e];
              if (vector) x += of_vector * vector[column];
              x *= factor[r];
              if (p.result == kResultRests) {
                const long long to = (row_base + row) * p.columns + column;
                x = p.rests[to] - x - p.ridges[head * p.columns + column] * p.solutions[to];
              }
              if (p.features) x *= FeatureDerivative(p.map, p.features[(row_base + row) * p.columns + column]);
              if (p.padded_out) {
                p.padded_out[(row_base + row) * p.columns + column] = found == kOrdinaryRow ? x : 0.0f;
              }
              if (p.out && row < rows && column < p.out_width) {
                p.out[(static_cast<long long>(head) * rows + row) * p.out_width + column] = found == kOrdinaryRow ? x
                                                                                            : found == kNanRow
                                                                                                ? FromBits(0x7fc00000)
                                                                                                : 0.0f;
              }
            }
          }
        }
      }
    }
  }

  // The rows again for the gradient, zeros where they are not ordinary: their features, f_i g_i, and -f_i g_i.o_i.
  TFJS_LLA_DEVICE void StoreFactors() {
    const QuarterPlace at;
#pragma unroll
    for (int m = 0; m < 2; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int r = at.Row(m, half), row = start + r;
        float dot = 0;
        bool bad = false;
#pragma unroll
        for (int t = 0; t < kTiles; t++) {
#pragma unroll
          for (int n = 0; n < 4; n++) {
#pragma unroll
            for (int e = 0; e < 2; e++) {
              const float g = Cotangent(row, t * kChunkTile + at.Column(n) + e);
              bad |= !IsFinite(g);
              dot += g * sum[t][m][n][half * 2 + e];
            }
          }
        }
        // Which of a row's numbers are bad is lost: NaN is.
        dot = SumOverQuad(bad ? FromBits(0x7fc00000) : dot);
        if (at.c == 0) norm[at.column / 32 * kChunkTile + r] = dot;
      }
    }
    SyncBlock();
    if (ThreadIndex() < kChunkTile) {
      const int r = ThreadIndex();
      const float dot = norm[r] + norm[kChunkTile + r], f = factor[r];
      if (state[r] == kOrdinaryRow && dot != dot) state[r] = kNanRow;
      const bool ordinary = state[r] == kOrdinaryRow;
      p.row_state_out[row_base + start + r] = state[r];
      p.row_constants[row_base + start + r] = ordinary && p.normalize ? -f * f * dot : 0.0f;
    }
    SyncBlock();
    if (ThreadIndex() < kWarpSize) {
      int bound = 0;
      for (int r = ThreadIndex(); r < kChunkTile; r += kWarpSize) {
        if (state[r] == kNanRow) bound = KeysBefore(p, start + r) > bound ? KeysBefore(p, start + r) : bound;
      }
      bound = MaxOverWarp(bound);
      if (ThreadIndex() == 0) p.tile_bounds_out[BlockIndex()] = bound;
    }
    const int lane = ThreadIndex() % kWarpSize, depth = p.parts[0].depth;
    for (int r = ThreadIndex() / kWarpSize; r < kChunkTile; r += kChunkThreads / kWarpSize) {
      const bool ordinary = state[r] == kOrdinaryRow;
      const long long to = row_base + start + r;
      for (int d = lane; d < depth; d += kWarpSize) {
        const float feature = own[d / kChunkTile * kChunkTileFloats + TileOffset(r, d % kChunkTile)];
        p.query_features[to * depth + d] = ordinary ? feature : 0.0f;
      }
      for (int d = lane; d < p.columns; d += kWarpSize) {
        p.row_cotangent[to * p.columns + d] = ordinary ? factor[r] * Cotangent(start + r, d) : 0.0f;
      }
    }
  }

  TFJS_LLA_DEVICE float Cotangent(int row, int column) const {
    if (row >= rows || column >= p.value_dim) return 0;
    return p.dout[(static_cast<long long>(head) * rows + row) * p.value_dim + column];
  }
};

}  // namespace tfjs_lla
