// Inputs of the tests, in memory that the emulator guards.
#pragma once

#include <memory>
#include <random>

#include "common/cuda/probe_params.h"
#include "emulator.h"
#include "reference.h"

enum class KeyKind {
  kNormal,
  kRepeated,    // each occurs about four times
  kEqual,       // all are one
  kCorrelated,  // a spectrum that falls to a hundredth, and a mean
};

struct Case {
  const char* name;
  Family family;
  bool high;
  Sizes sizes;
  float ridge;  // of the first row; 0: a ridge per row, about 1
  bool mask, bias;
  float mean;          // added to every key
  float bar;           // relative L2 error of the output
  float gradient_bar;  // of every gradient
  tfjs_lla::DirectUse direct = tfjs_lla::kNeverDirect;
  KeyKind keys = KeyKind::kNormal;
  float query_factor = 1;   // 10 makes scores of 50
  int small_ridge_every = 0;  // rows apart: these have a ridge of 1e-4, where there is one per row
  int max_iterations = 0;     // 0: eight times the head dimension
};

// Makes keys of a kind of normal ones.
inline void ShapeKeys(KeyKind kind, const Sizes& s, std::vector<float>& key) {
  for (size_t i = 0; i < key.size(); i++) {
    const int d = static_cast<int>(i % s.dim), j = static_cast<int>(i / s.dim % s.keys);
    const size_t head = i / s.dim / s.keys * s.keys * s.dim;
    if (kind == KeyKind::kEqual) key[i] = key[head + d];
    if (kind == KeyKind::kRepeated) key[i] = key[head + j % ((s.keys + 3) / 4) * s.dim + d];
    if (kind == KeyKind::kCorrelated) key[i] = 1 + 3 * key[i] / static_cast<float>(1 + d * 100 / s.dim);
  }
}

inline Inputs MakeInputs(const Case& c, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const Sizes& s = c.sizes;
  const auto fill = [&](std::vector<float>& x, size_t count, float mean) {
    x.resize(count);
    for (float& number : x) number = normal(random) + mean;
  };
  Inputs in;
  in.sizes = s;
  fill(in.query, static_cast<size_t>(s.heads) * s.queries * s.dim, c.mean);
  fill(in.key, static_cast<size_t>(s.heads) * s.keys * s.dim, c.mean);
  for (float& x : in.query) x *= c.query_factor;
  ShapeKeys(c.keys, s, in.key);
  fill(in.value, static_cast<size_t>(s.heads) * s.keys * s.value_dim, 0);
  if (c.family == Family::kParallax) {
    fill(in.probe, in.query.size(), 0);
    for (float& x : in.probe) x *= 0.1f;
  }
  if (c.family == Family::kLocalLinear && c.ridge == 0) {
    in.ridge.resize(static_cast<size_t>(s.heads) * s.queries);
    for (float& x : in.ridge) x = 0.5f + std::fabs(normal(random));
    for (size_t i = 0; c.small_ridge_every > 0 && i < in.ridge.size(); i += c.small_ridge_every) in.ridge[i] = 1e-4f;
  }
  if (c.bias) {
    fill(in.bias, static_cast<size_t>(s.heads) * s.keys, 0);
    in.bias[0] = -INFINITY;
  }
  if (c.mask) {
    in.mask.resize(static_cast<size_t>(s.batch) * s.keys);
    // The first keys and whole tiles are hidden: causal rows that see no key, steps without a visible one.
    for (size_t j = 0; j < in.mask.size(); j++) in.mask[j] = j % s.keys >= 3 && (j / 40 % 3 != 1) && j % 7 != 2;
  }
  in.scale = 1 / std::sqrt(static_cast<float>(s.dim));
  in.ridge_value = c.ridge;
  return in;
}

template <class T>
std::unique_ptr<tfjs_lla::emulator::GuardedMemory> Copy(const std::vector<T>& x) {
  if (x.empty()) return nullptr;
  auto memory = std::make_unique<tfjs_lla::emulator::GuardedMemory>(x.size() * sizeof(T));
  std::memcpy(memory->data(), x.data(), x.size() * sizeof(T));
  return memory;
}

template <class T>
T* Address(const std::unique_ptr<tfjs_lla::emulator::GuardedMemory>& memory) {
  return memory ? reinterpret_cast<T*>(memory->data()) : nullptr;
}

// A bar as it holds where this program runs kernels.
inline double Bar(double bar) { return bar <= 5e-4 ? bar * tfjs_lla::emulator::kBarFactor : bar; }

// Relative L2 error; a number that is not finite counts as infinite. Where nothing is wanted, the size of what came.
inline double RelativeError(const float* got, const std::vector<double>& wanted) {
  double error = 0, size = 0;
  for (size_t i = 0; i < wanted.size(); i++) {
    if (!std::isfinite(got[i])) return INFINITY;
    error += (got[i] - wanted[i]) * (got[i] - wanted[i]);
    size += wanted[i] * wanted[i];
  }
  return std::sqrt(size > 0 ? error / size : error);
}

// Whether row i of x [rows, width] is NaN where `bad(i)`, and finite elsewhere.
template <class Bad>
bool NanExactly(const float* x, int rows, int width, Bad bad) {
  bool good = true;
  for (int i = 0; i < rows * width; i++) good &= bad(i / width) ? std::isnan(x[i]) : std::isfinite(x[i]);
  return good;
}
