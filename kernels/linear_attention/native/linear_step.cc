// A step of linear attention over the sums that its cache holds.
#include <math.h>

#include "common/native/state_step.h"
#include "common/native/tasks.h"
#include "linear_attention/native/linear_options.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {
namespace {

void ToWideFeatures(FeatureMap map, double* row, int64_t n) {
  if (map == FeatureMap::kIdentity) return;
  for (int64_t d = 0; d < n; d++) {
    const double x = row[d];
    if (map == FeatureMap::kRelu) row[d] = x > 0 ? x : 0;
    else row[d] = x > 0 ? x + 1 : exp(x);
  }
}

}  // namespace

void LinearStep(const StateStep& step, const LinearOptions& options, float* out, Executor& executor) {
  const Dims& dims = step.problem.dims;
  const int64_t doubles = StateRows::Doubles(dims, dims.D);
  double* memory = AllocateArray<double>(executor, executor.workers() * doubles);
  auto run = [&](int worker, int64_t head) {
    StateRows rows;
    rows.Load(step, head, dims.D, memory + worker * doubles);
    for (int64_t i = 0; i < dims.Tq; i++) {
      if (rows.LoadKey(i)) {
        ToWideFeatures(options.feature_map, rows.key, dims.D);
        AddScaled(rows.left_sum, 1, rows.key, dims.D);
        rows.AddOuter(rows.key_value_sum, rows.key, rows.value, dims.Dv);
      }
      const RowState state = rows.LoadQuery(i);
      ToWideFeatures(options.feature_map, rows.query, dims.D);
      const double normalizer = Dot(rows.query, rows.left_sum, dims.D);
      const double factor = !options.normalize ? options.scale : normalizer == 0 ? 0 : 1 / normalizer;
      rows.Write(state, i, rows.query, state == kOrdinary ? factor : 1, out);
    }
    rows.Store();
  };
  ForEach(executor, dims.heads, run);
}

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
