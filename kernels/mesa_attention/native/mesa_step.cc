// A step of mesa attention over the sums that its cache holds: the system of the first row is factored, each further key
// updates the factor.
#include "common/native/definite.h"
#include "common/native/state_step.h"
#include "common/native/tasks.h"
#include "mesa_attention/native/mesa_options.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {

void MesaStep(const StateStep& step, const MesaOptions& options, float* out, Executor& executor) {
  const Dims& dims = step.problem.dims;
  const int64_t D = dims.D, size = D * D, rows_doubles = StateRows::Doubles(dims, size);
  const int64_t doubles = rows_doubles + size + D;
  double* memory = AllocateArray<double>(executor, executor.workers() * doubles);
  auto run = [&](int worker, int64_t head) {
    double *factor = memory + worker * doubles + rows_doubles, *vector = factor + size;
    StateRows rows;
    rows.Load(step, head, size, memory + worker * doubles);
    const float* given = options.ridge ? options.ridge + head % (dims.heads / dims.batch) * D : nullptr;
    bool usable = true;
    double smallest = 0;
    for (int64_t d = 0; d < D; d++) {
      const float ridge = given ? given[d] : options.ridge_value;
      usable &= ridge > 0 && IsFinite(ridge);
      smallest = d == 0 ? ridge : Min<double>(smallest, ridge);
    }
    for (int64_t i = 0; i < dims.Tq; i++) {
      const bool added = rows.LoadKey(i);
      if (added) {
        rows.AddOuter(rows.left_sum, rows.key, rows.key, D);
        rows.AddOuter(rows.key_value_sum, rows.key, rows.value, dims.Dv);
      }
      if (i == 0 && usable) {
        memcpy(factor, rows.left_sum, size * sizeof(double));
        for (int64_t d = 0; d < D; d++) factor[d * D + d] += given ? given[d] : options.ridge_value;
        FactorUpper(factor, D, smallest);
      } else if (added && usable) {
        memcpy(vector, rows.key, D * sizeof(double));
        UpdateUpper(factor, D, vector);
      }
      RowState state = rows.LoadQuery(i);
      if (state == kOrdinary && !usable) state = kBad;
      if (state == kOrdinary) SolveUpper(factor, D, rows.query);
      rows.Write(state, i, rows.query, 1, out);
    }
    rows.Store();
  };
  ForEach(executor, dims.heads, run);
}

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
