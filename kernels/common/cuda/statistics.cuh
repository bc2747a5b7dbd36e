// Softmax statistics of query rows as they are found tile by tile, and small things that forward pass and gradient
// share.
#pragma once

#include "common/cuda/solve.cuh"

namespace tfjs_lla {

// Keeps units of weights that are all zero away from zero.
constexpr float kSmallest = 1e-30f;

template <int kDim>
TFJS_LLA_DEVICE void ClearSums(float (&x)[kDim / 8][4]) {
#pragma unroll
  for (int n = 0; n < kDim / 8; n++) {
#pragma unroll
    for (int e = 0; e < 4; e++) x[n][e] = 0;
  }
}

template <int kDim>
TFJS_LLA_DEVICE void ScaleRows(float (&x)[kDim / 8][4], const float (&factor)[2]) {
#pragma unroll
  for (int n = 0; n < kDim / 8; n++) {
#pragma unroll
    for (int e = 0; e < 4; e++) x[n][e] *= factor[e / 2];
  }
}

template <int kDim>
TFJS_LLA_DEVICE void AbsoluteSums(const float (&x)[kDim / 8][4], float (&sum)[2]) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    sum[r] = 0;
#pragma unroll
    for (int n = 0; n < kDim / 8; n++) sum[r] += Abs(x[n][2 * r]) + Abs(x[n][2 * r + 1]);
    sum[r] = SumOverQuad(sum[r]);
  }
}

// The numbers that an operand and its low part hold.
template <int kDim, bool kHigh, class Operand>
TFJS_LLA_DEVICE void ReadRows(const Operand& high, const Operand& low, float (&x)[kDim / 8][4]) {
#pragma unroll
  for (int n = 0; n < kDim / 8; n++) ReadSplit<kHigh>(high, low, n, x[n]);
}

// Sums over the quad, and what they are to be divided by: 0 where that is nothing.
TFJS_LLA_DEVICE void InvertSums(const float (&sum)[2], float (&inverse)[2]) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const float all = SumOverQuad(sum[r]);
    inverse[r] = all > 0 ? 1 / all : 0.0f;
  }
}

// Takes the scores of some keys into the running largest exponent and sum; they become weights relative to it, in units
// of 2^-kWeightShift. `kept` is what sums of earlier weights are to be multiplied by. Returns whether that is 1 in all
// rows.
template <class Rows, int kCount>
TFJS_LLA_DEVICE bool AdvanceWeights(const Rows& rows, const KeyPart& part, float (&s)[kCount][4], float (&top)[2],
                                    float (&sum)[2], float (&kept)[2]) {
  float to_exponent[2], shifted[2];
  rows.MaskScores(part, s, to_exponent);
#pragma unroll
  for (int r = 0; r < 2; r++) {
    float most = s[0][2 * r];
#pragma unroll
    for (int n = 0; n < kCount; n++) most = Max(most, Max(s[n][2 * r], s[n][2 * r + 1]));
    most = Max(top[r], MaxOverQuad(most) * to_exponent[r]);
    kept[r] = Exp2(top[r] - most);
    top[r] = most;
    shifted[r] = most - kWeightShift;
    sum[r] *= kept[r];
  }
#pragma unroll
  for (int n = 0; n < kCount; n++) {
#pragma unroll
    for (int e = 0; e < 4; e++) {
      s[n][e] = Exp2(s[n][e] * to_exponent[e / 2] - shifted[e / 2]);
      sum[e / 2] += s[n][e];
    }
  }
  return !AnyInWarp(kept[0] != 1 || kept[1] != 1);
}

// Of each row, times `factor`: the number that belongs to the key with the largest weight of some.
template <int kCount>
TFJS_LLA_DEVICE void NumbersAtHeaviest(const float (&weights)[kCount][4], const float (&numbers)[kCount][4],
                                       const float (&factor)[2], float (&found)[2]) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    float most = -1, at = 0;
#pragma unroll
    for (int n = 0; n < kCount; n++) {
#pragma unroll
      for (int e = 2 * r; e < 2 * r + 2; e++) {
        at = weights[n][e] > most ? numbers[n][e] : at;
        most = Max(most, weights[n][e]);
      }
    }
#pragma unroll
    for (int lanes = 1; lanes < 4; lanes *= 2) {
      const float other = ShuffleXor(most, lanes), other_at = ShuffleXor(at, lanes);
      // Of equal ones the lower lane's, so that all agree.
      const bool take = other > most || (other == most && (ThreadIndex() & lanes));
      at = take ? other_at : at;
      most = Max(most, other);
    }
    found[r] = at * factor[r];
  }
}

// The ridge of each row. One that is no positive finite number makes its row bad, and computes with 1.
template <class Rows>
TFJS_LLA_DEVICE void LoadRidge(Rows& rows, float (&ridge)[2]) {
  const ProbeParams& p = rows.p;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    ridge[r] = p.ridge && rows.exists[r] ? p.ridge[rows.RowIndex(r)] : p.ridge_value;
    if (ridge[r] > 0 && IsFinite(ridge[r])) continue;
    if (rows.ordinary[r]) rows.bad[r] = true;
    rows.ordinary[r] = false;
    ridge[r] = 1;
  }
}

}  // namespace tfjs_lla
