// Inputs of the tests, in memory that the emulator guards, and a call of the kernels.
#pragma once

#include <memory>
#include <random>

#include "emulator.h"
#include "kernels.h"
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

// The parameters of a call, and the memory that they point to.
struct Call {
  std::unique_ptr<tfjs_lla::emulator::GuardedMemory> query, key, value, probe, ridge, bias, mask;
  tfjs_lla::ProbeParams params{};
  tfjs_lla::ProbeSource source;
  bool high;

  Call(const Case& c, const Inputs& in) : high(c.high) {
    const Sizes& s = in.sizes;
    query = Copy(in.query);
    key = Copy(in.key);
    value = Copy(in.value);
    probe = Copy(in.probe);
    ridge = Copy(in.ridge);
    bias = Copy(in.bias);
    mask = Copy(in.mask);
    tfjs_lla::ProbeParams& p = params;
    p.query = Address<float>(query);
    p.key = Address<float>(key);
    p.value = Address<float>(value);
    p.key_mask = Address<unsigned char>(mask);
    p.key_bias = Address<float>(bias);
    p.probe = Address<float>(probe);
    p.ridge = Address<float>(ridge);
    p.heads = s.heads;
    p.heads_per_batch = s.heads / s.batch;
    p.queries = s.queries;
    p.keys = s.keys;
    p.dim = s.dim;
    p.value_dim = s.value_dim;
    p.causal = s.causal;
    p.scale = in.scale;
    p.ridge_value = in.ridge_value;
    p.tolerance = c.high ? 1e-6f : 1e-3f;
    p.max_iterations = c.max_iterations > 0 ? c.max_iterations : 8 * s.dim;
    p.direct.use = c.direct;
    p.large_shared = tfjs_lla::kLargeShared;
    source = c.family == Family::kSoftmax    ? tfjs_lla::kNoProbe
             : c.family == Family::kParallax ? tfjs_lla::kGivenProbe
                                             : tfjs_lla::kSolvedProbe;
  }

  // Runs the plan that `plan(planner)` makes.
  template <class Plan>
  void Run(Plan plan) {
    using namespace tfjs_lla;
    ProbePlanner sizes(params, source, high, nullptr);
    emulator::GuardedMemory scratch(plan(sizes).scratch_bytes);
    ProbePlanner planner(params, source, high, scratch.data());
    for (const ProbeLaunch& launch : plan(planner).launches) {
      const Kernel kernel = FindKernel(launch.entry);
      emulator::Launch(launch.blocks, launch.threads, launch.shared_bytes, [&] { kernel(launch.params); });
    }
  }
};

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

inline const Case kCases[] = {
    // name, family, high, {batch, heads, queries, keys, dim, value_dim, causal}, ridge, mask, bias, mean, bar,
    // gradient_bar
    {"softmax", Family::kSoftmax, true, {1, 2, 130, 130, 64, 64, true}, 0, false, false, 0, 2e-6f, 2e-5f},
    {"softmax fast", Family::kSoftmax, false, {1, 1, 130, 130, 64, 64, false}, 0, false, false, 0, 6e-4f, 2e-3f},
    {"softmax odd", Family::kSoftmax, true, {2, 2, 70, 200, 37, 75, true}, 0, true, true, 1, 5e-6f, 2e-5f},
    {"softmax more queries", Family::kSoftmax, true, {1, 1, 200, 70, 20, 7, true}, 0, false, false, 0, 2e-6f, 2e-5f},
    {"softmax 128", Family::kSoftmax, true, {1, 1, 65, 150, 128, 128, true}, 0, false, true, 0, 2e-6f, 2e-5f},
    {"softmax 256", Family::kSoftmax, true, {1, 1, 64, 150, 255, 256, true}, 0, true, false, 0, 2e-6f, 2e-5f},
    {"softmax 256 fast", Family::kSoftmax, false, {1, 1, 64, 150, 255, 256, true}, 0, true, false, 0, 6e-4f, 2e-3f},
    {"softmax 128 fast", Family::kSoftmax, false, {1, 1, 65, 150, 128, 300, true}, 0, true, false, 0, 6e-4f, 2e-3f},
    {"parallax", Family::kParallax, true, {1, 2, 130, 130, 64, 64, true}, 0, false, false, 0, 3e-6f, 2e-5f},
    {"parallax fast odd", Family::kParallax, false, {2, 2, 70, 200, 37, 75, true}, 0, true, true, 0, 1e-3f, 2e-3f},
    {"parallax 128", Family::kParallax, true, {1, 1, 65, 150, 128, 128, false}, 0, true, false, 0, 3e-6f, 2e-5f},
    {"parallax 256", Family::kParallax, true, {1, 1, 64, 150, 256, 256, true}, 0, false, false, 0, 3e-6f, 2e-5f},
    {"local linear", Family::kLocalLinear, true, {1, 1, 130, 130, 64, 64, true}, 10, false, false, 0, 1e-5f, 2e-5f},
    {"local linear ridge per row",
     Family::kLocalLinear,
     true,
     {1, 1, 130, 260, 64, 64, true},
     0,
     false,
     false,
     0,
     2e-5f,
     2e-5f},
    {"local linear ridge 0.1",
     Family::kLocalLinear,
     true,
     {1, 1, 70, 130, 64, 64, true},
     0.1f,
     false,
     false,
     0,
     5e-5f,
     2e-5f},
    {"local linear fast",
     Family::kLocalLinear,
     false,
     {1, 1, 300, 300, 64, 64, true},
     10,
     false,
     false,
     0,
     1e-3f,
     2e-3f},
    {"local linear odd", Family::kLocalLinear, true, {2, 2, 70, 200, 37, 75, true}, 1, true, true, 2, 3e-5f, 2e-5f},
    {"local linear full", Family::kLocalLinear, true, {1, 1, 50, 200, 32, 32, false}, 1, true, false, 0, 2e-5f, 2e-5f},
    {"local linear more queries",
     Family::kLocalLinear,
     true,
     {1, 1, 140, 70, 20, 7, true},
     1,
     false,
     false,
     0,
     2e-5f,
     2e-5f},
    {"local linear 128",
     Family::kLocalLinear,
     true,
     {1, 1, 65, 150, 128, 128, true},
     10,
     false,
     false,
     0,
     2e-5f,
     2e-5f},
    {"local linear 128 fast",
     Family::kLocalLinear,
     false,
     {1, 1, 64, 400, 128, 128, false},
     10,
     false,
     false,
     0,
     1e-3f,
     2e-3f},
    {"local linear 256", Family::kLocalLinear, true, {1, 1, 40, 100, 250, 100, true}, 10, true, false, 0, 2e-5f, 2e-5f},
    {"local linear 256 fast",
     Family::kLocalLinear,
     false,
     {1, 1, 40, 300, 256, 256, false},
     10,
     false,
     true,
     0,
     1e-3f,
     2e-3f},
};
