// Runs the CUDA kernels of the gradient in the emulator, and holds them to the reference in double. The probe of local
// linear attention is the reference's, in float32, as if the forward pass had found it.
#include <cstdio>

#include "cases.h"

int main(int argc, char** argv) {
  using tfjs_lla::emulator::GuardedMemory;
  bool failed = false;
  for (const Case& c : kCases) {
    if (argc > 1 && std::string(c.name).find(argv[1]) == std::string::npos) continue;
    const Sizes& s = c.sizes;
    if (s.value_dim > 256) continue;
    Inputs in = MakeInputs(c, 1);
    const size_t rows = static_cast<size_t>(s.heads) * s.queries, keys = static_cast<size_t>(s.heads) * s.keys;
    std::mt19937 random(2);
    // Small, as gradients are.
    std::normal_distribution<float> normal(0, 1e-4f);
    std::vector<float> cotangent(rows * s.value_dim);
    for (float& x : cotangent) x = normal(random);
    const GradientReference wanted = ReferenceGradient(in, c.family, cotangent);
    if (c.family == Family::kLocalLinear) {
      for (size_t i = 0; i < rows; i++) {
        const std::vector<double> x =
            ReferenceRow(in, c.family, static_cast<int>(i / s.queries), static_cast<int>(i % s.queries)).probe;
        in.probe.insert(in.probe.end(), x.begin(), x.end());
      }
    }
    try {
      Call call(c, in);
      const auto dout = Copy(cotangent);
      GuardedMemory dquery(rows * s.dim * 4), dkey(keys * s.dim * 4), dvalue(keys * s.value_dim * 4), dbias(keys * 4),
          dprobe(rows * s.dim * 4), dridge(rows * 4);
      call.params.dout = Address<float>(dout);
      call.params.dquery = reinterpret_cast<float*>(dquery.data());
      call.params.dkey = reinterpret_cast<float*>(dkey.data());
      call.params.dvalue = reinterpret_cast<float*>(dvalue.data());
      call.params.dbias = reinterpret_cast<float*>(dbias.data());
      call.params.dprobe = reinterpret_cast<float*>(dprobe.data());
      call.params.dridge = reinterpret_cast<float*>(dridge.data());
      call.Run([](tfjs_lla::ProbePlanner& planner) { return planner.Gradient(); });
      const std::pair<const char*, double> errors[] = {{"dquery", RelativeError(call.params.dquery, wanted.dquery)},
                                                       {"dkey", RelativeError(call.params.dkey, wanted.dkey)},
                                                       {"dvalue", RelativeError(call.params.dvalue, wanted.dvalue)},
                                                       {"dbias", RelativeError(call.params.dbias, wanted.dbias)},
                                                       {"dprobe", RelativeError(call.params.dprobe, wanted.dprobe)},
                                                       {"dridge", RelativeError(call.params.dridge, wanted.dridge)}};
      bool good = true;
      for (const auto& [name, error] : errors) good &= error <= Bar(c.gradient_bar);
      failed |= !good;
      std::printf("%-28s %s (bar %.0e)", c.name, good ? "ok  " : "FAIL", Bar(c.gradient_bar));
      for (const auto& [name, error] : errors) std::printf(" %s %.1e", name, error);
      std::printf("\n");
    } catch (const std::runtime_error& e) {
      failed = true;
      std::printf("%-28s FAIL %s\n", c.name, e.what());
    }
    std::fflush(stdout);
  }
  return failed ? 1 : 0;
}
