// Runs the CUDA kernels of the forward pass in the emulator, and holds them to the reference in double.
#include <cstdio>

#include "cases.h"

int main(int argc, char** argv) {
  bool failed = false;
  for (const Case& c : kCases) {
    if (argc > 1 && std::string(c.name).find(argv[1]) == std::string::npos) continue;
    const Inputs in = MakeInputs(c, 1);
    const Sizes& s = c.sizes;
    const size_t rows = static_cast<size_t>(s.heads) * s.queries;
    try {
      Call call(c, in);
      tfjs_lla::emulator::GuardedMemory out(rows * s.value_dim * 4), probe_out(rows * s.dim * 4);
      const auto iterations = Copy(std::vector<int>((s.queries + 63) / 64 * s.heads, 0));
      call.params.out = reinterpret_cast<float*>(out.data());
      call.params.probe_out = reinterpret_cast<float*>(probe_out.data());
      call.params.iterations = Address<int>(iterations);
      call.Run([](tfjs_lla::ProbePlanner& planner) { return planner.Forward(); });
      const double error = RelativeError(call.params.out, ReferenceForward(in, c.family));
      const bool good = error <= Bar(c.bar);
      failed |= !good;
      std::printf("%-28s %s error %.1e (bar %.0e) iterations %d\n", c.name, good ? "ok  " : "FAIL", error, Bar(c.bar),
                  *std::max_element(call.params.iterations, call.params.iterations + (s.queries + 63) / 64 * s.heads));
    } catch (const std::runtime_error& e) {
      failed = true;
      std::printf("%-28s FAIL %s\n", c.name, e.what());
    }
    std::fflush(stdout);
  }
  return failed ? 1 : 0;
}
