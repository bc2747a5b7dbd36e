// Runs the native kernels without TensorFlow, for the sanitizers: every operator, forward and gradient, on the sizes of the
// case table with all combinations of options. Results are compared with the references elsewhere (test/operator_suite.ts); here every number
// of an output has to be written, and be finite where the inputs are.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "common/native/step_options.h"
#include "linear_attention/native/linear_options.h"
#include "mesa_attention/native/mesa_options.h"

namespace {

using namespace tfjs_lla;
using Floats = std::vector<float>;

// Blocks of exactly the size that was asked for, so that a number behind them is found.
class HeapExecutor : public Executor {
 public:
  int workers() const override { return 3; }

  void* Allocate(int64_t bytes) override {
    void* block = nullptr;
    if (posix_memalign(&block, 64, bytes) != 0) throw std::bad_alloc();
    // What is read before it is written must not pass for zeros.
    for (int64_t i = 0; i < bytes; i++) static_cast<unsigned char*>(block)[i] = 0xff;
    blocks_.emplace_back(block, free);
    return block;
  }

  void Run(int64_t tasks, void (*body)(void*, int, int64_t), void* context) override {
    std::atomic<int64_t> next{0};
    std::vector<std::thread> threads;
    for (int worker = 0; worker < workers(); worker++) {
      threads.emplace_back([&, worker] {
        for (int64_t task = next++; task < tasks; task = next++) body(context, worker, task);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

 private:
  std::vector<std::unique_ptr<void, void (*)(void*)>> blocks_;
};

std::mt19937 generator(7);

Floats Normals(int64_t count) {
  std::normal_distribution<float> normal;
  Floats numbers(count);
  for (float& x : numbers) x = normal(generator);
  return numbers;
}

// An output whose numbers nobody has written.
Floats Unwritten(int64_t count) { return Floats(count, 1.2345e38f); }

int64_t calls = 0, wrong = 0;

void Check(const char* what, const Floats& output, bool finite) {
  for (const float x : output) {
    if (x != 1.2345e38f && (!finite || std::isfinite(x))) continue;
    printf("%s: %g in the output\n", what, x);
    wrong++;
    return;
  }
}

// A call's inputs, in blocks of their own.
struct Call {
  Dims dims;
  Floats query, key, value, bias, dout, probe, ridge, mesa_ridge;
  std::unique_ptr<bool[]> mask;
  bool finite;
  Problem problem;

  Call(const Dims& d, bool causal, bool masked, bool biased, bool spoiled) : dims(d), finite(!spoiled) {
    query = Normals(d.heads * d.Tq * d.D);
    key = Normals(d.heads * d.Tk * d.D);
    value = Normals(d.heads * d.Tk * d.Dv);
    bias = Normals(d.heads * d.Tk);
    dout = Normals(d.heads * d.Tq * d.Dv);
    probe = Normals(d.heads * d.Tq * d.D);
    ridge = Floats(d.heads * d.Tq, 0.5f);
    mesa_ridge = Floats(d.heads / d.batch * d.D, 0.5f);
    mask.reset(new bool[d.batch * d.Tk]);
    for (int64_t i = 0; i < d.batch * d.Tk; i++) mask[i] = generator() % 4 != 0;
    if (spoiled) {
      query[generator() % query.size()] = NAN;
      key[generator() % key.size()] = INFINITY;
      dout[generator() % dout.size()] = NAN;
      ridge[generator() % ridge.size()] = -1;
    }
    problem = {d, causal, query.data(), key.data(), value.data(), masked ? mask.get() : nullptr, biased ? bias.data() : nullptr};
  }
};

void RunProbe(Call& call, ProbeKind kind, Solver solver, bool ridge_tensor) {
  const Dims& d = call.dims;
  ProbeOptions options{kind, 0.3f, call.probe.data(), ridge_tensor ? call.ridge.data() : nullptr, 0.5f, 1e-6, 2 * d.D, solver};
  Floats out = Unwritten(d.heads * d.Tq * d.Dv), probe = Unwritten(d.heads * d.Tq * d.D);
  HeapExecutor executor;
  ProbeOutputs outputs{out.data(), kind == ProbeKind::kSolved ? probe.data() : nullptr};
  TFJS_LLA_ISA::ProbeAttention(call.problem, options, outputs, executor);
  Check("probe attention", out, call.finite);
  if (kind == ProbeKind::kSolved) options.probe = probe.data();
  Floats dq = Unwritten(call.query.size()), dk = Unwritten(call.key.size()), dv = Unwritten(call.value.size());
  Floats db = Unwritten(d.heads * d.Tk), dr = Unwritten(call.query.size()), dl = Unwritten(d.heads * d.Tq);
  ProbeGradients gradients{call.dout.data(), dq.data(), dk.data(), dv.data(), nullptr, nullptr, nullptr};
  std::vector<Floats*> written{&dq, &dk, &dv};
  if (call.problem.key_bias) gradients.dbias = db.data(), written.push_back(&db);
  if (kind == ProbeKind::kGiven) gradients.dprobe = dr.data(), written.push_back(&dr);
  if (options.ridge && kind == ProbeKind::kSolved) gradients.dridge = dl.data(), written.push_back(&dl);
  TFJS_LLA_ISA::ProbeAttentionGradient(call.problem, options, gradients, executor);
  for (const Floats* output : written) Check("gradient of probe attention", *output, call.finite);
  calls += 2;
}

void RunLinear(Call& call, FeatureMap map, bool normalize) {
  const Dims& d = call.dims;
  const LinearOptions options{map, normalize, 0.7f, false};
  Floats out = Unwritten(d.heads * d.Tq * d.Dv);
  HeapExecutor executor;
  TFJS_LLA_ISA::LinearAttention(call.problem, options, out.data(), executor);
  // A sum of weights of both signs may be anything.
  const bool finite = call.finite && (map != FeatureMap::kIdentity || !normalize);
  Check("linear attention", out, finite);
  Floats dq = Unwritten(call.query.size()), dk = Unwritten(call.key.size()), dv = Unwritten(call.value.size());
  TFJS_LLA_ISA::LinearAttentionGradient(call.problem, options, {call.dout.data(), dq.data(), dk.data(), dv.data()}, executor);
  for (const Floats* output : {&dq, &dk, &dv}) Check("gradient of linear attention", *output, finite);
  calls += 2;
}

void RunMesa(Call& call, bool ridge_tensor) {
  const Dims& d = call.dims;
  const MesaOptions options{ridge_tensor ? call.mesa_ridge.data() : nullptr, 1.0f};
  Floats out = Unwritten(d.heads * d.Tq * d.Dv), probe = Unwritten(d.heads * d.Tq * d.D);
  HeapExecutor executor;
  TFJS_LLA_ISA::MesaAttention(call.problem, options, {out.data(), probe.data()}, executor);
  Check("mesa attention", out, call.finite);
  Check("probe of mesa attention", probe, call.finite);
  Floats dq = Unwritten(call.query.size()), dk = Unwritten(call.key.size()), dv = Unwritten(call.value.size());
  Floats dl = Unwritten(call.mesa_ridge.size());
  float* dridge = ridge_tensor ? dl.data() : nullptr;
  TFJS_LLA_ISA::MesaAttentionGradient(call.problem, options,
                                      {probe.data(), call.dout.data(), dq.data(), dk.data(), dv.data(), dridge}, executor);
  for (const Floats* output : {&dq, &dk, &dv}) Check("gradient of mesa attention", *output, call.finite);
  if (dridge) Check("ridge gradient of mesa attention", dl, call.finite);
  calls += 2;
}

// Steps over a cache that wraps (`window`) or grows, the call's keys in parts.
void RunSteps(const Call& call, int64_t window) {
  const Dims& d = call.dims;
  if (d.Tq != d.Tk) return;
  const int64_t capacity = window > 0 ? window : d.Tk;
  Floats keys(d.heads * capacity * d.D), values(d.heads * capacity * d.Dv), biases(d.heads * capacity);
  Floats features(d.heads * d.D), gram(d.heads * d.D * d.D), products(d.heads * d.D * d.Dv), counts(d.heads);
  Floats other_products = products, other_counts = counts;
  for (int64_t from = 0, t; from < d.Tk; from += t) {
    t = std::min<int64_t>(d.Tk - from, 1 + generator() % 9);
    Dims part = d;
    part.Tq = part.Tk = t;
    // The parts' numbers need not be those of the call.
    Call step(part, true, call.problem.key_mask, call.problem.key_bias, !call.finite);
    for (const ProbeKind kind : {ProbeKind::kNone, ProbeKind::kGiven, ProbeKind::kSolved}) {
      Floats out = Unwritten(d.heads * t * d.Dv);
      HeapExecutor executor;
      const ProbeOptions options{kind, 0.3f, step.probe.data(), step.ridge.data(), 1.0f, 1e-6, 2 * d.D, Solver::kAuto};
      const int64_t length = window > 0 ? std::min(from, window) : from;
      TFJS_LLA_ISA::ProbeStep({step.problem, capacity, length, from, window, keys.data(), values.data(), biases.data()},
                              options, out.data(), executor);
      Check("step", out, call.finite);
      calls++;
    }
    step.problem.key_bias = nullptr;
    Floats out = Unwritten(d.heads * t * d.Dv);
    HeapExecutor executor;
    const LinearOptions linear{FeatureMap::kEluPlusOne, true, 1.0f, false};
    TFJS_LLA_ISA::LinearStep({step.problem, features.data(), products.data(), counts.data()}, linear, out.data(), executor);
    Check("step of linear attention", out, call.finite);
    const MesaOptions mesa{step.mesa_ridge.data(), 1.0f};
    TFJS_LLA_ISA::MesaStep({step.problem, gram.data(), other_products.data(), other_counts.data()}, mesa, out.data(), executor);
    Check("step of mesa attention", out, call.finite);
    calls += 2;
  }
}

}  // namespace

int main() {
  // batch, heads, Tq, Tk, D, Dv
  const Dims sizes[] = {{2, 2, 1, 1, 1, 1},      {1, 2, 2, 2, 3, 5},     {2, 2, 31, 31, 5, 3},    {2, 4, 33, 33, 3, 4},
                        {2, 2, 63, 63, 60, 64},  {1, 2, 111, 111, 64, 60}, {2, 2, 33, 111, 100, 5}, {2, 4, 63, 31, 5, 100},
                        {2, 2, 1, 111, 64, 64},  {2, 2, 111, 2, 1, 3},   {1, 9, 64, 64, 16, 16},  {1, 1, 200, 130, 80, 8},
                        {1, 1, 65, 300, 8, 80}};
  for (const Dims& dims : sizes) {
    for (int flags = 0; flags < 16; flags++) {
      Call call(dims, flags & 1, flags & 2, flags & 4, flags & 8);
      RunProbe(call, ProbeKind::kNone, Solver::kAuto, false);
      RunProbe(call, ProbeKind::kGiven, Solver::kAuto, false);
      for (const Solver solver : {Solver::kAuto, Solver::kConjugateGradient, Solver::kDirect}) {
        RunProbe(call, ProbeKind::kSolved, solver, flags & 2);
      }
      for (const int64_t window : {0, 1, 5}) RunSteps(call, window);
      // Linear and mesa attention have no bias.
      call.problem.key_bias = nullptr;
      for (const FeatureMap map : {FeatureMap::kEluPlusOne, FeatureMap::kRelu, FeatureMap::kIdentity}) {
        for (const bool normalize : {true, false}) RunLinear(call, map, normalize);
      }
      for (const bool ridge_tensor : {true, false}) RunMesa(call, ridge_tensor);
    }
  }
  printf("%lld calls, %lld wrong outputs\n", static_cast<long long>(calls), static_cast<long long>(wrong));
  return wrong == 0 ? 0 : 1;
}
