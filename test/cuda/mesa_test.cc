// Runs the CUDA kernels of mesa attention in the emulator, and holds them to the reference in double. The gradient gets
// the reference's solutions, in float32, as if the forward pass had found them.
#include <cstdio>

#include "chunk_cases.h"
#include "mesa_attention/cuda/mesa_attention.cu"
#include "mesa_attention/cuda/mesa_plan.h"

namespace {

using namespace tfjs_lla;

struct MesaCase {
  const char* name;
  Sizes sizes;
  float ridge;  // of all channels; 0: one per head and channel, about 1
  bool mask;
  float common;  // of every key that is the same vector
  double bar, gradient_bar;
};

const MesaCase kMesaCases[] = {
    // name, {batch, heads, queries, keys, dim, value_dim, causal}, ridge, mask, common, bar, gradient_bar
    {"mesa", {1, 2, 300, 300, 64, 64, true}, 0, false, 0, 1e-5, 1e-5},
    {"mesa odd", {2, 2, 70, 200, 37, 75, true}, 0, true, 0, 1e-5, 1e-5},
    {"mesa full", {2, 4, 70, 300, 20, 130, false}, 0, true, 0, 1e-5, 1e-5},
    {"mesa more queries", {1, 1, 330, 140, 5, 7, true}, 1, false, 0, 1e-5, 1e-5},
    {"mesa ridge 0.1", {1, 1, 160, 160, 64, 64, true}, 0.1f, false, 0, 5e-5, 5e-5},
    {"mesa ridge 0.01", {1, 1, 160, 160, 64, 64, true}, 0.01f, false, 0, 3e-4, 3e-3},
    {"mesa correlated", {1, 1, 160, 160, 64, 64, true}, 0.1f, false, 0.7f, 5e-4, 5e-4},
    {"mesa 128", {1, 1, 140, 140, 100, 32, true}, 1, true, 0, 2e-5, 2e-5},
    {"mesa 256", {1, 1, 65, 260, 255, 256, true}, 1, false, 0, 2e-5, 2e-5},
    {"mesa 256 full", {1, 1, 20, 70, 200, 129, false}, 1, false, 0, 1e-4, 1e-4},
};

}  // namespace

int main(int argc, char** argv) {
  ChunkKernels().insert({CHUNK_KERNEL(mesa_prepare_ridge) CHUNK_KERNEL(mesa_prepare_rows) CHUNK_KERNEL(mesa_factor)
                             CHUNK_KERNEL(mesa_solve) CHUNK_KERNEL(mesa_sum_ridge_gradient)});
  bool failed = false;
  for (const MesaCase& c : kMesaCases) {
    if (argc > 1 && std::string(c.name).find(argv[1]) == std::string::npos) continue;
    Inputs in = MakeInputs({c.name, Family::kSoftmax, true, c.sizes, 0, c.mask, false, 0, 0, 0}, 1);
    const Sizes& s = c.sizes;
    if (c.common > 0) {
      for (size_t i = 0; i < in.key.size(); i++)
        in.key[i] = (1 - c.common) * in.key[i] + c.common * in.key[i % s.dim] + 2;
    }
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    std::vector<float> ridge(s.heads / s.batch * s.dim);
    for (float& x : ridge) x = c.ridge > 0 ? c.ridge : 0.5f + std::fabs(normal(random));
    const std::vector<float> cotangent = MakeCotangent(s);
    const MesaReference wanted = ReferenceMesa(in, ridge, cotangent);
    ChunkMemory memory(in, cotangent);
    const auto given = Copy(ridge);
    const auto probe_out = ChunkMemory::Unwritten(in.query.size());
    const auto dridge = ChunkMemory::Unwritten(ridge.size());
    const auto probe = Copy(std::vector<float>(wanted.probe.begin(), wanted.probe.end()));
    if (c.ridge == 0) memory.call.ridge = Address<float>(given);
    memory.call.ridge_value = c.ridge;
    memory.call.probe_out = Address<float>(probe_out);
    memory.call.probe = Address<float>(probe);
    memory.call.dridge = Address<float>(dridge);
    const auto start = [&](bool gradient) {
      RunPlan([&](char* scratch) {
        MesaPlanner planner(memory.call, scratch);
        return gradient ? planner.Gradient() : planner.Forward();
      });
    };
    failed |= !Judge(
        c.name, c.bar, [&] { start(false); },
        [&] {
          return std::vector<Result>{{"out", RelativeError(memory.call.out, wanted.out)},
                                     {"probe", RelativeError(memory.call.probe_out, wanted.probe)}};
        });
    failed |= !Judge(
        "", c.gradient_bar, [&] { start(true); },
        [&] {
          return std::vector<Result>{{"dquery", RelativeError(memory.call.dquery, wanted.dquery)},
                                     {"dkey", RelativeError(memory.call.dkey, wanted.dkey)},
                                     {"dvalue", RelativeError(memory.call.dvalue, wanted.dvalue)},
                                     {"dridge", RelativeError(memory.call.dridge, wanted.dridge)}};
        });
  }
  // A third kind of badness: a ridge of one head.
  for (const bool bad_ridge : {false, true}) {
    std::vector<float> ridge(2 * 20, 1.0f);
    if (bad_ridge) ridge[25] = -1;
    const auto run = [&](ChunkMemory& memory, bool gradient) {
      const auto given = Copy(ridge), probe_out = ChunkMemory::Unwritten(2 * 100 * 20),
                 dridge = ChunkMemory::Unwritten(ridge.size());
      memory.call.ridge = Address<float>(given);
      memory.call.probe_out = Address<float>(probe_out);
      memory.call.dridge = Address<float>(dridge);
      RunPlan([&](char* scratch) {
        MesaPlanner planner(memory.call, scratch);
        return gradient ? planner.Gradient() : planner.Forward();
      });
      const bool good =
          !gradient || NanExactly(memory.call.dridge, 2, 20, [&](int head) { return head == 0 || bad_ridge; });
      failed |= !good;
      if (gradient) std::printf("%-28s %s\n", "gradients of ridges", good ? "ok" : "FAIL");
    };
    failed |= !JudgeBadValues(run, bad_ridge);
  }
  return failed ? 1 : 0;
}
