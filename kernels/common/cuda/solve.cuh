// Conjugate gradient on (C + ridge I) x = b for the rows of a block, C the covariance of the keys under each row's
// weights. C is applied tile by tile, never formed; the weights are computed anew each time (docs: operator README).
#pragma once

#include "common/cuda/query_rows.cuh"

namespace tfjs_lla {

// Columns 8 n .. of an operand, in the layout of sums.
template <class Operand>
TFJS_LLA_DEVICE void ReadOperand(const Operand& operand, int n, float (&x)[4]) {
  Half2Bits a[4];
  operand.Get(n / 2, a);
  const float2 upper = UnpackHalf2(a[n % 2 * 2]), lower = UnpackHalf2(a[n % 2 * 2 + 1]);
  x[0] = upper.x;
  x[1] = upper.y;
  x[2] = lower.x;
  x[3] = lower.y;
}

// The same of an operand and its low part.
template <bool kSplit, class Operand>
TFJS_LLA_DEVICE void ReadSplit(const Operand& high, const Operand& low, int n, float (&x)[4]) {
  ReadOperand(high, n, x);
  if constexpr (kSplit) {
    float rest[4];
    ReadOperand(low, n, rest);
#pragma unroll
    for (int e = 0; e < 4; e++) x[e] += rest[e];
  }
}

// Statistics of the softmax weights of a thread's two rows.
struct RowStatistics {
  float top[2];          // largest base-2 exponent
  float inverse_sum[2];  // 1 / sum of the weights relative to `top`

  // `inverse`: of the sum in units of 2^-kWeightShift.
  TFJS_LLA_DEVICE void Set(const float (&new_top)[2], const float (&inverse)[2]) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      top[r] = new_top[r];
      inverse_sum[r] = inverse[r] * Exp2(kWeightShift);
    }
  }
};

template <class Shape>
struct RowSolver {
  using Rows = QueryRows<Shape>;
  using Operand = typename Rows::Operand;
  using Scores = typename Rows::template Scores<Shape::kPartKeys>;
  using Sums = typename Rows::Sums;
  static constexpr int kDim = Shape::kDim, kPartKeys = Shape::kPartKeys;
  static constexpr bool kHigh = Shape::kHigh;
  // Brings weight times (y . direction), at most 2^15 for 256 dimensions, well into half precision's range.
  static constexpr float kWeightFactor = 1.0f / 4;

  // What single half precision leaves of an image, relative, eight times over: several such errors add up.
  static constexpr float kSingleError = 8.0f / 2048;

  // Rows that see few keys are solved to this share of the tolerance: they have the largest solutions, and there are few.
  static constexpr float kFewKeysTolerance = 1.0f / 4;

  static constexpr int kArrayLength = Shape::kArrayBytes / 16;

  enum Array { kSolution, kResidual, kMeanKey };

  const Rows& rows;
  const RowStatistics& statistics;
  float4 *shared, *scratch;
  int iterations;
  bool missed[2];  // rows that did not reach the tolerance

  TFJS_LLA_DEVICE RowSolver(const Rows& r, const RowStatistics& s) : rows(r), statistics(s), iterations(0) {
    scratch = reinterpret_cast<float4*>(r.p.state + BlockIndex() * (Shape::kScratchArrays * Shape::kArrayBytes / 4)) +
              ThreadIndex();
    shared = reinterpret_cast<float4*>(r.shared + Shape::kStateOffset) + ThreadIndex();
  }

  TFJS_LLA_DEVICE float4& State(Array array, int n) const {
    const int in_shared = Shape::kSharedArrays;
    float4* const from =
        array < in_shared ? shared + array * kArrayLength : scratch + (array - in_shared) * kArrayLength;
    return from[n * Shape::kThreads];
  }

  TFJS_LLA_DEVICE void Save(Array array, const Sums& x, const float (&factor)[2]) const {
#pragma unroll
    for (int n = 0; n < kDim / 8; n++) {
      float4 numbers;
      numbers.x = x[n][0] * factor[0];
      numbers.y = x[n][1] * factor[0];
      numbers.z = x[n][2] * factor[1];
      numbers.w = x[n][3] * factor[1];
      State(array, n) = numbers;
    }
  }

  TFJS_LLA_DEVICE void Load(Array array, Sums& x, const float (&factor)[2]) const {
#pragma unroll
    for (int n = 0; n < kDim / 8; n++) {
      const float4 numbers = State(array, n);
      x[n][0] = numbers.x * factor[0];
      x[n][1] = numbers.y * factor[0];
      x[n][2] = numbers.z * factor[1];
      x[n][3] = numbers.w * factor[1];
    }
  }

  // sum_d kbar_d x_d for each row, kbar in the unit of the key tiles.
  TFJS_LLA_DEVICE void DotMeanKey(const Sums& x, float (&dot)[2]) const {
    dot[0] = dot[1] = 0;
#pragma unroll
    for (int n = 0; n < kDim / 8; n++) {
      const float4 kbar = State(kMeanKey, n);
      dot[0] += kbar.x * x[n][0] + kbar.y * x[n][1];
      dot[1] += kbar.z * x[n][2] + kbar.w * x[n][3];
    }
    dot[0] = SumOverQuad(dot[0]);
    dot[1] = SumOverQuad(dot[1]);
  }

  // image = sum_j p_j (y_j . direction) k_j in units of the key tiles, times kWeightFactor and the sum of the weights.
  // kPrecise: with the low parts of all operands but, unless kSplit, the direction.
  template <bool kPrecise, bool kSplit>
  TFJS_LLA_DEVICE void ApplyCovariance(const Operand& direction, const Operand& direction_low,
                                       const float (&mean_product)[2], Sums& image) const {
    const float shift[2] = {-mean_product[0] * kWeightFactor, -mean_product[1] * kWeightFactor};
#pragma unroll
    for (int n = 0; n < kDim / 8; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) image[n][e] = 0;
    }
    rows.template ForEachStep<1, kPartKeys>([&](int step, int stage, int slot) { rows.CopyKeys(step, stage, slot); },
                                 [&](const KeyPart& part) {
                                   Scores s, t;
                                   rows.template KeyProducts<true, kSplit, kPrecise>(part, s, t, direction, direction_low);
                                   FinishProducts<1>(s);
                                   rows.WeighScores(part, s, statistics.top);
                                   FinishProducts<0>(t);
#pragma unroll
                                   for (int n = 0; n < kPartKeys / 8; n++) {
#pragma unroll
                                     for (int e = 0; e < 4; e++) s[n][e] *= t[n][e] * kWeightFactor + shift[e / 2];
                                   }
                                   Rows::template AddWeighted<kPrecise>(image, s, part.keys);
                                 });
  }

  // Solves for the right-hand sides `b`; kMeanKey must be there. The solutions come out in `b`. `direction` and its low
  // part are operands whose memory the iteration may use; the low part only where operands are split.
  TFJS_LLA_DEVICE void Solve(Sums& b, const float (&ridge)[2], Operand& direction, Operand& direction_low) {
    if constexpr (kHigh) {
      if (rows.tile < rows.p.split_tiles) return Iterate<true>(b, ridge, direction, direction_low);
    }
    Iterate<false>(b, ridge, direction, direction_low);
  }

 private:
  template <bool kSplit>
  TFJS_LLA_DEVICE void Iterate(Sums& b, const float (&ridge)[2], Operand& direction, Operand& direction_low) {
    const ProbeParams& p = rows.p;
    const float one[2] = {1, 1};
    float squared[2], length[2], inverse[2], mean_product[2], scale[2], step[2] = {0, 0};
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float sum = 0;
#pragma unroll
      for (int n = 0; n < kDim / 8; n++) sum += b[n][2 * r] * b[n][2 * r] + b[n][2 * r + 1] * b[n][2 * r + 1];
      sum = SumOverQuad(sum);
      length[r] = Sqrt(sum);
      inverse[r] = sum > 0 ? 1 / length[r] : 0.0f;
      squared[r] = sum > 0 ? 1.0f : 0.0f;
      scale[r] = 1;
    }
    // In units of |b|: neither residuals nor tolerances underflow.
    Save(kResidual, b, inverse);
    const float zero[2] = {0, 0};
    Save(kSolution, b, zero);
    Rows::template Round<kSplit>(b, inverse, direction, direction_low);
    DotMeanKey(b, mean_product);
    const float unit = rows.summary.key_unit;
    // Squared. Of rows that see few keys, whose systems are ill-conditioned, a small residual says less.
    const float tolerance = p.tolerance * p.tolerance * (kSplit ? kFewKeysTolerance * kFewKeysTolerance : 1.0f);
    float highest[2] = {0, 0}, lowest[2] = {1e30f, 1e30f};
    // Few keys in few dimensions: a residual may fall a thousandfold by chance, and the next step does not (decision 0004).
    const float least_drop = p.tolerance < 1e-4f ? 0.25f : 0.01f;
    // Single half precision is enough from the start for a coarse tolerance.
    bool more = true, precise = kHigh && (kSplit || kSingleError * kSingleError > tolerance);
    while (more) {
      Sums image;
      if (kHigh && precise) {
        ApplyCovariance<kHigh, kSplit>(direction, direction_low, mean_product, image);
      } else {
        ApplyCovariance<false, kSplit>(direction, direction_low, mean_product, image);
      }
      iterations++;
      // Between the passes registers hold it, for heads to 64.
      constexpr bool kResidualKept = kDim <= 64;
      float4 residual[kResidualKept ? kDim / 8 : 1];
      float curvature[2] = {0, 0}, product[2] = {0, 0};
      const float from_image[2] = {unit * unit / kWeightFactor * statistics.inverse_sum[0],
                                   unit * unit / kWeightFactor * statistics.inverse_sum[1]};
#pragma unroll
      for (int n = 0; n < kDim / 8; n++) {
        float at[4];
        ReadSplit<kSplit>(direction, direction_low, n, at);
        const float4 r = State(kResidual, n);
        if constexpr (kResidualKept) residual[n] = r;
        const float numbers[4] = {r.x, r.y, r.z, r.w};
#pragma unroll
        for (int e = 0; e < 4; e++) {
          image[n][e] = image[n][e] * from_image[e / 2] + ridge[e / 2] * at[e];
          curvature[e / 2] += image[n][e] * at[e];
          product[e / 2] += numbers[e] * at[e];
        }
      }
      float alpha[2], next[2] = {0, 0}, conjugate[2] = {0, 0};
#pragma unroll
      for (int r = 0; r < 2; r++) {
        curvature[r] = SumOverQuad(curvature[r]);
        product[r] = SumOverQuad(product[r]);
        alpha[r] = curvature[r] > 0 ? product[r] / curvature[r] : 0.0f;
        highest[r] = Max(highest[r], curvature[r]);
        lowest[r] = curvature[r] > 0 && curvature[r] < lowest[r] ? curvature[r] : lowest[r];
      }
#pragma unroll
      for (int n = 0; n < kDim / 8; n++) {
        float at[4];
        ReadSplit<kSplit>(direction, direction_low, n, at);
        float4 x = State(kSolution, n), r = kResidualKept ? residual[n] : State(kResidual, n);
        x.x += alpha[0] * at[0];
        x.y += alpha[0] * at[1];
        x.z += alpha[1] * at[2];
        x.w += alpha[1] * at[3];
        r.x -= alpha[0] * image[n][0];
        r.y -= alpha[0] * image[n][1];
        r.z -= alpha[1] * image[n][2];
        r.w -= alpha[1] * image[n][3];
        State(kSolution, n) = x;
        State(kResidual, n) = r;
        if constexpr (kResidualKept) residual[n] = r;
        next[0] += r.x * r.x + r.y * r.y;
        next[1] += r.z * r.z + r.w * r.w;
        conjugate[0] += r.x * image[n][0] + r.y * image[n][1];
        conjugate[1] += r.z * image[n][2] + r.w * image[n][3];
      }
      bool sensitive = kSplit;
      float beta[2];
      bool unfinished = false;
#pragma unroll
      for (int r = 0; r < 2; r++) {
        next[r] = SumOverQuad(next[r]);
        conjugate[r] = SumOverQuad(conjugate[r]);
        // The rounded direction is what was stepped along, so beta is of it as well.
        beta[r] = curvature[r] > 0 ? -conjugate[r] / curvature[r] : 0.0f;
        // What the step that is free below will leave.
        const float drop = squared[r] > next[r] ? Max(next[r] / squared[r], least_drop) : 1.0f;
        const float predicted = next[r] * drop;
        unfinished |= predicted > tolerance;
        // An error of the next image moves the residual by no more than this times the length of the step along it.
        const float step_error = kSingleError * highest[r] / lowest[r];
        sensitive |= next[r] * (step_error * step_error) > tolerance;
        step[r] = alpha[r] * scale[r];
        squared[r] = next[r];
        // The new direction has about this length, since the residual is orthogonal to the old one, of length 1.
        scale[r] = next[r] > 1e-30f ? Rsqrt(next[r] + beta[r] * beta[r]) : 0.0f;
      }
      Sums& next_direction = image;
#pragma unroll
      for (int n = 0; n < kDim / 8; n++) {
        float at[4];
        ReadSplit<kSplit>(direction, direction_low, n, at);
        const float4 r = kResidualKept ? residual[n] : State(kResidual, n);
        next_direction[n][0] = r.x + beta[0] * at[0];
        next_direction[n][1] = r.y + beta[0] * at[1];
        next_direction[n][2] = r.z + beta[1] * at[2];
        next_direction[n][3] = r.w + beta[1] * at[3];
      }
      if constexpr (kHigh && !kSplit) precise = AnyInBlock(sensitive);
      unfinished = AnyInBlock(unfinished);
      more = unfinished && iterations < p.max_iterations;
      if (!more) {
        missed[0] = unfinished && squared[0] > p.tolerance * p.tolerance;
        missed[1] = unfinished && squared[1] > p.tolerance * p.tolerance;
        // One step more costs no product: the last step's length along the next direction.
        Load(kSolution, b, one);
#pragma unroll
        for (int n = 0; n < kDim / 8; n++) {
#pragma unroll
          for (int e = 0; e < 4; e++) {
            const float extra = scale[e / 2] > 0 ? step[e / 2] * next_direction[n][e] : 0.0f;
            b[n][e] = (b[n][e] + extra) * length[e / 2];
          }
        }
        break;
      }
      Rows::template Round<kSplit>(next_direction, scale, direction, direction_low);
      DotMeanKey(next_direction, mean_product);
    }
  }
};

}  // namespace tfjs_lla
