// Runs the CUDA kernels of steps of linear and mesa attention in the emulator, and holds their rows and the sums that they
// leave to the definition in double.
#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>

#include "common/cuda/state_step.cu"
#include "common/cuda/state_step_plan.h"
#include "inputs.h"
#include "mesa_attention/cuda/mesa_attention_step.cu"

namespace {

using namespace tfjs_lla;
using emulator::GuardedMemory;

struct StateCase {
  const char* name;
  bool mesa;
  int batch, heads, before, tokens, dim, value_dim;
  StateFeatureMap map;
  bool normalize, mask, spoilt;
  float bar;
};

bool failed = false;

void Check(bool good, const char* name, const char* what, double error) {
  failed |= !good;
  std::printf("%-36s %-14s %s error %.1e\n", name, what, good ? "ok  " : "FAIL", error);
  std::fflush(stdout);
}

double Phi(StateFeatureMap map, double x) {
  if (map == kIdentityFeatures) return x;
  if (map == kReluFeatures) return x > 0 ? x : 0;
  return x > 0 ? x + 1 : std::exp(x);
}

// What the kernels are held to.
struct State {
  std::vector<double> left, key_value;
  double count = 0;
  bool bad = false;
};

void RunStep(const StateCase& c) {
  const std::map<std::string, void (*)(const StateStepParams)> kernels = {
      {"tfjs_lla_state_step_rows", tfjs_lla_state_step_rows},
      {"tfjs_lla_state_step_sums", tfjs_lla_state_step_sums},
      {"tfjs_lla_mesa_step_solve", tfjs_lla_mesa_step_solve}};
  const int all = c.before + c.tokens, columns = c.mesa ? c.dim : 1, per_batch = c.heads / c.batch;
  const Sizes sizes = {c.batch, c.heads, all, all, c.dim, c.value_dim, true};
  Inputs in = MakeInputs({c.name, Family::kSoftmax, true, sizes, 0, false, false, 0, 0, 0}, 11);
  if (c.mask) {
    // The first two tokens of all are hidden, so that a first row may see nothing.
    in.mask.resize(static_cast<size_t>(c.batch) * all);
    for (size_t j = 0; j < in.mask.size(); j++) in.mask[j] = j % all >= 2 && j % all % 4 != 3;
  }
  std::vector<float> ridge;
  for (int i = 0; i < per_batch * c.dim && c.mesa; i++) ridge.push_back(0.5f + 0.1f * (i % 7));
  const int bad_head = c.heads - 1, bad_token = c.before + c.tokens / 2;
  if (c.spoilt) {
    in.key[(bad_head * all + bad_token) * c.dim] = NAN;
    in.query[c.before * c.dim + c.dim - 1] = INFINITY;
    // Of the second head of every batch entry.
    if (c.mesa) ridge[c.dim] = -1;
  }
  const auto hidden = [&](int head, int j) { return c.mask && !in.mask[head / per_batch * all + j]; };

  // Sums and rows by the definition.
  std::vector<State> states(c.heads);
  std::vector<std::vector<double>> rows(static_cast<size_t>(c.heads) * c.tokens);
  std::vector<bool> bad_rows(rows.size());
  std::vector<float> left, key_value, count;
  for (int head = 0; head < c.heads; head++) {
    State& state = states[head];
    state.left.assign(c.dim * columns, 0);
    state.key_value.assign(c.dim * c.value_dim, 0);
    for (int j = 0; j < all; j++) {
      if (j == c.before) {
        left.insert(left.end(), state.left.begin(), state.left.end());
        key_value.insert(key_value.end(), state.key_value.begin(), state.key_value.end());
        count.push_back(static_cast<float>(state.count));
      }
      const float *k = &in.key[(head * all + j) * c.dim], *v = &in.value[(head * all + j) * c.value_dim];
      if (!hidden(head, j)) {
        state.count++;
        if (c.spoilt && head == bad_head && j == bad_token) {
          state.bad = true;
        } else {
          for (int r = 0; r < c.dim; r++) {
            const double x = Phi(c.map, k[r]);
            for (int d = 0; d < columns; d++) state.left[r * columns + d] += x * (c.mesa ? k[d] : 1);
            for (int d = 0; d < c.value_dim; d++) state.key_value[r * c.value_dim + d] += x * v[d];
          }
        }
      }
      if (j < c.before) continue;
      const size_t at = static_cast<size_t>(head) * c.tokens + j - c.before;
      std::vector<double>& row = rows[at];
      row.assign(c.value_dim, 0);
      if (state.count == 0) continue;
      std::vector<double> a(c.dim);
      bool bad = state.bad;
      for (int d = 0; d < c.dim; d++) {
        const float x = in.query[(head * all + j) * c.dim + d];
        bad |= !std::isfinite(x);
        a[d] = Phi(c.map, x);
      }
      std::vector<double> system = state.left;
      for (int d = 0; d < c.dim && c.mesa; d++) {
        const float own = ridge[head % per_batch * c.dim + d];
        bad |= own <= 0;
        system[d * c.dim + d] += own;
      }
      bad_rows[at] = bad;
      if (bad) continue;
      double factor = 1;
      if (c.mesa) {
        SolveDefinite(system, a);
      } else if (c.normalize) {
        double normalizer = 0;
        for (int d = 0; d < c.dim; d++) normalizer += a[d] * state.left[d];
        factor = normalizer == 0 ? 0 : 1 / normalizer;
      } else {
        factor = in.scale;
      }
      for (int r = 0; r < c.dim; r++) {
        for (int d = 0; d < c.value_dim; d++) row[d] += factor * a[r] * state.key_value[r * c.value_dim + d];
      }
    }
  }

  // The new tokens alone.
  std::vector<float> query, key, value;
  std::vector<unsigned char> new_mask;
  for (int head = 0; head < c.heads; head++) {
    const size_t from = static_cast<size_t>(head) * all + c.before, to = from + c.tokens;
    query.insert(query.end(), &in.query[from * c.dim], &in.query[0] + to * c.dim);
    key.insert(key.end(), &in.key[from * c.dim], &in.key[0] + to * c.dim);
    value.insert(value.end(), &in.value[from * c.value_dim], &in.value[0] + to * c.value_dim);
  }
  for (int b = 0; b < c.batch && c.mask; b++) {
    for (int j = c.before; j < all; j++) new_mask.push_back(in.mask[b * all + j]);
  }
  const auto q = Copy(query), k = Copy(key), v = Copy(value), l = Copy(left), kv = Copy(key_value), n = Copy(count),
             r = Copy(ridge);
  const auto mask = Copy(new_mask);
  GuardedMemory out(static_cast<size_t>(c.heads) * c.tokens * c.value_dim * 4);
  StateStepParams p{};
  p.query = Address<float>(q);
  p.key = Address<float>(k);
  p.value = Address<float>(v);
  p.key_mask = Address<unsigned char>(mask);
  p.ridge = Address<float>(r);
  p.left_sum = Address<float>(l);
  p.key_value_sum = Address<float>(kv);
  p.count = Address<float>(n);
  p.out = reinterpret_cast<float*>(out.data());
  p.heads = c.heads;
  p.heads_per_batch = per_batch;
  p.tokens = c.tokens;
  p.dim = c.dim;
  p.value_dim = c.value_dim;
  p.feature_map = c.map;
  p.normalize = c.normalize;
  p.scale = in.scale;
  const auto plan = [&](char* scratch) {
    StateStepPlanner planner(p, scratch);
    return c.mesa ? planner.Mesa() : planner.Linear();
  };
  GuardedMemory scratch(plan(nullptr).scratch_bytes);
  for (const StateStepLaunch& launch : plan(scratch.data()).launches) {
    emulator::Run(launch, kernels.at(launch.entry));
  }

  std::vector<float> got;
  std::vector<double> wanted;
  bool nan_exactly = true;
  for (size_t at = 0; at < rows.size(); at++) {
    for (int d = 0; d < c.value_dim; d++) {
      const float x = p.out[at * c.value_dim + d];
      nan_exactly &= bad_rows[at] ? std::isnan(x) : std::isfinite(x);
      if (bad_rows[at]) continue;
      got.push_back(x);
      wanted.push_back(rows[at][d]);
    }
  }
  const double error = RelativeError(got.data(), wanted);
  Check(nan_exactly && error <= Bar(c.bar), c.name, "rows", error);
  wanted.clear();
  std::vector<double> wanted_values;
  bool counted = true;
  for (int head = 0; head < c.heads; head++) {
    const State& state = states[head];
    wanted.insert(wanted.end(), state.left.begin(), state.left.end());
    wanted_values.insert(wanted_values.end(), state.key_value.begin(), state.key_value.end());
    counted &= state.bad ? std::isnan(p.count[head]) : p.count[head] == state.count;
  }
  const double left_error = RelativeError(p.left_sum, wanted);
  const double value_error = RelativeError(p.key_value_sum, wanted_values);
  Check(left_error <= Bar(5e-7), c.name, "left sum", left_error);
  Check(value_error <= Bar(5e-7), c.name, "key-value sum", value_error);
  Check(counted, c.name, "count", 0);
}

const StateCase kSteps[] = {
    // name, mesa, batch, heads, before, tokens, dim, value_dim, map, normalize, mask, spoilt, bar
    {"linear, one token", false, 1, 2, 300, 1, 64, 64, kEluPlusOneFeatures, true, false, false, 5e-7f},
    {"linear, first tokens", false, 2, 4, 0, 9, 20, 7, kReluFeatures, true, true, false, 1e-6f},
    {"linear, many tokens, wide values", false, 1, 1, 5, 70, 37, 300, kIdentityFeatures, false, true, false, 2e-6f},
    {"linear, not finite", false, 2, 4, 4, 8, 20, 12, kEluPlusOneFeatures, false, true, true, 1e-6f},
    {"mesa, one token", true, 1, 2, 200, 1, 64, 64, kIdentityFeatures, false, false, false, 5e-6f},
    {"mesa, first tokens", true, 2, 4, 0, 9, 20, 7, kIdentityFeatures, false, true, false, 5e-6f},
    {"mesa, many tokens", true, 1, 1, 3, 70, 12, 30, kIdentityFeatures, false, false, false, 5e-6f},
    {"mesa, not finite", true, 2, 4, 4, 8, 20, 12, kIdentityFeatures, false, true, true, 5e-6f},
    {"mesa, 150", true, 1, 1, 100, 1, 150, 40, kIdentityFeatures, false, false, false, 4e-5f},
    {"mesa, 200", true, 1, 1, 250, 1, 200, 20, kIdentityFeatures, false, false, false, 4e-5f},
};

}  // namespace

int main(int argc, char** argv) {
  try {
    for (const bool backwards : {false, true}) {
      emulator::RunBackwards(backwards);
      for (const StateCase& c : kSteps) {
        if (argc < 2 || std::string(c.name).find(argv[1]) != std::string::npos) RunStep(c);
      }
    }
  } catch (const std::runtime_error& error) {
    std::printf("FAIL %s\n", error.what());
    return 1;
  }
  return failed ? 1 : 0;
}
