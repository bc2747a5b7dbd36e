// Runs the CUDA kernels of the forward pass in the emulator, and holds them to the reference in double.
#include <cstdio>
#include <memory>
#include <random>

#include "emulator.h"
#include "kernels.h"
#include "reference.h"

namespace {

struct Case {
  const char* name;
  Family family;
  bool high;
  Sizes sizes;
  float ridge;        // of the first row; 0: a ridge per row, about 1
  bool mask, bias;
  float mean;         // added to every key
  float bar;          // relative L2 error
};

Inputs MakeInputs(const Case& c, unsigned seed) {
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
  fill(in.value, static_cast<size_t>(s.heads) * s.keys * s.value_dim, 0);
  if (c.family == Family::kParallax) {
    fill(in.probe, in.query.size(), 0);
    for (float& x : in.probe) x *= 0.1f;
  }
  if (c.family == Family::kLocalLinear && c.ridge == 0) {
    in.ridge.resize(static_cast<size_t>(s.heads) * s.queries);
    for (float& x : in.ridge) x = 0.5f + std::fabs(normal(random));
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

std::vector<float> Run(const Case& c, const Inputs& in, int& iterations) {
  using namespace tfjs_lla;
  const Sizes& s = c.sizes;
  const auto query = Copy(in.query), key = Copy(in.key), value = Copy(in.value), probe = Copy(in.probe),
             ridge = Copy(in.ridge), bias = Copy(in.bias), mask = Copy(in.mask);
  const size_t rows = static_cast<size_t>(s.heads) * s.queries;
  emulator::GuardedMemory out(rows * s.value_dim * 4), probe_out(rows * s.dim * 4);
  std::vector<int> counts((s.queries + 63) / 64 * s.heads, 0);
  ProbeParams p{};
  p.query = Address<float>(query);
  p.key = Address<float>(key);
  p.value = Address<float>(value);
  p.key_mask = Address<unsigned char>(mask);
  p.key_bias = Address<float>(bias);
  p.probe = Address<float>(probe);
  p.ridge = Address<float>(ridge);
  p.out = reinterpret_cast<float*>(out.data());
  p.probe_out = reinterpret_cast<float*>(probe_out.data());
  p.iterations = counts.data();
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
  p.max_iterations = 8 * s.dim;
  const ProbeSource source = c.family == Family::kSoftmax    ? kNoProbe
                             : c.family == Family::kParallax ? kGivenProbe
                                                             : kSolvedProbe;
  emulator::GuardedMemory scratch(ProbePlanner(p, source, c.high, nullptr).Forward().scratch_bytes);
  for (const ProbeLaunch& launch : ProbePlanner(p, source, c.high, scratch.data()).Forward().launches) {
    const Kernel kernel = FindKernel(launch.entry);
    emulator::Launch(launch.blocks, launch.threads, launch.shared_bytes, [&] { kernel(launch.params); });
  }
  iterations = 0;
  for (int count : counts) iterations = std::max(iterations, count);
  const float* numbers = reinterpret_cast<const float*>(out.data());
  return std::vector<float>(numbers, numbers + rows * s.value_dim);
}

const Case kCases[] = {
    // name, family, high, {batch, heads, queries, keys, dim, value_dim, causal}, ridge, mask, bias, mean, bar
    {"softmax", Family::kSoftmax, true, {1, 2, 130, 130, 64, 64, true}, 0, false, false, 0, 2e-6f},
    {"softmax fast", Family::kSoftmax, false, {1, 1, 130, 130, 64, 64, false}, 0, false, false, 0, 6e-4f},
    {"softmax odd", Family::kSoftmax, true, {2, 2, 70, 200, 37, 75, true}, 0, true, true, 1, 5e-6f},
    {"softmax more queries", Family::kSoftmax, true, {1, 1, 200, 70, 20, 7, true}, 0, false, false, 0, 2e-6f},
    {"softmax 128", Family::kSoftmax, true, {1, 1, 65, 150, 128, 128, true}, 0, false, true, 0, 2e-6f},
    {"softmax 256", Family::kSoftmax, true, {1, 1, 64, 150, 255, 256, true}, 0, true, false, 0, 2e-6f},
    {"softmax 256 fast", Family::kSoftmax, false, {1, 1, 64, 150, 255, 256, true}, 0, true, false, 0, 6e-4f},
    {"softmax 128 fast", Family::kSoftmax, false, {1, 1, 65, 150, 128, 300, true}, 0, true, false, 0, 6e-4f},
    {"parallax", Family::kParallax, true, {1, 2, 130, 130, 64, 64, true}, 0, false, false, 0, 3e-6f},
    {"parallax fast odd", Family::kParallax, false, {2, 2, 70, 200, 37, 75, true}, 0, true, true, 0, 1e-3f},
    {"parallax 128", Family::kParallax, true, {1, 1, 65, 150, 128, 128, false}, 0, true, false, 0, 3e-6f},
    {"parallax 256", Family::kParallax, true, {1, 1, 64, 150, 256, 256, true}, 0, false, false, 0, 3e-6f},
    {"local linear", Family::kLocalLinear, true, {1, 1, 130, 130, 64, 64, true}, 10, false, false, 0, 1e-5f},
    {"local linear ridge per row", Family::kLocalLinear, true, {1, 1, 130, 260, 64, 64, true}, 0, false, false, 0, 2e-5f},
    {"local linear ridge 0.1", Family::kLocalLinear, true, {1, 1, 70, 130, 64, 64, true}, 0.1f, false, false, 0, 5e-5f},
    {"local linear fast", Family::kLocalLinear, false, {1, 1, 300, 300, 64, 64, true}, 10, false, false, 0, 1e-3f},
    {"local linear odd", Family::kLocalLinear, true, {2, 2, 70, 200, 37, 75, true}, 1, true, true, 2, 3e-5f},
    {"local linear full", Family::kLocalLinear, true, {1, 1, 50, 200, 32, 32, false}, 1, true, false, 0, 2e-5f},
    {"local linear more queries", Family::kLocalLinear, true, {1, 1, 140, 70, 20, 7, true}, 1, false, false, 0, 2e-5f},
    {"local linear 128", Family::kLocalLinear, true, {1, 1, 65, 150, 128, 128, true}, 10, false, false, 0, 2e-5f},
    {"local linear 128 fast", Family::kLocalLinear, false, {1, 1, 64, 400, 128, 128, false}, 10, false, false, 0, 1e-3f},
    {"local linear 256", Family::kLocalLinear, true, {1, 1, 40, 100, 250, 100, true}, 10, true, false, 0, 2e-5f},
    {"local linear 256 fast", Family::kLocalLinear, false, {1, 1, 40, 300, 256, 256, false}, 10, false, true, 0, 1e-3f},
};

}  // namespace

int main(int argc, char** argv) {
  bool failed = false;
  for (const Case& c : kCases) {
    if (argc > 1 && std::string(c.name).find(argv[1]) == std::string::npos) continue;
    const Inputs in = MakeInputs(c, 1);
    int iterations = 0;
    double error = 0, size = 0;
    try {
      const std::vector<float> out = Run(c, in, iterations);
      const std::vector<double> wanted = ReferenceForward(in, c.family);
      for (size_t i = 0; i < out.size(); i++) {
        error += (out[i] - wanted[i]) * (out[i] - wanted[i]);
        size += wanted[i] * wanted[i];
      }
      error = std::sqrt(error / size);
      const bool good = error <= c.bar;
      failed |= !good;
      std::printf("%-28s %s error %.1e (bar %.0e) iterations %d\n", c.name, good ? "ok  " : "FAIL", error, c.bar, iterations);
    } catch (const std::runtime_error& e) {
      failed = true;
      std::printf("%-28s FAIL %s\n", c.name, e.what());
    }
    std::fflush(stdout);
  }
  return failed ? 1 : 0;
}
