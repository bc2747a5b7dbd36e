// Runs the CUDA kernels of local linear attention with the direct solver in the emulator, forward pass and gradient, and holds
// them to the reference in double where float32 alone would not do: small ridges, few keys, equal keys, scores of 50.
#include <cstdio>

#include "cases.h"

namespace {

using tfjs_lla::kAllDirect;
using tfjs_lla::kMissedDirect;
constexpr Family kFamily = Family::kLocalLinear;
constexpr float kCotangent = 1e-4f;  // small, as gradients are

const Case kDirectCases[] = {
    // name, family, high, {batch, heads, queries, keys, dim, value_dim, causal}, ridge, mask, bias, mean, bar,
    // gradient_bar, rows, keys, query_factor
    {"ridge 1", kFamily, true, {1, 2, 70, 70, 64, 64, true}, 1, false, false, 0, 2e-6f, 2e-6f, kAllDirect},
    {"ridge 1e-4", kFamily, true, {1, 1, 111, 111, 64, 60, true}, 1e-4f, false, false, 0, 1e-6f, 5e-6f, kAllDirect},
    {"ridge 1e-4 masked", kFamily, true, {2, 2, 70, 100, 37, 75, true}, 1e-4f, true, true, 1, 1e-6f, 5e-6f, kAllDirect},
    {"few dimensions", kFamily, true, {1, 2, 33, 33, 3, 4, true}, 1e-4f, false, false, 0, 1e-6f, 5e-6f, kAllDirect},
    {"ridge 1e-6", kFamily, true, {1, 1, 70, 150, 64, 64, true}, 1e-6f, false, false, 0, 1e-6f, 5e-6f, kAllDirect},
    {"one key", kFamily, true, {2, 2, 1, 1, 1, 1, true}, 1e-4f, false, false, 0, 1e-6f, 5e-6f, kAllDirect},
    {"more queries", kFamily, true, {1, 1, 140, 70, 20, 7, true}, 1e-3f, false, false, 0, 1e-6f, 5e-6f, kAllDirect},
    {"100", kFamily, true, {1, 1, 33, 111, 100, 5, false}, 0.2f, true, true, 0, 1e-6f, 5e-6f, kAllDirect},
    {"256", kFamily, true, {1, 1, 20, 300, 250, 256, true}, 1e-2f, true, false, 0, 1e-6f, 5e-6f, kAllDirect},
    {"long values", kFamily, true, {1, 1, 20, 60, 20, 300, true}, 1e-2f, true, false, 0, 1e-6f, 5e-6f, kAllDirect},
    {"repeated keys", kFamily, true, {1, 2, 60, 111, 64, 60, true}, 1e-4f, false, false, 0, 1e-6f, 1e-4f, kAllDirect,
     KeyKind::kRepeated},
    {"equal keys", kFamily, true, {1, 1, 60, 60, 16, 16, true}, 1e-4f, false, false, 0, 1e-6f, 5e-6f, kAllDirect,
     KeyKind::kEqual},
    {"correlated keys", kFamily, true, {1, 1, 60, 200, 64, 64, true}, 1e-4f, false, false, 1, 1e-6f, 5e-6f, kAllDirect,
     KeyKind::kCorrelated},
    {"scores of 50", kFamily, true, {1, 1, 60, 111, 64, 60, true}, 0.2f, true, true, 0, 1e-6f, 5e-6f, kAllDirect,
     KeyKind::kNormal, 10},
    {"scores of 50, ridge 1e-4", kFamily, true, {1, 1, 33, 33, 3, 4, false}, 1e-4f, false, true, 0, 1e-6f, 5e-6f, kAllDirect,
     KeyKind::kNormal, 10},
    {"auto, small ridges", kFamily, true, {1, 2, 130, 130, 64, 64, true}, 0, true, true, 0, 2e-6f, 5e-6f, kMissedDirect,
     KeyKind::kNormal, 1, 7},
    {"auto, all small", kFamily, true, {1, 1, 70, 100, 20, 20, true}, 1e-4f, false, false, 0, 2e-6f, 5e-6f, kMissedDirect},
    {"auto, no iterations left", kFamily, true, {1, 1, 70, 100, 64, 64, true}, 0.1f, false, false, 0, 2e-6f, 5e-6f,
     kMissedDirect, KeyKind::kNormal, 1, 0, 5},
    {"auto fast", kFamily, false, {1, 1, 100, 300, 64, 64, true}, 0, false, false, 0, 1e-3f, 2e-3f, kMissedDirect,
     KeyKind::kNormal, 1, 3},
    {"auto, scores of 50", kFamily, true, {1, 1, 33, 111, 100, 5, true}, 0.2f, true, true, 0, 1e-4f, 5e-4f, kMissedDirect,
     KeyKind::kNormal, 10},
    {"auto, scores of 50, D 3", kFamily, true, {1, 2, 33, 33, 3, 4, false}, 0.2f, true, true, 0, 2e-5f, 5e-5f, kMissedDirect,
     KeyKind::kNormal, 10},
    {"auto, none", kFamily, true, {1, 1, 70, 130, 64, 64, true}, 1, false, false, 0, 2e-6f, 5e-6f, kMissedDirect},
};

double Forward(const Case& c, const Inputs& in, std::vector<float>& probe) {
  using tfjs_lla::emulator::GuardedMemory;
  const Sizes& s = in.sizes;
  const size_t rows = static_cast<size_t>(s.heads) * s.queries;
  Call call(c, in);
  GuardedMemory out(rows * s.value_dim * 4), probe_out(rows * s.dim * 4);
  call.params.out = reinterpret_cast<float*>(out.data());
  call.params.probe_out = reinterpret_cast<float*>(probe_out.data());
  call.Run([](tfjs_lla::ProbePlanner& planner) { return planner.Forward(); });
  probe.assign(call.params.probe_out, call.params.probe_out + rows * s.dim);
  return RelativeError(call.params.out, ReferenceForward(in, c.family));
}

// As RelativeError, but never relative to less than a thousandth of the terms that may have cancelled.
double ErrorOf(const float* got, std::vector<double> wanted, double terms) {
  double size = 0;
  for (const double x : wanted) size += x * x;
  const double least = 1e-3 * terms * std::sqrt(static_cast<double>(wanted.size()));
  return RelativeError(got, wanted) * (size > 0 ? std::sqrt(size) / std::max(std::sqrt(size), least) : 1 / least);
}

std::vector<std::pair<const char*, double>> Gradient(const Case& c, Inputs in, const std::vector<float>& probe) {
  using tfjs_lla::emulator::GuardedMemory;
  const Sizes& s = in.sizes;
  const size_t rows = static_cast<size_t>(s.heads) * s.queries, keys = static_cast<size_t>(s.heads) * s.keys;
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0, kCotangent);
  std::vector<float> cotangent(rows * s.value_dim);
  for (float& x : cotangent) x = normal(random);
  const GradientReference wanted = ReferenceGradient(in, c.family, cotangent);
  in.probe = probe;
  Call call(c, in);
  const auto dout = Copy(cotangent);
  GuardedMemory dquery(rows * s.dim * 4), dkey(keys * s.dim * 4), dvalue(keys * s.value_dim * 4), dbias(keys * 4),
      dridge(rows * 4);
  call.params.dout = Address<float>(dout);
  call.params.dquery = reinterpret_cast<float*>(dquery.data());
  call.params.dkey = reinterpret_cast<float*>(dkey.data());
  call.params.dvalue = reinterpret_cast<float*>(dvalue.data());
  call.params.dbias = reinterpret_cast<float*>(dbias.data());
  call.params.dridge = reinterpret_cast<float*>(dridge.data());
  call.Run([](tfjs_lla::ProbePlanner& planner) { return planner.Gradient(); });
  return {{"dquery", ErrorOf(call.params.dquery, wanted.dquery, kCotangent)},
          {"dkey", ErrorOf(call.params.dkey, wanted.dkey, kCotangent)},
          {"dvalue", ErrorOf(call.params.dvalue, wanted.dvalue, kCotangent)},
          {"dbias", ErrorOf(call.params.dbias, wanted.dbias, kCotangent)},
          {"dridge", ErrorOf(call.params.dridge, wanted.dridge, kCotangent)}};
}

}  // namespace

int main(int argc, char** argv) {
  bool failed = false;
  for (const Case& c : kDirectCases) {
    if (argc > 1 && std::string(c.name).find(argv[1]) == std::string::npos) continue;
    const Inputs in = MakeInputs(c, 1);
    try {
      std::vector<float> probe;
      const double error = Forward(c, in, probe);
      bool good = error <= Bar(c.bar);
      std::vector<std::pair<const char*, double>> errors;
      std::string line;
      // The gradient takes values of up to 256 numbers.
      if (c.sizes.value_dim <= 256) errors = Gradient(c, in, probe);
      for (const auto& [name, gradient_error] : errors) {
        good &= gradient_error <= Bar(c.gradient_bar);
        char text[64];
        std::snprintf(text, sizeof text, " %s %.1e", name, gradient_error);
        line += text;
      }
      failed |= !good;
      std::printf("%-32s %s error %.1e (bar %.0e)%s (bar %.0e)\n", c.name, good ? "ok  " : "FAIL", error, Bar(c.bar), line.c_str(),
                  Bar(c.gradient_bar));
    } catch (const std::runtime_error& e) {
      failed = true;
      std::printf("%-32s FAIL %s\n", c.name, e.what());
    }
    std::fflush(stdout);
  }
  return failed ? 1 : 0;
}
