#include "common/native/step_op.h"
#include "linear_attention/native/linear_step_launch.h"
#include "linear_attention/native/linear_launch.h"

namespace {

using namespace tfjs_lla;

constexpr char kOperator[] = "linearAttention";

REGISTER_OP("TfjsLlaLinearAttention")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("key_mask: num_masks * bool")
    .Attr("num_masks: int >= 0")
    .Attr("causal: bool")
    .Attr("precision: {'high', 'fast'}")
    .Attr("scale: float")
    .Attr("feature_map: {'elu+1', 'relu', 'identity'}")
    .Attr("normalize: bool")
    .Output("out: float")
    .SetShapeFn(ResultShape);

REGISTER_OP("TfjsLlaLinearAttentionGrad")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("dout: float")
    .Input("key_mask: num_masks * bool")
    .Attr("num_masks: int >= 0")
    .Attr("causal: bool")
    .Attr("precision: {'high', 'fast'}")
    .Attr("scale: float")
    .Attr("feature_map: {'elu+1', 'relu', 'identity'}")
    .Attr("normalize: bool")
    .Output("dquery: float")
    .Output("dkey: float")
    .Output("dvalue: float")
    .SetShapeFn(GradientShapes);

REGISTER_OP("TfjsLlaLinearAttentionStep")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("key_sum: float")
    .Input("key_value_sum: float")
    .Input("count: float")
    .Input("key_mask: num_masks * bool")
    .Attr("num_masks: int >= 0")
    .Attr("scale: float")
    .Attr("feature_map: {'elu+1', 'relu', 'identity'}")
    .Attr("normalize: bool")
    .Attr("causal: bool")
    .Attr("precision: {'high', 'fast'}")
    .Output("out: float")
    .SetShapeFn(ResultShape);

class LinearOp : public tensorflow::OpKernel {
 public:
  explicit LinearOp(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    std::string feature_map;
    OP_REQUIRES_OK(context, context->GetAttr("causal", &causal_));
    OP_REQUIRES_OK(context, context->GetAttr("scale", &options_.scale));
    OP_REQUIRES_OK(context, context->GetAttr("normalize", &options_.normalize));
    OP_REQUIRES_OK(context, ReadPrecision(context, &options_.fast));
    OP_REQUIRES_OK(context, context->GetAttr("feature_map", &feature_map));
    options_.feature_map = feature_map == "relu"       ? FeatureMap::kRelu
                           : feature_map == "identity" ? FeatureMap::kIdentity
                                                       : FeatureMap::kEluPlusOne;
  }

 protected:
  bool causal_;
  LinearOptions options_;
};

// On the processor, or by CUDA.
template <bool kCuda>
class Forward : public LinearOp {
 public:
  using LinearOp::LinearOp;

  void Compute(tensorflow::OpKernelContext* context) override {
    Inputs inputs(context, kOperator);
    if (!inputs.status.ok()) return context->CtxFailure(inputs.status);
    inputs.problem.causal = causal_;
    Outputs results(context);
    float* out = results.Add(inputs.result);
    if constexpr (kCuda) {
      RunOnGpu(context, kOperator, results.status, [&](CudaCall& call) {
        LaunchLinearForward(inputs.problem, options_, out, call);
      });
    } else {
      RunOn(context, kOperator, results.status, [&](Executor& executor) {
        TFJS_LLA_DISPATCH(LinearAttention)(inputs.problem, options_, out, executor);
      });
    }
  }
};

template <bool kCuda>
class Gradient : public LinearOp {
 public:
  using LinearOp::LinearOp;

  void Compute(tensorflow::OpKernelContext* context) override {
    Inputs inputs(context, kOperator);
    const Dims& dims = inputs.problem.dims;
    LinearGradients gradients{};
    gradients.dout = inputs.Required("dout", dims.heads * dims.Tq * dims.Dv);
    if (!inputs.status.ok()) return context->CtxFailure(inputs.status);
    inputs.problem.causal = causal_;
    Outputs results(context);
    gradients.dquery = results.Add(inputs.Shape("query"));
    gradients.dkey = results.Add(inputs.Shape("key"));
    gradients.dvalue = results.Add(inputs.Shape("value"));
    if constexpr (kCuda) {
      RunOnGpu(context, kOperator, results.status, [&](CudaCall& call) {
        LaunchLinearGradient(inputs.problem, options_, gradients, call);
      });
    } else {
      RunOn(context, kOperator, results.status, [&](Executor& executor) {
        TFJS_LLA_DISPATCH(LinearAttentionGradient)(inputs.problem, options_, gradients, executor);
      });
    }
  }
};

// On the GPU where there is a `kCuda`, a function of step, options, result and CudaCall; else on the processor.
template <auto kCuda = nullptr>
class Step : public LinearOp {
 public:
  using LinearOp::LinearOp;

  void Compute(tensorflow::OpKernelContext* context) override {
    StepInputs inputs(context, kOperator);
    const Dims& dims = inputs.problem.dims;
    const StateStep step = inputs.State("key_sum", {dims.heads, dims.D});
    if (!inputs.status.ok()) return context->CtxFailure(inputs.status);
    Outputs results(context);
    float* out = results.Add(inputs.result);
    if constexpr (kCuda != nullptr) {
      RunOnGpu(context, kOperator, results.status, [&](CudaCall& call) { kCuda(step, options_, out, call); });
    } else {
      RunOn(context, kOperator, results.status, [&](Executor& executor) {
        TFJS_LLA_DISPATCH(LinearStep)(step, options_, out, executor);
      });
    }
  }
};

REGISTER_KERNEL_BUILDER(Name("TfjsLlaLinearAttention").Device(tensorflow::DEVICE_CPU), Forward<false>);
REGISTER_KERNEL_BUILDER(Name("TfjsLlaLinearAttentionGrad").Device(tensorflow::DEVICE_CPU), Gradient<false>);
REGISTER_KERNEL_BUILDER(Name("TfjsLlaLinearAttentionStep").Device(tensorflow::DEVICE_CPU), Step<>);
REGISTER_KERNEL_BUILDER(Name("TfjsLlaLinearAttention").Device(tensorflow::DEVICE_GPU), Forward<true>);
REGISTER_KERNEL_BUILDER(Name("TfjsLlaLinearAttentionGrad").Device(tensorflow::DEVICE_GPU), Gradient<true>);
REGISTER_KERNEL_BUILDER(Name("TfjsLlaLinearAttentionStep").Device(tensorflow::DEVICE_GPU), Step<LaunchLinearStep>);

}  // namespace
