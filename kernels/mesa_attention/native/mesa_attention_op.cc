#include "common/native/step_op.h"
#include "mesa_attention/native/mesa_step_launch.h"
#include "mesa_attention/native/mesa_launch.h"

namespace {

using namespace tfjs_lla;

constexpr char kOperator[] = "mesaAttention";

REGISTER_OP("TfjsLlaMesaAttention")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("key_mask: num_masks * bool")
    .Input("ridge: num_ridges * float")
    .Attr("num_masks: int >= 0")
    .Attr("num_ridges: int >= 0")
    .Attr("ridge_value: float")
    .Attr("causal: bool")
    .Attr("precision: {'high', 'fast'}")
    .Output("out: float")
    .Output("probe: float")
    .SetShapeFn(ResultShape);

REGISTER_OP("TfjsLlaMesaAttentionGrad")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("probe: float")
    .Input("dout: float")
    .Input("key_mask: num_masks * bool")
    .Input("ridge: num_ridges * float")
    .Attr("num_masks: int >= 0")
    .Attr("num_ridges: int >= 0")
    .Attr("ridge_value: float")
    .Attr("causal: bool")
    .Attr("precision: {'high', 'fast'}")
    .Output("dquery: float")
    .Output("dkey: float")
    .Output("dvalue: float")
    .Output("dridge: num_ridges * float")
    .SetShapeFn(GradientShapes);

REGISTER_OP("TfjsLlaMesaAttentionStep")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("key_key_sum: float")
    .Input("key_value_sum: float")
    .Input("count: float")
    .Input("key_mask: num_masks * bool")
    .Input("ridge: num_ridges * float")
    .Attr("num_masks: int >= 0")
    .Attr("num_ridges: int >= 0")
    .Attr("ridge_value: float")
    .Attr("causal: bool")
    .Attr("precision: {'high', 'fast'}")
    .Output("out: float")
    .SetShapeFn(ResultShape);

class MesaOp : public tensorflow::OpKernel {
 public:
  explicit MesaOp(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("causal", &causal_));
    OP_REQUIRES_OK(context, context->GetAttr("ridge_value", &ridge_value_));
  }

 protected:
  // What both operations have besides query, key, value and mask.
  MesaOptions Gather(Inputs& inputs) const {
    const Dims& dims = inputs.problem.dims;
    inputs.problem.causal = causal_;
    const float* ridge = inputs.status.ok() ? inputs.Optional("ridge", dims.heads / dims.batch * dims.D) : nullptr;
    return {ridge, ridge_value_};
  }

  bool causal_;
  float ridge_value_;
};

// On the processor, or by CUDA.
template <bool kCuda>
class Forward : public MesaOp {
 public:
  using MesaOp::MesaOp;

  void Compute(tensorflow::OpKernelContext* context) override {
    Inputs inputs(context, kOperator);
    const MesaOptions options = Gather(inputs);
    if (!inputs.status.ok()) return context->CtxFailure(inputs.status);
    Outputs results(context);
    float* out = results.Add(inputs.result);
    float* probe = results.Add(inputs.Shape("query"));
    const MesaOutputs outputs{out, probe};
    if constexpr (kCuda) {
      RunOnGpu(context, kOperator, results.status, [&](CudaCall& call) {
        LaunchMesaForward(inputs.problem, options, outputs, call);
      });
    } else {
      RunOn(context, kOperator, results.status, [&](Executor& executor) {
        TFJS_LLA_DISPATCH(MesaAttention)(inputs.problem, options, outputs, executor);
      });
    }
  }
};

template <bool kCuda>
class Gradient : public MesaOp {
 public:
  using MesaOp::MesaOp;

  void Compute(tensorflow::OpKernelContext* context) override {
    Inputs inputs(context, kOperator);
    const MesaOptions options = Gather(inputs);
    const Dims& dims = inputs.problem.dims;
    MesaGradients gradients{};
    gradients.probe = inputs.Required("probe", dims.heads * dims.Tq * dims.D);
    gradients.dout = inputs.Required("dout", dims.heads * dims.Tq * dims.Dv);
    if (!inputs.status.ok()) return context->CtxFailure(inputs.status);
    Outputs results(context);
    gradients.dquery = results.Add(inputs.Shape("query"));
    gradients.dkey = results.Add(inputs.Shape("key"));
    gradients.dvalue = results.Add(inputs.Shape("value"));
    if (options.ridge) gradients.dridge = results.Add(inputs.OptionalShape("ridge"));
    if constexpr (kCuda) {
      RunOnGpu(context, kOperator, results.status, [&](CudaCall& call) {
        LaunchMesaGradient(inputs.problem, options, gradients, call);
      });
    } else {
      RunOn(context, kOperator, results.status, [&](Executor& executor) {
        TFJS_LLA_DISPATCH(MesaAttentionGradient)(inputs.problem, options, gradients, executor);
      });
    }
  }
};

// On the GPU where there is a `kCuda`, a function of step, options, result and CudaCall; else on the processor.
template <auto kCuda = nullptr>
class Step : public MesaOp {
 public:
  using MesaOp::MesaOp;

  void Compute(tensorflow::OpKernelContext* context) override {
    StepInputs inputs(context, kOperator);
    const Dims& dims = inputs.problem.dims;
    const MesaOptions options = Gather(inputs);
    const StateStep step = inputs.State("key_key_sum", {dims.heads, dims.D, dims.D});
    if (!inputs.status.ok()) return context->CtxFailure(inputs.status);
    Outputs results(context);
    float* out = results.Add(inputs.result);
    if constexpr (kCuda != nullptr) {
      RunOnGpu(context, kOperator, results.status, [&](CudaCall& call) { kCuda(step, options, out, call); });
    } else {
      RunOn(context, kOperator, results.status, [&](Executor& executor) {
        TFJS_LLA_DISPATCH(MesaStep)(step, options, out, executor);
      });
    }
  }
};

REGISTER_KERNEL_BUILDER(Name("TfjsLlaMesaAttention").Device(tensorflow::DEVICE_CPU), Forward<false>);
REGISTER_KERNEL_BUILDER(Name("TfjsLlaMesaAttentionGrad").Device(tensorflow::DEVICE_CPU), Gradient<false>);
REGISTER_KERNEL_BUILDER(Name("TfjsLlaMesaAttentionStep").Device(tensorflow::DEVICE_CPU), Step<>);
REGISTER_KERNEL_BUILDER(Name("TfjsLlaMesaAttention").Device(tensorflow::DEVICE_GPU), Forward<true>);
REGISTER_KERNEL_BUILDER(Name("TfjsLlaMesaAttentionGrad").Device(tensorflow::DEVICE_GPU), Gradient<true>);
REGISTER_KERNEL_BUILDER(Name("TfjsLlaMesaAttentionStep").Device(tensorflow::DEVICE_GPU), Step<LaunchMesaStep>);

}  // namespace
