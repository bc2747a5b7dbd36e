// Runs the CUDA kernels of linear attention in the emulator, and holds them to the reference in double.
#include <cstdio>

#include "chunk_cases.h"
#include "linear_attention/cuda/linear_plan.h"

namespace {

using namespace tfjs_lla;

struct LinearCase {
  const char* name;
  bool high;
  Sizes sizes;
  int map;
  bool normalize, mask;
};

const LinearCase kLinearCases[] = {
    // name, high, {batch, heads, queries, keys, dim, value_dim, causal}, map, normalize, mask
    {"linear", true, {1, 2, 300, 300, 64, 64, true}, kFeatureEluPlusOne, true, false},
    {"linear fast", false, {1, 1, 200, 200, 64, 64, true}, kFeatureEluPlusOne, true, false},
    {"linear odd", true, {2, 2, 70, 200, 37, 75, true}, kFeatureEluPlusOne, true, true},
    {"linear full", true, {1, 1, 70, 300, 20, 130, false}, kFeatureRelu, false, true},
    {"linear more queries", true, {1, 1, 330, 140, 5, 7, true}, kFeatureRelu, true, false},
    {"linear identity", true, {1, 1, 140, 140, 100, 32, true}, kFeatureIdentity, false, true},
    {"linear 256", true, {1, 1, 65, 260, 255, 256, true}, kFeatureEluPlusOne, true, false},
    {"linear 256 fast", false, {1, 1, 40, 70, 200, 129, false}, kFeatureEluPlusOne, false, false},
};

}  // namespace

int main(int argc, char** argv) {
  bool failed = false;
  for (const LinearCase& c : kLinearCases) {
    if (argc > 1 && std::string(c.name).find(argv[1]) == std::string::npos) continue;
    const Inputs in = MakeInputs({c.name, Family::kSoftmax, c.high, c.sizes, 0, c.mask, false, 0, 0, 0}, 1);
    const std::vector<float> cotangent = MakeCotangent(c.sizes);
    ChunkMemory memory(in, cotangent);
    memory.call.map = c.map;
    memory.call.normalize = c.normalize;
    const auto start = [&](bool gradient) {
      RunPlan([&](char* scratch) {
        LinearPlanner planner(memory.call, c.high, scratch);
        return gradient ? planner.Gradient() : planner.Forward();
      });
    };
    const ChunkReference wanted = LinearReference(in, c.map, c.normalize, cotangent);
    failed |= !Judge(
        c.name, c.high ? 5e-6 : 2e-3, [&] { start(false), start(true); },
        [&] {
          return std::vector<Result>{{"out", RelativeError(memory.call.out, wanted.out)},
                                     {"dquery", RelativeError(memory.call.dquery, wanted.dquery)},
                                     {"dkey", RelativeError(memory.call.dkey, wanted.dkey)},
                                     {"dvalue", RelativeError(memory.call.dvalue, wanted.dvalue)}};
        });
  }
  failed |= !JudgeBadValues([](ChunkMemory& memory, bool gradient) {
    memory.call.normalize = 1;
    RunPlan([&](char* scratch) {
      LinearPlanner planner(memory.call, true, scratch);
      return gradient ? planner.Gradient() : planner.Forward();
    });
  });
  return failed ? 1 : 0;
}
