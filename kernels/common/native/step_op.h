// TensorFlow's side of the steps. A step writes into the cache's tensors: they belong to the cache alone, which gives no
// other tensor their memory (src/caches/copied.ts), and TensorFlow hands an input on as it is.
#pragma once

#include "common/native/probe_op.h"
#include "common/native/state_options.h"
#include "common/native/step_options.h"

namespace tfjs_lla {

// The inputs of a step besides those of every operation.
class StepInputs : public Inputs {
 public:
  StepInputs(tensorflow::OpKernelContext* context, const char* op) : Inputs(context, op) {
    const Dims& dims = problem.dims;
    problem.causal = true;
    if (status.ok()) Expect(dims.Tq == dims.Tk, "key", "must have as many tokens as query", Shape("key"));
  }

  // A tensor of the cache, to be written: `shape` is what it has to have.
  float* Cache(const char* name, const tensorflow::TensorShape& shape) {
    if (!status.ok()) return nullptr;
    const tensorflow::TensorShape given = Shape(name);
    if (!Expect(given == shape, name, "is not of the cache's shape", given)) return nullptr;
    return const_cast<float*>(Required(name, shape.num_elements()));
  }

  // Where a step stands: length of the cache, the row of it that the first new token goes to, window. It changes with every
  // step: TensorFlow would keep a kernel for every set of attributes.
  const int32_t* Place() {
    if (!status.ok()) return nullptr;
    const tensorflow::TensorShape given = Shape("place");
    if (!Expect(given == tensorflow::TensorShape({3}), "place", "must have shape [3]", given)) return nullptr;
    return Integers("place");
  }

  // The sums that a cache of constant size holds; `left_sum` goes by a name of the operator's own.
  StateStep State(const char* left_sum, const tensorflow::TensorShape& shape) {
    const Dims& dims = problem.dims;
    StateStep step{};
    step.left_sum = Cache(left_sum, shape);
    step.key_value_sum = Cache("key_value_sum", {dims.heads, dims.D, dims.Dv});
    step.count = Cache("count", {dims.heads});
    step.problem = problem;
    return step;
  }
};

// On the GPU where there is a `kCuda`, a function of step, options, result and CudaCall; else on the processor.
template <ProbeKind kKind, auto kCuda = nullptr>
class ProbeStepOp : public tensorflow::OpKernel {
 public:
  explicit ProbeStepOp(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    options_ = {};
    options_.kind = kKind;
    OP_REQUIRES_OK(context, context->GetAttr("scale", &options_.scale));
    OP_REQUIRES_OK(context, ReadPrecision(context, &options_.fast));
    if (kKind == ProbeKind::kSolved) OP_REQUIRES_OK(context, ReadSolver(context, &options_));
  }

  void Compute(tensorflow::OpKernelContext* context) override {
    StepInputs inputs(context, kOperator);
    CacheStep step{};
    ProbeOptions options = options_;
    if (inputs.status.ok()) Gather(inputs, step, options);
    if (!inputs.status.ok()) return context->CtxFailure(inputs.status);
    step.problem = inputs.problem;
    Outputs results(context);
    float* out = results.Add(inputs.result);
    if constexpr (kCuda != nullptr) {
      RunOnGpu(context, kOperator, results.status, [&](CudaCall& call) { kCuda(step, options, out, call); });
    } else {
      RunOn(context, kOperator, results.status, [&](Executor& executor) {
        TFJS_LLA_DISPATCH(ProbeStep)(step, options, out, executor);
      });
    }
  }

 private:
  void Gather(StepInputs& inputs, CacheStep& step, ProbeOptions& options) const {
    const Dims& dims = inputs.problem.dims;
    inputs.problem.key_bias = inputs.Optional("key_bias", dims.heads * dims.Tk);
    if (kKind == ProbeKind::kGiven) options.probe = inputs.Required("probe", dims.heads * dims.Tq * dims.D);
    if (kKind == ProbeKind::kSolved) options.ridge = inputs.Optional("ridge", dims.heads * dims.Tq);
    const tensorflow::TensorShape cached = inputs.Shape("cached_key");
    if (!inputs.Expect(cached.dims() == 3, "cached_key", "must have rank 3", cached)) return;
    step.capacity = cached.dim_size(1);
    step.cached_key = inputs.Cache("cached_key", {dims.heads, step.capacity, dims.D});
    step.cached_value = inputs.Cache("cached_value", {dims.heads, step.capacity, dims.Dv});
    step.cached_bias = const_cast<float*>(inputs.Optional("cached_bias", dims.heads * step.capacity));
    const int32_t* const place = inputs.Place();
    if (place == nullptr) return;
    const int64_t length = place[0], next = place[1], window = place[2];
    // What is read and written has to lie in the cache.
    const bool fits = length >= 0 && length <= step.capacity && next >= 0 && next < step.capacity && window >= 0 &&
                      (window > 0 ? window <= step.capacity : length + dims.Tk <= step.capacity);
    inputs.Expect(fits, "cached_key", "has no room for what place says", cached);
    step.length = length;
    step.window = window;
    // Positions count from anywhere: only the rows of the cache that they stand in matter.
    step.total = next + step.capacity;
  }

  static constexpr const char* kOperator = OperatorOf(kKind);
  ProbeOptions options_;
};

}  // namespace tfjs_lla

// The kernels of the three operations of an operator whose probe is of that kind.
#define TFJS_LLA_REGISTER_PROBE_KERNELS(op, kind)                                                          \
  REGISTER_KERNEL_BUILDER(Name(op).Device(tensorflow::DEVICE_CPU), tfjs_lla::ProbeForwardOp<kind>);        \
  REGISTER_KERNEL_BUILDER(Name(op "Grad").Device(tensorflow::DEVICE_CPU), tfjs_lla::ProbeGradientOp<kind>); \
  REGISTER_KERNEL_BUILDER(Name(op "Step").Device(tensorflow::DEVICE_CPU), tfjs_lla::ProbeStepOp<kind>)
