// TensorFlow's side of softmax, Parallax and local linear attention: one pair of operations per operator.
#pragma once

#include "common/native/cuda_op.h"
#include "common/native/probe_options.h"

namespace tfjs_lla {

// The operator that errors name.
constexpr const char* OperatorOf(ProbeKind kind) {
  return kind == ProbeKind::kNone    ? "softmaxAttention"
         : kind == ProbeKind::kGiven ? "parallaxAttention"
                                     : "localLinearAttention";
}

template <ProbeKind kKind>
class ProbeOp : public tensorflow::OpKernel {
 public:
  explicit ProbeOp(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    options_ = {};
    options_.kind = kKind;
    OP_REQUIRES_OK(context, context->GetAttr("causal", &causal_));
    OP_REQUIRES_OK(context, context->GetAttr("scale", &options_.scale));
    OP_REQUIRES_OK(context, ReadPrecision(context, &options_.fast));
    if (kKind == ProbeKind::kSolved) OP_REQUIRES_OK(context, ReadSolver(context, &options_));
  }

 protected:
  // The inputs that both operations have.
  bool Gather(tensorflow::OpKernelContext* context, Inputs& inputs, ProbeOptions& options, bool gradient) {
    const Dims& dims = inputs.problem.dims;
    inputs.problem.causal = causal_;
    inputs.problem.key_bias = inputs.status.ok() ? inputs.Optional("key_bias", dims.heads * dims.Tk) : nullptr;
    options = options_;
    options.probe = options.ridge = nullptr;
    if (kKind == ProbeKind::kGiven || (kKind == ProbeKind::kSolved && gradient)) {
      options.probe = inputs.status.ok() ? inputs.Required("probe", dims.heads * dims.Tq * dims.D) : nullptr;
    }
    if (kKind == ProbeKind::kSolved && inputs.status.ok()) {
      options.ridge = inputs.Optional("ridge", dims.heads * dims.Tq);
    }
    return inputs.status.ok();
  }

  static constexpr const char* kOperator = OperatorOf(kKind);
  bool causal_;
  ProbeOptions options_;
};

// On the GPU where there is a `kCuda`, a function of problem, options, outputs and CudaCall; else on the processor.
template <ProbeKind kKind, auto kCuda = nullptr>
class ProbeForwardOp : public ProbeOp<kKind> {
 public:
  using ProbeOp<kKind>::ProbeOp;

  void Compute(tensorflow::OpKernelContext* context) override {
    Inputs inputs(context, this->kOperator);
    ProbeOptions options;
    if (!this->Gather(context, inputs, options, false)) return context->CtxFailure(inputs.status);
    Outputs results(context);
    ProbeOutputs outputs{results.Add(inputs.result), nullptr};
    if (kKind == ProbeKind::kSolved) outputs.probe = results.Add(inputs.Shape("query"));
    if constexpr (kCuda != nullptr) {
      RunOnGpu(context, this->kOperator, results.status, [&](CudaCall& call) {
        kCuda(inputs.problem, options, outputs, call);
      });
    } else {
      RunOn(context, this->kOperator, results.status, [&](Executor& executor) {
        TFJS_LLA_DISPATCH(ProbeAttention)(inputs.problem, options, outputs, executor);
      });
    }
  }
};

// As above; `kCuda` takes gradients in place of outputs.
template <ProbeKind kKind, auto kCuda = nullptr>
class ProbeGradientOp : public ProbeOp<kKind> {
 public:
  using ProbeOp<kKind>::ProbeOp;

  void Compute(tensorflow::OpKernelContext* context) override {
    Inputs inputs(context, this->kOperator);
    ProbeOptions options;
    if (!this->Gather(context, inputs, options, true)) return context->CtxFailure(inputs.status);
    const Dims& dims = inputs.problem.dims;
    ProbeGradients gradients{};
    gradients.dout = inputs.Required("dout", dims.heads * dims.Tq * dims.Dv);
    if (!inputs.status.ok()) return context->CtxFailure(inputs.status);
    Outputs results(context);
    gradients.dquery = results.Add(inputs.Shape("query"));
    gradients.dkey = results.Add(inputs.Shape("key"));
    gradients.dvalue = results.Add(inputs.Shape("value"));
    if (kKind == ProbeKind::kGiven) gradients.dprobe = results.Add(inputs.Shape("probe"));
    if (options.ridge) gradients.dridge = results.Add(inputs.OptionalShape("ridge"));
    if (inputs.problem.key_bias) gradients.dbias = results.Add(inputs.OptionalShape("key_bias"));
    if constexpr (kCuda != nullptr) {
      RunOnGpu(context, this->kOperator, results.status, [&](CudaCall& call) {
        kCuda(inputs.problem, options, gradients, call);
      });
    } else {
      RunOn(context, this->kOperator, results.status, [&](Executor& executor) {
        TFJS_LLA_DISPATCH(ProbeAttentionGradient)(inputs.problem, options, gradients, executor);
      });
    }
  }
};

}  // namespace tfjs_lla
