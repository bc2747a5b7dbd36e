// What a step of local linear attention makes of its keys (docs/decisions/0071): statistics of ranges, then the probe.
#pragma once

#include "common/cuda/step_keys.cuh"
#include "common/cuda/triangle.cuh"

namespace tfjs_lla {

// Finds tile (a, b), a >= b, of the triangle: row a has a + 1 tiles.
TFJS_LLA_DEVICE void PlaceOfTile(int tile, int& a, int& b) {
  a = 0;
  while (tile > a) tile -= ++a;
  b = tile;
}

// Statistics of one row over one range of the keys it sees: sum w_j, sum w_j y_j and the lower triangle of
// sum w_j y_j y_j^T, with w_j = 2^(e_j - top) and y_j = k_j - kbar for the row's own mean key, which a pass before has
// found: a mean over other weights would cost digits where one key has nearly all of the weight.
//
// A turn takes some keys: groups of lanes read them and find their scores, then each thread adds its 8 x 8 numbers of the
// outer products of sqrt(w_j) y_j, for the keys of its group. The next turn's keys are read meanwhile. What is not finite
// counts as zero: the pass over the values finds it. Tile (a, b) has the quads a and a + kAcross of rows, b and
// b + kAcross of columns: threads read side by side. Blocks: blocks of the matrix, ranges, rows, heads.
template <class Shape>
struct StepStatistics {
  static constexpr int kDim = Shape::kDim, kAcross = Shape::kAcross, kLanes = Shape::kLanes, kQuads = Shape::kQuads;
  static constexpr int kSteps = Shape::kSteps, kReaders = Shape::kReaders;

  const StepParams& p;
  int lane, reader, matrix_block, range, row, head;
  int tile, group, a, b;
  bool adds;
  float4 query[kQuads], centre[kQuads], k[kSteps][kQuads], key_sum[kQuads];
  float addend[kSteps], l;
  float4 sum[2][2][4];

  TFJS_LLA_DEVICE StepStatistics(const StepParams& params) : p(params) {
    lane = ThreadIndex() % kLanes;
    reader = ThreadIndex() / kLanes;
    long long block = BlockIndex();
    matrix_block = static_cast<int>(block % Shape::kMatrixBlocks);
    block /= Shape::kMatrixBlocks;
    range = static_cast<int>(block % p.statistics_ranges);
    block /= p.statistics_ranges;
    row = p.first_row + static_cast<int>(block % p.rows);
    head = static_cast<int>(block / p.rows);
    group = ThreadIndex() / Shape::kTiles;
    tile = matrix_block * Shape::kTiles + ThreadIndex() % Shape::kTiles;
    adds = group < Shape::kGroups;
    PlaceOfTile(tile, a, b);
  }

  TFJS_LLA_DEVICE void Run() {
    const StepKeys keys(p, head);
    float4* const shared = reinterpret_cast<float4*>(SharedMemory());
    const long long at = static_cast<long long>(head) * p.queries + row;
    const float top = p.tops[at];
#pragma unroll
    for (int i = 0; i < kQuads; i++) {
      query[i] = LoadQuad(p.query + at * p.dim, lane + kLanes * i, p.dim);
      Scale(query[i], p.scale * kLog2E);
      centre[i] = LoadQuad(p.mean_key + at * p.dim, lane + kLanes * i, p.dim);
      key_sum[i] = ZeroQuad();
    }
#pragma unroll
    for (int s = 0; s < 16; s++) sum[s / 8][s / 4 % 2][s % 4] = ZeroQuad();
    l = 0;
    const int lower = keys.Lower(row), upper = keys.Upper(row);
    const int begin = lower + range * p.statistics_keys_per_range;
    const int end = begin + p.statistics_keys_per_range < upper ? begin + p.statistics_keys_per_range : upper;
    if (begin < end) ReadTurn(keys, begin, end, top);
    // Turns take two buffers in turn: one barrier is enough.
    float4* channels = shared;
    for (int turn = begin; turn < end; turn += Shape::kTurnKeys) {
      WeighTurn(channels);
      if (turn + Shape::kTurnKeys < end) ReadTurn(keys, turn + Shape::kTurnKeys, end, top);
      SyncBlock();
#pragma unroll 1
      for (int key = group; key < Shape::kTurnKeys && adds; key += Shape::kGroups) AddOuter(channels + key * (kDim / 4));
      channels = channels == shared ? shared + Shape::kTurnFloats / 4 : shared;
    }
    const long long in_launch = static_cast<long long>(head) * p.rows + row - p.first_row;
    Store(shared, p.statistics + (in_launch * p.statistics_ranges + range) * StatisticsFloats(kDim));
  }

 private:
  // Reads the keys of the turn that begins at `first`; those that do not count are zeros, and have no weight.
  TFJS_LLA_DEVICE void ReadTurn(const StepKeys& keys, int first, int end, float top) {
#pragma unroll
    for (int s = 0; s < kSteps; s++) {
      const int j = first + reader + kReaders * s, read = j < end ? j : end - 1;
      const long long place = keys.Place(read);
      const KeyState state = keys.State(read, place);
      bool used = state.visible && state.finite && j < end;
#pragma unroll
      for (int i = 0; i < kQuads; i++) {
        k[s][i] = LoadQuad(keys.Key(read, place), lane + kLanes * i, p.dim);
        used = used && IsFinite(k[s][i]);
      }
#pragma unroll
      for (int i = 0; i < kQuads; i++) {
        if (!used) k[s][i] = ZeroQuad();
      }
      addend[s] = used ? state.bias * kLog2E - top : kHiddenScore;
    }
  }

  // Weighs the keys that were read, and puts sqrt(w) y in shared memory.
  TFJS_LLA_DEVICE void WeighTurn(float4* channels) {
#pragma unroll
    for (int s = 0; s < kSteps; s++) {
      float score = 0;
#pragma unroll
      for (int i = 0; i < kQuads; i++) score += Dot(query[i], k[s][i]);
#pragma unroll
      for (int lanes = 1; lanes < kLanes; lanes *= 2) score += ShuffleXor(score, lanes);
      const float root = Exp2(0.5f * (score + addend[s]));
      l += root * root;
#pragma unroll
      for (int i = 0; i < kQuads; i++) {
        AddScaled(k[s][i], -1, centre[i]);
        Scale(k[s][i], root);
        AddScaled(key_sum[i], root, k[s][i]);
        channels[(reader + kReaders * s) * (kDim / 4) + lane + kLanes * i] = k[s][i];
      }
    }
  }

  TFJS_LLA_DEVICE void AddOuter(const float4* y) {
    const float4 rows[2] = {y[a], y[a + kAcross]}, columns[2] = {y[b], y[b + kAcross]};
#pragma unroll
    for (int i = 0; i < 2; i++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        AddScaled(sum[i][j][0], rows[i].x, columns[j]);
        AddScaled(sum[i][j][1], rows[i].y, columns[j]);
        AddScaled(sum[i][j][2], rows[i].z, columns[j]);
        AddScaled(sum[i][j][3], rows[i].w, columns[j]);
      }
    }
  }

  // Adds up groups and readers.
  TFJS_LLA_DEVICE void Store(float4* shared, float* statistics) {
    float* const weights = reinterpret_cast<float*>(shared) + 2 * Shape::kTurnFloats;
#pragma unroll
    for (int s = 0; s < 16; s++) {
      float4 own = sum[s / 8][s / 4 % 2][s % 4];
      if constexpr (Shape::kGroups > 1) {
        SyncBlock();
        shared[ThreadIndex()] = own;
        SyncBlock();
        for (int other = 1; other < Shape::kGroups && group == 0; other++) {
          AddScaled(own, 1, shared[ThreadIndex() + other * Shape::kTiles]);
        }
      }
      if (group == 0) reinterpret_cast<float4*>(statistics)[tile * 16 + s] = own;
    }
    statistics += TriangleTiles(kDim) * 64;
    const bool first = matrix_block == 0;
#pragma unroll
    for (int i = 0; i < kQuads; i++) {
      SyncBlock();
      shared[ThreadIndex()] = key_sum[i];
      SyncBlock();
      if (!first || reader != 0) continue;
      float4 total = shared[lane];
      for (int other = 1; other < kReaders; other++) AddScaled(total, 1, shared[other * kLanes + lane]);
      reinterpret_cast<float4*>(statistics)[lane + kLanes * i] = total;
    }
    if (lane == 0) weights[reader] = l;
    SyncBlock();
    if (!first || ThreadIndex() != 0) return;
    float total = 0;
    for (int other = 0; other < kReaders; other++) total += weights[other];
    statistics[kDim] = total;
  }
};

// Adds a row's ranges up and solves: with means over all its keys C = mean(y y^T) - ybar ybar^T, where ybar is what
// rounding has left of zero, the r = -x of x = (C + ridge I)^-1 (q - kbar), with which Parallax attention is local linear
// attention. A ridge that cannot be used makes it NaN, and so the row. Blocks: rows, heads.
template <int kDim>
TFJS_LLA_DEVICE void SolveStep(const StepParams& p) {
  constexpr int kTiles = TriangleTiles(kDim), kFloats = StatisticsFloats(kDim), kAcross = kDim / 8;
  const int in_launch = static_cast<int>(BlockIndex() % p.rows), head = static_cast<int>(BlockIndex() / p.rows);
  const long long row = static_cast<long long>(head) * p.queries + p.first_row + in_launch;
  const int ranges = p.statistics_ranges, thread = ThreadIndex();
  const float* const statistics = p.statistics + BlockIndex() * ranges * kFloats;
  float* const means = reinterpret_cast<float*>(SharedMemory());  // [kDim]
  float* const solution = means + kDim;                           // [kDim]
  float* const triangle = p.triangles ? p.triangles + BlockIndex() * TriangleFloats(p.dim) : solution + kDim;
  float total = 0;
  for (int range = 0; range < ranges; range++) total += statistics[range * kFloats + kFloats - 4];
  // A row that sees no key has no statistics; what its probe is does not matter.
  const float inverse = total > 0 ? 1 / total : 0.0f;
  const auto mean_of = [&](int at) {
    float sum = 0;
#pragma unroll 8
    for (int range = 0; range < ranges; range++) sum += statistics[range * kFloats + at];
    return sum * inverse;
  };
  for (int d = thread; d < kDim; d += kTriangleThreads) means[d] = mean_of(kTiles * 64 + d);
  SyncBlock();
  const float given = p.ridge ? p.ridge[row] : p.ridge_value;
  const bool usable = given > 0 && IsFinite(given);
  const float ridge = usable ? given : 1.0f;
  for (int at = thread; at < kTiles * 64; at += kTriangleThreads) {
    int a, b;
    PlaceOfTile(at / 64, a, b);
    // sum[i][j][e] of a thread, four columns each.
    const int s = at / 4 % 16;
    int r = 4 * (a + s / 8 * kAcross) + s % 4, c = 4 * (b + s / 4 % 2 * kAcross) + at % 4;
    if (r < c && a == b) continue;
    if (r < c) {
      const int other = r;
      r = c;
      c = other;
    }
    if (r >= p.dim) continue;
    triangle[TrianglePlace(r, c)] = mean_of(at) - means[r] * means[c] + (r == c ? ridge : 0.0f);
  }
  for (int d = thread; d < p.dim; d += kTriangleThreads) {
    triangle[TrianglePlace(p.dim, d)] = means[d] + p.mean_key[row * p.dim + d] - p.query[row * p.dim + d];
  }
  SyncBlock();
  SolveTriangle(triangle, solution, p.dim, [ridge](int) { return ridge; });
  for (int d = thread; d < p.dim; d += kTriangleThreads) {
    p.solved[row * p.dim + d] = usable ? solution[d] : FromBits(0x7fc00000);
  }
}

}  // namespace tfjs_lla
