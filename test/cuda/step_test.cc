// Runs the CUDA kernels of steps and of calls with few queries in the emulator, and holds them to the reference in double:
// caches that go round, windows, masks, biases, numbers that are not finite, and what is then in the cache.
#include <cfloat>
#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>

#include "common/cuda/step.cu"
#include "common/cuda/step_plan.h"
#include "inputs.h"
#include "local_linear_attention/cuda/local_linear_attention_step.cu"

namespace {

using namespace tfjs_lla;
using emulator::GuardedMemory;

using StepKernel = void (*)(const StepParams);

#define KERNEL(name) {"tfjs_lla_" #name, tfjs_lla_##name},
#define KERNELS_OF_DIM(dim)               \
  KERNEL(step_softmax_row_##dim)          \
  KERNEL(step_softmax_rows_##dim)         \
  KERNEL(step_softmax_many_##dim)         \
  KERNEL(step_softmax_join_##dim)         \
  KERNEL(step_probe_row_##dim)            \
  KERNEL(step_probe_rows_##dim)           \
  KERNEL(step_probe_many_##dim)           \
  KERNEL(step_probe_join_##dim)           \
  KERNEL(local_linear_statistics_##dim)   \
  KERNEL(local_linear_solve_##dim)

const std::map<std::string, StepKernel> kKernels = {KERNELS_OF_DIM(32) KERNELS_OF_DIM(64) KERNELS_OF_DIM(128)
                                                        KERNELS_OF_DIM(256) KERNEL(step_append) KERNEL(step_gather)};

bool failed = false;

void Check(bool good, const char* name, const char* what, double error = 0, double bar = 0) {
  failed |= !good;
  if (bar > 0) {
    std::printf("%-44s %-10s %s error %.1e (bar %.0e)\n", name, what, good ? "ok  " : "FAIL", error, bar);
  } else {
    std::printf("%-44s %-10s %s\n", name, what, good ? "ok  " : "FAIL");
  }
  std::fflush(stdout);
}

void Start(const StepPlan& plan) {
  for (const StepLaunch& launch : plan.launches) emulator::Run(launch, kKernels.at(launch.entry));
}

ProbeSource SourceOf(Family family) {
  return family == Family::kSoftmax ? kNoProbe : family == Family::kParallax ? kGivenProbe : kSolvedProbe;
}

struct StepCase {
  const char* name;
  Family family;
  int batch, heads, length, total, tokens, capacity, window, dim, value_dim;
  float ridge;
  bool mask, bias;
  float mean, bar;
  float scale = 1;  // times the usual one
};

void RunStep(const StepCase& c, bool spoilt) {
  const int keys = c.length + c.tokens;
  const Sizes all = {c.batch, c.heads, c.tokens, keys, c.dim, c.value_dim, true};
  const Case made = {c.name, c.family, true, all, c.ridge, false, c.bias, c.mean, c.bar, 0};
  Inputs in = MakeInputs(made, 5);
  in.scale *= c.scale;
  const int heads_per_batch = c.heads / c.batch;
  if (c.mask) {
    in.mask.resize(static_cast<size_t>(c.batch) * keys);
    for (size_t j = 0; j < in.mask.size(); j++) in.mask[j] = j % keys % 5 != 1;
  }
  // In the last head: a key in the middle of the cache, a new value, a query.
  const int head_of_bad = c.heads - 1, bad_key = c.length / 2, bad_value = c.length + c.tokens / 2, bad_row = 0;
  if (spoilt) {
    in.key[(head_of_bad * keys + bad_key) * c.dim] = NAN;
    in.value[(head_of_bad * keys + bad_value) * c.value_dim + c.value_dim - 1] = INFINITY;
    in.query[bad_row * c.dim + c.dim - 1] = NAN;
    if (!in.ridge.empty()) in.ridge[c.tokens - 1] = -1;
  }
  const auto is_hidden = [&](int head, int j) {
    const bool by_bias = c.bias && in.bias[head * keys + j] == -INFINITY;
    return by_bias || (c.mask && !in.mask[head / heads_per_batch * keys + j]);
  };

  // The cache, in which what no token holds is NaN, and the new tokens.
  const bool has_bias = c.mask || c.bias;
  const size_t slots = static_cast<size_t>(c.heads) * c.capacity;
  GuardedMemory cached_key(slots * c.dim * 4), cached_value(slots * c.value_dim * 4), cached_bias(slots * 4);
  float* const ck = reinterpret_cast<float*>(cached_key.data());
  float* const cv = reinterpret_cast<float*>(cached_value.data());
  float* const cb = reinterpret_cast<float*>(cached_bias.data());
  const float hidden = -FLT_MAX;
  std::vector<float> new_key, new_value, new_bias;
  std::vector<unsigned char> new_mask;
  for (int head = 0; head < c.heads; head++) {
    for (int j = 0; j < keys; j++) {
      const float *key = &in.key[(head * keys + j) * c.dim], *value = &in.value[(head * keys + j) * c.value_dim];
      const float bias = c.bias ? in.bias[head * keys + j] : 0;
      if (j >= c.length) {
        new_key.insert(new_key.end(), key, key + c.dim);
        new_value.insert(new_value.end(), value, value + c.value_dim);
        new_bias.push_back(bias);
        continue;
      }
      const int slot = head * c.capacity + (c.total - c.length + j) % c.capacity;
      std::memcpy(ck + slot * c.dim, key, c.dim * 4);
      std::memcpy(cv + slot * c.value_dim, value, c.value_dim * 4);
      cb[slot] = is_hidden(head, j) ? hidden : bias;
    }
  }
  for (int b = 0; b < c.batch && c.mask; b++) {
    for (int j = c.length; j < keys; j++) new_mask.push_back(in.mask[b * keys + j]);
  }
  const auto query = Copy(in.query), key = Copy(new_key), value = Copy(new_value), probe = Copy(in.probe),
             ridge = Copy(in.ridge);
  const auto mask = Copy(new_mask);
  const auto bias = c.bias ? Copy(new_bias) : nullptr;
  const size_t out_floats = static_cast<size_t>(c.heads) * c.tokens * c.value_dim;
  GuardedMemory out(out_floats * 4);

  StepParams p{};
  p.query = Address<float>(query);
  p.key = Address<float>(key);
  p.value = Address<float>(value);
  p.key_mask = Address<unsigned char>(mask);
  p.key_bias = Address<float>(bias);
  p.probe = Address<float>(probe);
  p.ridge = Address<float>(ridge);
  p.cached_key = ck;
  p.cached_value = cv;
  p.cached_bias = has_bias ? cb : nullptr;
  p.out = reinterpret_cast<float*>(out.data());
  p.heads = c.heads;
  p.heads_per_batch = heads_per_batch;
  p.queries = p.new_keys = c.tokens;
  p.capacity = c.capacity;
  p.dim = c.dim;
  p.value_dim = c.value_dim;
  p.scale = in.scale;
  p.ridge_value = in.ridge_value;
  PlaceStep(p, c.length, c.total, c.window);

  // A row with a window is a call of its own.
  std::vector<double> wanted;
  std::vector<int> states;  // 0: ordinary, 1: bad
  wanted.resize(out_floats);
  states.assign(c.heads * c.tokens, 0);
  for (int head = 0; head < c.heads; head++) {
    for (int i = 0; i < c.tokens; i++) {
      const int end = c.length + i + 1, begin = c.window > 0 ? std::max(0, end - c.window) : 0;
      Inputs row;
      row.sizes = {1, 1, 1, end - begin, c.dim, c.value_dim, true};
      row.scale = in.scale;
      row.ridge_value = in.ridge_value;
      const int at = head * c.tokens + i;
      row.query.assign(&in.query[at * c.dim], &in.query[at * c.dim] + c.dim);
      if (!in.probe.empty()) row.probe.assign(&in.probe[at * c.dim], &in.probe[at * c.dim] + c.dim);
      if (!in.ridge.empty()) row.ridge = {in.ridge[at]};
      bool sees_bad = false, sees = false;
      for (int j = begin; j < end; j++) {
        const float *k = &in.key[(head * keys + j) * c.dim], *v = &in.value[(head * keys + j) * c.value_dim];
        row.key.insert(row.key.end(), k, k + c.dim);
        row.value.insert(row.value.end(), v, v + c.value_dim);
        row.mask.push_back(!is_hidden(head, j));
        row.bias.push_back(c.bias && !is_hidden(head, j) ? in.bias[head * keys + j] : 0);
        const bool bad = spoilt && head == head_of_bad && (j == bad_key || j == bad_value);
        sees_bad |= bad && row.mask.back();
        sees |= row.mask.back();
      }
      const bool own = spoilt && ((head == 0 && i == bad_row) || (!row.ridge.empty() && row.ridge[0] < 0));
      states[at] = sees && (sees_bad || own);
      if (states[at]) continue;
      if (own || spoilt) {
        // Hidden numbers that are not finite are no part of the reference.
        for (std::vector<float>* x : {&row.query, &row.key, &row.value}) {
          for (float& number : *x) number = std::isfinite(number) ? number : 0;
        }
      }
      const std::vector<double> result = ReferenceForward(row, c.family);
      std::copy(result.begin(), result.end(), wanted.begin() + static_cast<size_t>(at) * c.value_dim);
    }
  }

  StepPlanner sizes(p, SourceOf(c.family), nullptr);
  GuardedMemory scratch(sizes.Plan().scratch_bytes);
  StepPlanner planner(p, SourceOf(c.family), scratch.data());
  Start(planner.Plan());

  double error = 0, size = 0;
  bool nan_exactly = true;
  for (size_t at = 0; at < out_floats; at++) {
    const float got = p.out[at];
    if (states[at / c.value_dim]) {
      nan_exactly &= std::isnan(got);
      continue;
    }
    nan_exactly &= std::isfinite(got);
    error += (got - wanted[at]) * (got - wanted[at]);
    size += wanted[at] * wanted[at];
  }
  error = std::sqrt(size > 0 ? error / size : error);
  Check(nan_exactly, c.name, "NaN");
  Check(error <= Bar(c.bar), c.name, spoilt ? "spoilt" : "rows", error, Bar(c.bar));

  // The tokens that a later step may see stand where they belong.
  bool appended = true;
  const auto same = [](float a, float b) { return std::memcmp(&a, &b, 4) == 0; };
  for (int head = 0; head < c.heads; head++) {
    for (int j = std::max(0, keys - c.capacity); j < keys; j++) {
      const int slot = head * c.capacity + (c.total - c.length + j) % c.capacity;
      for (int d = 0; d < c.dim; d++) appended &= same(ck[slot * c.dim + d], in.key[(head * keys + j) * c.dim + d]);
      for (int d = 0; d < c.value_dim; d++) {
        appended &= same(cv[slot * c.value_dim + d], in.value[(head * keys + j) * c.value_dim + d]);
      }
      if (has_bias) appended &= same(cb[slot], is_hidden(head, j) ? hidden : c.bias ? in.bias[head * keys + j] : 0);
    }
  }
  Check(appended, c.name, "append");

  // And a copy of all of them lies in their order.
  if (c.window > 0 || spoilt) return;
  p.new_keys = p.queries = 1;
  GuardedMemory copies(StepPlanner(p, kNoProbe, nullptr).Gather().scratch_bytes);
  const StepPlan gather = StepPlanner(p, kNoProbe, copies.data()).Gather();
  Start(gather);
  const StepParams& copy = gather.launches[0].params;
  bool gathered = true;
  for (int j = 0; j < c.length; j++) {
    const float bias = is_hidden(0, j) ? -INFINITY : c.bias ? in.bias[j] : 0;
    gathered &= same(copy.whole_key[j * c.dim], in.key[j * c.dim]);
    gathered &= same(copy.whole_value[j * c.value_dim], in.value[j * c.value_dim]);
    gathered &= same(copy.whole_bias[j], bias);
  }
  Check(gathered, c.name, "gather");
}

// A call with few queries: no cache.
void RunFewQueries(const Case& c) {
  const Inputs in = MakeInputs(c, 7);
  const Sizes& s = c.sizes;
  const ProbeSource source = SourceOf(c.family);
  const auto query = Copy(in.query), key = Copy(in.key), value = Copy(in.value), probe = Copy(in.probe),
             ridge = Copy(in.ridge), bias = Copy(in.bias);
  const auto mask = Copy(in.mask);
  const size_t rows = static_cast<size_t>(s.heads) * s.queries;
  GuardedMemory out(rows * s.value_dim * 4), probe_out(rows * s.dim * 4);
  StepParams p{};
  p.query = Address<float>(query);
  p.key = Address<float>(key);
  p.value = Address<float>(value);
  p.key_mask = Address<unsigned char>(mask);
  p.key_bias = Address<float>(bias);
  p.probe = Address<float>(probe);
  p.ridge = Address<float>(ridge);
  p.out = reinterpret_cast<float*>(out.data());
  p.probe_out = c.family == Family::kLocalLinear ? reinterpret_cast<float*>(probe_out.data()) : nullptr;
  p.heads = s.heads;
  p.heads_per_batch = s.heads / s.batch;
  p.queries = s.queries;
  p.new_keys = s.keys;
  p.dim = s.dim;
  p.value_dim = s.value_dim;
  p.causal = s.causal;
  p.scale = in.scale;
  p.ridge_value = in.ridge_value;
  GuardedMemory scratch(StepPlanner(p, source, nullptr).Plan().scratch_bytes);
  Start(StepPlanner(p, source, scratch.data()).Plan());
  const double error = RelativeError(p.out, ReferenceForward(in, c.family));
  Check(error <= Bar(c.bar), c.name, "rows", error, Bar(c.bar));
  if (!p.probe_out) return;
  std::vector<double> probes;
  for (size_t i = 0; i < rows; i++) {
    const RowReference row = ReferenceRow(in, c.family, static_cast<int>(i / s.queries), static_cast<int>(i % s.queries));
    probes.insert(probes.end(), row.probe.begin(), row.probe.end());
  }
  const double probe_error = RelativeError(p.probe_out, probes);
  Check(probe_error <= Bar(5 * c.bar), c.name, "probes", probe_error, Bar(5 * c.bar));
}

const StepCase kSteps[] = {
    // name, family, batch, heads, length, total, tokens, capacity, window, dim, value_dim, ridge, mask, bias, mean, bar
    {"softmax, one token", Family::kSoftmax, 1, 2, 300, 300, 1, 512, 0, 64, 64, 0, false, false, 0, 5e-7f},
    {"softmax, first tokens", Family::kSoftmax, 2, 4, 0, 0, 5, 8, 0, 20, 7, 0, true, true, 0, 5e-7f},
    {"softmax, wide values, mask and bias", Family::kSoftmax, 2, 2, 90, 90, 3, 128, 0, 37, 300, 0, true, true, 0, 5e-7f},
    {"softmax, a window that moves", Family::kSoftmax, 1, 2, 6, 41, 9, 6, 6, 20, 12, 0, true, true, 0, 5e-7f},
    {"softmax, a window of one", Family::kSoftmax, 1, 1, 1, 3, 4, 1, 1, 8, 8, 0, false, false, 0, 5e-7f},
    {"parallax, one token, 128", Family::kParallax, 1, 2, 150, 150, 1, 151, 0, 128, 100, 0, true, false, 3, 5e-6f},
    {"parallax, some tokens", Family::kParallax, 2, 2, 100, 100, 6, 128, 0, 50, 64, 0, true, true, 0, 1e-6f},
    {"parallax, a window, 256", Family::kParallax, 1, 1, 40, 100, 3, 40, 40, 250, 256, 0, false, false, 0, 1e-6f},
    {"local linear, one token", Family::kLocalLinear, 1, 2, 600, 600, 1, 1024, 0, 64, 64, 0, false, false, 0, 2e-6f},
    {"local linear, few keys", Family::kLocalLinear, 1, 2, 3, 3, 2, 8, 0, 20, 7, 0.1f, false, false, 0, 5e-6f},
    {"local linear, ridge 1e-3", Family::kLocalLinear, 1, 2, 5, 5, 19, 32, 0, 6, 5, 1e-3f, false, false, 0, 5e-5f},
    {"local linear, mean, mask and bias", Family::kLocalLinear, 2, 4, 200, 200, 3, 256, 0, 37, 75, 0, true, true, 3, 5e-6f},
    {"local linear, a window", Family::kLocalLinear, 1, 2, 50, 170, 5, 50, 50, 32, 32, 0, true, false, 0, 2e-6f},
    {"local linear, large scores", Family::kLocalLinear, 1, 2, 300, 300, 5, 512, 0, 64, 16, 0.01f, false, false, 0, 1e-4f, 8},
    {"local linear, 128", Family::kLocalLinear, 1, 1, 130, 130, 1, 256, 0, 128, 64, 1, false, true, 0, 2e-6f},
    {"local linear, 256", Family::kLocalLinear, 1, 1, 70, 70, 2, 128, 0, 201, 30, 1, false, false, 0, 2e-6f},
};

const Case kCalls[] = {
    {"few queries, softmax", Family::kSoftmax, true, {2, 2, 7, 700, 64, 64, false}, 0, true, true, 0, 5e-7f, 0},
    {"few queries, softmax causal", Family::kSoftmax, true, {1, 2, 66, 40, 20, 36, true}, 0, false, false, 0, 5e-7f, 0},
    {"few queries, parallax", Family::kParallax, true, {1, 2, 5, 300, 40, 64, true}, 0, false, true, 0, 1e-6f, 0},
    {"few queries, softmax 256", Family::kSoftmax, true, {1, 1, 3, 90, 256, 130, false}, 0, true, false, 0, 5e-7f, 0},
    {"few queries, parallax 128", Family::kParallax, true, {1, 2, 9, 90, 100, 128, true}, 0, false, false, 0, 1e-6f, 0},
    {"few queries, local linear", Family::kLocalLinear, true, {2, 2, 4, 400, 64, 48, false}, 0, true, true, 1, 5e-6f, 0},
};

}  // namespace

int main(int argc, char** argv) {
  const auto selected = [&](const char* name) { return argc < 2 || std::string(name).find(argv[1]) != std::string::npos; };
  try {
    for (const bool backwards : {false, true}) {
      emulator::RunBackwards(backwards);
      for (const StepCase& c : kSteps) {
        if (!selected(c.name)) continue;
        RunStep(c, false);
        if (c.dim <= 64) RunStep(c, true);
      }
      for (const Case& c : kCalls) {
        if (selected(c.name)) RunFewQueries(c);
      }
    }
  } catch (const std::runtime_error& error) {
    std::printf("FAIL %s\n", error.what());
    return 1;
  }
  return failed ? 1 : 0;
}
