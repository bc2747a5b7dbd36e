// The feature map `phi` of rows, and its derivative read off the features (../feature_map.ts).
#pragma once

#include "common/native/vector.h"
#include "linear_attention/native/linear_options.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {

// Replaces a row of `width` numbers, zeros up to `padded`, by its features.
inline void ToFeatures(FeatureMap map, float* row, int64_t width, int64_t padded) {
  if (map == FeatureMap::kIdentity) return;
  const Vector<float> zero{};
  for (int64_t d = 0; d < padded; d += kLanes<float>) {
    const Vector<float> x = Load(row + d);
    // elu(x) + 1 would lose exp(x) of a very negative x.
    const Vector<float> below = map == FeatureMap::kRelu ? zero : ExpOfNegative(x > zero ? zero : x);
    const Vector<float> above = map == FeatureMap::kRelu ? x : x + 1.0f;
    Store(row + d, x > zero ? above : below);
  }
  Zero(row + width, padded - width);
}

// Multiplies gradients of features by phi', which follows from the features: exp(x) below 0 is phi itself.
inline void TimesDerivative(FeatureMap map, float* gradients, const float* features, int64_t count) {
  if (map == FeatureMap::kIdentity) return;
  const Vector<float> zero{}, one = Broadcast(1.0f);
  for (int64_t d = 0; d < count; d += kLanes<float>) {
    const Vector<float> phi = Load(features + d);
    const Vector<float> derivative =
        map == FeatureMap::kRelu ? (phi > zero ? one : zero) : (phi < one ? phi : one);
    Store(gradients + d, Load(gradients + d) * derivative);
  }
}

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
