// Few query rows over the keys where they stand: each block takes a range of them, then the ranges are joined. All in
// float32: what limits it is how fast keys and values can be read.
#pragma once

#include "common/cuda/step_keys.cuh"

namespace tfjs_lla {

// Attention of some rows over one range of the keys they see: sums of w_j v_j with w_j = 2^(e_j - m) and, with a probe
// r, sums of w_j (r.(k_j - c)) v_j for any one vector c of the row. Every group of lanes has a running maximum of its own.
// Blocks: rows, ranges, slices of values, heads; the first go fastest, so that blocks which read the same keys run
// together.
template <class Shape>
struct StepAttend {
  static constexpr int kDim = Shape::kDim, kRows = Shape::kRows, kLanes = Shape::kLanes, kQuads = Shape::kQuads;
  static constexpr int kGroups = Shape::kGroups, kSteps = Shape::kSteps;
  static constexpr bool kProbe = Shape::kProbe;
  static constexpr int kPartFloats = PartFloats(kDim, kProbe);

  const StepParams& p;
  int lane, group, set, range, slice, head;
  int first_row;  // of this thread's set
  int lower[kRows], upper[kRows];
  float4 query[kRows][kQuads], probe[kRows][kQuads];
  float m[kRows], l[kRows], g[kRows];
  float shift[kRows];  // r.(kbar - c)
  bool bad[kRows];
  float4 sum[kRows][kQuads], tilt[kRows][kQuads];

  TFJS_LLA_DEVICE StepAttend(const StepParams& params) : p(params) {
    lane = ThreadIndex() % kLanes;
    group = ThreadIndex() % Shape::kSetThreads / kLanes;
    set = ThreadIndex() / Shape::kSetThreads;
    const int row_blocks = (p.rows + Shape::kBlockRows - 1) / Shape::kBlockRows;
    long long block = BlockIndex();
    first_row = p.first_row + static_cast<int>(block % row_blocks) * Shape::kBlockRows + set * kRows;
    block /= row_blocks;
    range = static_cast<int>(block % p.ranges);
    block /= p.ranges;
    slice = static_cast<int>(block % p.value_slices);
    head = static_cast<int>(block / p.value_slices);
  }

  TFJS_LLA_DEVICE bool Exists(int r) const { return first_row + r < p.first_row + p.rows; }

  TFJS_LLA_DEVICE void Run() {
    const StepKeys keys(p, head);
    float* const centre = reinterpret_cast<float*>(SharedMemory());
    if constexpr (kProbe) keys.LoadCentre(centre, centre + kDim, kDim);
    Load(keys);
    if constexpr (kProbe) FindShift(centre);
    // What the rows of all sets see.
    const int block_row = first_row - set * kRows, after = block_row + Shape::kBlockRows, all = p.first_row + p.rows;
    const int last = keys.Upper((after < all ? after : all) - 1);
    const int begin = keys.Lower(block_row) + range * p.keys_per_range;
    const int end = begin + p.keys_per_range < last ? begin + p.keys_per_range : last;
    for (int first = begin; first < end; first += Shape::kTurnKeys) Turn(keys, centre, first, end);
    Combine(centre + kDim + 16);
  }

 private:
  TFJS_LLA_DEVICE void Load(const StepKeys& keys) {
#pragma unroll
    for (int r = 0; r < kRows; r++) {
      const int row = Exists(r) ? first_row + r : p.first_row;
      lower[r] = keys.Lower(row);
      upper[r] = Exists(r) ? keys.Upper(row) : 0;
      const long long at = (static_cast<long long>(head) * p.queries + row) * p.dim;
#pragma unroll
      for (int i = 0; i < kQuads; i++) {
        query[r][i] = LoadQuad(p.query + at, lane + kLanes * i, p.dim);
        Scale(query[r][i], p.scale * kLog2E);
        if constexpr (kProbe) probe[r][i] = LoadQuad(p.probe + at, lane + kLanes * i, p.dim);
        sum[r][i] = tilt[r][i] = ZeroQuad();
      }
      m[r] = kLeastScore;
      l[r] = g[r] = 0;
      bad[r] = false;
    }
  }

  // Where a row's mean key is known its products are taken relative to that: of a key with nearly all of the weight
  // little is left then, in place of large sums that cancel in the end.
  TFJS_LLA_DEVICE void FindShift(const float* centre) {
#pragma unroll
    for (int r = 0; r < kRows; r++) {
      shift[r] = 0;
      if (!p.mean_key) continue;
      const int row = Exists(r) ? first_row + r : p.first_row;
      const float* const mean = p.mean_key + (static_cast<long long>(head) * p.queries + row) * p.dim;
#pragma unroll
      for (int i = 0; i < kQuads; i++) {
        float4 y = LoadQuad(mean, lane + kLanes * i, p.dim);
        AddScaled(y, -1, *reinterpret_cast<const float4*>(centre + 4 * (lane + kLanes * i)));
        shift[r] += Dot(probe[r][i], y);
      }
#pragma unroll
      for (int lanes = 1; lanes < kLanes; lanes *= 2) shift[r] += ShuffleXor(shift[r], lanes);
    }
  }

  // The keys first, first + 1, ... of a turn, those before `end`.
  TFJS_LLA_DEVICE void Turn(const StepKeys& keys, const float* centre, int first, int end) {
    float4 k[kSteps][kQuads], v[kSteps][kQuads];
    KeyState state[kSteps];
#pragma unroll
    for (int s = 0; s < kSteps; s++) {
      const int j = first + group + kGroups * s;
      // Behind the end another key is read in its place, and counts as nothing.
      const int read = j < end ? j : end - 1;
      const long long place = keys.Place(read);
      const float *const key = keys.Key(read, place), *const value = keys.Value(read, place);
#pragma unroll
      for (int i = 0; i < kQuads; i++) {
        k[s][i] = LoadQuad(key, lane + kLanes * i, p.dim);
        v[s][i] = LoadQuad(value, slice * (kDim / 4) + lane + kLanes * i, p.value_dim);
      }
      state[s] = keys.State(read, place);
      state[s].visible = state[s].visible && j < end;
    }
    float e[kRows][kSteps], t[kRows][kSteps];
#pragma unroll
    for (int s = 0; s < kSteps; s++) {
      const int j = first + group + kGroups * s;
      bool finite = state[s].finite;
#pragma unroll
      for (int i = 0; i < kQuads; i++) finite = finite && IsFinite(k[s][i]) && IsFinite(v[s][i]);
      if (!finite || !state[s].visible) {
#pragma unroll
        for (int i = 0; i < kQuads; i++) k[s][i] = v[s][i] = ZeroQuad();
      }
#pragma unroll
      for (int r = 0; r < kRows; r++) {
        const bool seen = state[s].visible && j >= lower[r] && j < upper[r];
        bad[r] = bad[r] || (seen && !finite);
        float score = 0, tilted = 0;
#pragma unroll
        for (int i = 0; i < kQuads; i++) score += Dot(query[r][i], k[s][i]);
        if constexpr (kProbe) {
#pragma unroll
          for (int i = 0; i < kQuads; i++) {
            float4 y = k[s][i];
            AddScaled(y, -1, *reinterpret_cast<const float4*>(centre + 4 * (lane + kLanes * i)));
            tilted += Dot(probe[r][i], y);
          }
        }
#pragma unroll
        for (int lanes = 1; lanes < kLanes; lanes *= 2) {
          score += ShuffleXor(score, lanes);
          if constexpr (kProbe) tilted += ShuffleXor(tilted, lanes);
        }
        e[r][s] = seen ? score + state[s].bias * kLog2E : kHiddenScore;
        if constexpr (kProbe) tilted -= shift[r];
        t[r][s] = tilted;
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; r++) {
      float raised = m[r];
#pragma unroll
      for (int s = 0; s < kSteps; s++) raised = Max(raised, e[r][s]);
      const float factor = Exp2(m[r] - raised);
      m[r] = raised;
      l[r] *= factor;
      g[r] *= factor;
#pragma unroll
      for (int i = 0; i < kQuads; i++) {
        Scale(sum[r][i], factor);
        if constexpr (kProbe) Scale(tilt[r][i], factor);
      }
#pragma unroll
      for (int s = 0; s < kSteps; s++) {
        const float w = Exp2(e[r][s] - raised), tilted = w * t[r][s];
        l[r] += w;
        if constexpr (kProbe) g[r] += tilted;
#pragma unroll
        for (int i = 0; i < kQuads; i++) {
          AddScaled(sum[r][i], w, v[s][i]);
          if constexpr (kProbe) AddScaled(tilt[r][i], tilted, v[s][i]);
        }
      }
    }
  }

  // Joins the groups of each set. `shared`: of each set [kGroups] largest exponents, [kGroups, 2] sums, padded; then
  // [threads] quads.
  TFJS_LLA_DEVICE void Combine(float* shared) {
    float4* const quads = reinterpret_cast<float4*>(shared + Shape::kSets * kGroups * 4) + set * Shape::kSetThreads;
    const int in_set = ThreadIndex() % Shape::kSetThreads;
    shared += set * kGroups * 4;
#pragma unroll
    for (int r = 0; r < kRows; r++) {
      bool is_bad = false;
      if constexpr (Shape::kSets == 1) is_bad = AnyInBlock(bad[r]);
      if constexpr (Shape::kSetThreads == kWarpSize) is_bad = AnyInWarp(bad[r]);
      static_assert(Shape::kSets == 1 || Shape::kSetThreads == kWarpSize, "a set is a warp or the block");
      if (lane == 0) shared[group] = m[r];
      SyncBlock();
      float top = kLeastScore;
      for (int other = 0; other < kGroups; other++) top = Max(top, shared[other]);
      const float factor = Exp2(m[r] - top);
      if (lane == 0) {
        shared[kGroups + 2 * group] = l[r] * factor;
        shared[kGroups + 2 * group + 1] = g[r] * factor;
      }
      const long long row = static_cast<long long>(head) * p.rows + (first_row - p.first_row) + r;
      float* const part = p.parts + ((row * p.value_slices + slice) * p.ranges + range) * kPartFloats;
#pragma unroll
      for (int which = 0; which < (kProbe ? 2 : 1); which++) {
#pragma unroll
        for (int i = 0; i < kQuads; i++) {
          float4 own = which == 0 ? sum[r][i] : tilt[r][i];
          Scale(own, factor);
          quads[in_set] = own;
          SyncBlock();
          if (group == 0 && Exists(r)) {
            for (int other = 1; other < kGroups; other++) AddScaled(own, 1, quads[other * kLanes + lane]);
            *reinterpret_cast<float4*>(part + which * kDim + 4 * (lane + kLanes * i)) = own;
          }
          SyncBlock();
        }
      }
      if (in_set == 0 && Exists(r)) {
        float weights = 0, tilted = 0;
        for (int other = 0; other < kGroups; other++) {
          weights += shared[kGroups + 2 * other];
          tilted += shared[kGroups + 2 * other + 1];
        }
        float4 info;
        info.x = top;
        info.y = weights;
        info.z = tilted;
        info.w = is_bad ? 1.0f : 0.0f;
        *reinterpret_cast<float4*>(part + kPartFloats - 4) = info;
      }
      SyncBlock();
    }
  }
};

constexpr int kJoinThreads = 128;

// Joins the ranges of a row, and appends the row's key where it is asked to. Blocks: rows, heads.
template <int kDim, bool kProbe>
TFJS_LLA_DEVICE void JoinRanges(const StepParams& p) {
  constexpr int kPartFloats = PartFloats(kDim, kProbe);
  const int in_launch = static_cast<int>(BlockIndex() % p.rows), head = static_cast<int>(BlockIndex() / p.rows);
  const long long row = static_cast<long long>(head) * p.queries + p.first_row + in_launch;
  const float* const parts =
      p.parts + (static_cast<long long>(head) * p.rows + in_launch) * p.value_slices * p.ranges * kPartFloats;
  float* const factors = reinterpret_cast<float*>(SharedMemory());
  float* const infos = factors + kMostRanges;  // [ranges, 3]
  bool wrong = false, sees_bad = false;
  for (int d = ThreadIndex(); d < p.dim; d += kJoinThreads) {
    wrong |= !IsFinite(p.query[row * p.dim + d]);
    if constexpr (kProbe) wrong |= !IsFinite(p.probe[row * p.dim + d]);
  }
  for (int at = ThreadIndex(); at < p.ranges * p.value_slices; at += kJoinThreads) {
    const float4 info = *reinterpret_cast<const float4*>(parts + at * kPartFloats + kPartFloats - 4);
    sees_bad |= info.w != 0;
    if (at >= p.ranges) continue;
    infos[3 * at] = info.x;
    infos[3 * at + 1] = info.y;
    infos[3 * at + 2] = info.z;
  }
  wrong = AnyInBlock(wrong);
  sees_bad = AnyInBlock(sees_bad);
  float top = kLeastScore, weights = 0, tilted = 0;
  for (int range = 0; range < p.ranges; range++) top = Max(top, infos[3 * range]);
  for (int range = 0; range < p.ranges; range++) {
    const float factor = Exp2(infos[3 * range] - top);
    weights += factor * infos[3 * range + 1];
    tilted += factor * infos[3 * range + 2];
  }
  const bool blind = !sees_bad && weights == 0, bad = sees_bad || (!blind && wrong);
  const float inverse = weights > 0 ? 1 / weights : 0.0f, offset = 1 + tilted * inverse;
  for (int range = ThreadIndex(); range < p.ranges; range += kJoinThreads) {
    factors[range] = Exp2(infos[3 * range] - top) * inverse;
  }
  SyncBlock();
  const float nan = FromBits(0x7fc00000);
  for (int column = ThreadIndex(); column < p.value_dim; column += kJoinThreads) {
    const float* part = parts + static_cast<long long>(column / kDim) * p.ranges * kPartFloats + column % kDim;
    float mean = 0, tilt = 0;
#pragma unroll 8
    for (int range = 0; range < p.ranges; range++) {
      mean += factors[range] * part[range * kPartFloats];
      if constexpr (kProbe) tilt += factors[range] * part[range * kPartFloats + kDim];
    }
    p.out[row * p.value_dim + column] = bad ? nan : blind ? 0.0f : kProbe ? mean * offset - tilt : mean;
  }
  if constexpr (kProbe) {
    for (int d = ThreadIndex(); d < p.dim && p.probe_out; d += kJoinThreads) {
      p.probe_out[row * p.dim + d] = bad ? nan : blind ? 0.0f : -p.probe[row * p.dim + d];
    }
  }
  if (p.tops && ThreadIndex() == 0) p.tops[row] = top;
  if (p.appends) StepKeys(p, head).Append(p.first_row + in_launch);
}

// Appends all new keys. Blocks: new keys, heads.
TFJS_LLA_DEVICE void AppendKeys(const StepParams& p) {
  StepKeys(p, static_cast<int>(BlockIndex() / p.new_keys)).Append(static_cast<int>(BlockIndex() % p.new_keys));
}

// Copies the keys where they stand to where they lie in order: [heads, cached + new_keys, ...]. Blocks: keys, heads.
TFJS_LLA_DEVICE void GatherKeys(const StepParams& p) {
  const int count = p.cached + p.new_keys;
  const StepKeys keys(p, static_cast<int>(BlockIndex() / count));
  const int j = static_cast<int>(BlockIndex() % count);
  const long long place = keys.Place(j), to = BlockIndex();
  const float *const key = keys.Key(j, place), *const value = keys.Value(j, place);
  for (int d = ThreadIndex(); d < p.dim; d += BlockThreads()) p.whole_key[to * p.dim + d] = key[d];
  for (int d = ThreadIndex(); d < p.value_dim; d += BlockThreads()) p.whole_value[to * p.value_dim + d] = value[d];
  if (ThreadIndex() != 0) return;
  const float bias = j >= p.cached ? keys.NewBias(j - p.cached) : p.cached_bias ? p.cached_bias[place] : 0.0f;
  p.whole_bias[to] = bias <= kHidingBias ? FromBits(0xff800000) : bias;
}

}  // namespace tfjs_lla
