// Calls of the kernels of softmax, Parallax and local linear attention.
#pragma once

#include <memory>

#include "inputs.h"
#include "kernels.h"

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
    for (const auto& launch : plan(planner).launches) emulator::Run(launch, FindKernel(launch.entry));
  }
};

inline const Case kCases[] = {
    // name, family, high, {batch, heads, queries, keys, dim, value_dim, causal}, ridge, mask, bias, mean, bar,
    // gradient_bar
    {"softmax", Family::kSoftmax, true, {1, 2, 130, 130, 64, 64, true}, 0, false, false, 0, 2e-6f, 2e-5f},
    {"softmax fast", Family::kSoftmax, false, {1, 1, 130, 130, 64, 64, false}, 0, false, false, 0, 6e-4f, 2e-3f},
    {"softmax odd", Family::kSoftmax, true, {2, 2, 70, 200, 37, 75, true}, 0, true, true, 1, 5e-6f, 2e-5f},
    {"softmax more queries", Family::kSoftmax, true, {1, 1, 200, 70, 20, 7, true}, 0, false, false, 0, 2e-6f, 2e-5f},
    // Gradients of queries and keys are zero but for rounding.
    {"softmax one visible key", Family::kSoftmax, true, {1, 2, 111, 4, 16, 16, false}, 0, true, false, 1, 2e-6f, 2e-5f},
    {"parallax one visible key", Family::kParallax, false, {1, 2, 111, 4, 16, 16, true}, 0, true, false, 1, 1e-3f, 2e-3f},
    {"local linear one visible key",
     Family::kLocalLinear,
     true,
     {1, 2, 111, 4, 16, 16, true},
     1e-4f,
     true,
     false,
     1,
     2e-5f,
     2e-5f},
    {"softmax 128", Family::kSoftmax, true, {1, 1, 65, 150, 128, 128, true}, 0, false, true, 0, 2e-6f, 2e-5f},
    {"softmax 256", Family::kSoftmax, true, {1, 1, 64, 150, 255, 256, true}, 0, true, false, 0, 2e-6f, 2e-5f},
    {"softmax 256 fast", Family::kSoftmax, false, {1, 1, 64, 150, 255, 256, true}, 0, true, false, 0, 6e-4f, 2e-3f},
    {"softmax 128 fast", Family::kSoftmax, false, {1, 1, 65, 150, 128, 300, true}, 0, true, false, 0, 6e-4f, 2e-3f},
    // The mask leaves one key: nothing is left of its gradient, which is a difference.
    {"softmax one channel and key", Family::kSoftmax, true, {1, 16, 111, 4, 1, 3, false}, 0, true, false, 0, 2e-6f, 2e-5f},
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
    // Two iterations a dimension are six.
    {"local linear few dimensions",
     Family::kLocalLinear,
     true,
     {2, 4, 33, 33, 3, 4, false},
     0.05f,
     false,
     false,
     0,
     2e-5f,
     2e-5f,
     tfjs_lla::kNeverDirect,
     KeyKind::kRepeated,
     1,
     0,
     6},
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
