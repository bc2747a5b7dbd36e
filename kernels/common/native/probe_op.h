// TensorFlow's side of softmax, Parallax and local linear attention: one pair of operations per operator.
#pragma once

#include "common/native/op.h"
#include "common/native/probe_options.h"

namespace tfjs_lla {

template <ProbeKind kKind>
class ProbeOp : public tensorflow::OpKernel {
 public:
  ProbeOp(tensorflow::OpKernelConstruction* context, const char* op) : OpKernel(context), op_(op) {
    options_.kind = kKind;
    OP_REQUIRES_OK(context, context->GetAttr("causal", &causal_));
    OP_REQUIRES_OK(context, context->GetAttr("scale", &options_.scale));
    options_.ridge_value = 1;
    options_.tolerance = 1e-6;
    options_.max_iterations = 1;
    options_.solver = Solver::kAuto;
    if (kKind != ProbeKind::kSolved) return;
    float tolerance;
    std::string solver;
    OP_REQUIRES_OK(context, context->GetAttr("ridge_value", &options_.ridge_value));
    OP_REQUIRES_OK(context, context->GetAttr("tolerance", &tolerance));
    OP_REQUIRES_OK(context, context->GetAttr("max_iterations", &options_.max_iterations));
    OP_REQUIRES_OK(context, context->GetAttr("solver", &solver));
    options_.tolerance = tolerance;
    options_.solver = solver == "direct"              ? Solver::kDirect
                      : solver == "conjugateGradient" ? Solver::kConjugateGradient
                                                      : Solver::kAuto;
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

  const char* op_;
  bool causal_;
  ProbeOptions options_;
};

template <ProbeKind kKind>
class ProbeForwardOp : public ProbeOp<kKind> {
 public:
  using ProbeOp<kKind>::ProbeOp;

  void Compute(tensorflow::OpKernelContext* context) override {
    Inputs inputs(context, this->op_);
    ProbeOptions options;
    if (!this->Gather(context, inputs, options, false)) return context->CtxFailure(inputs.status);
    tensorflow::Tensor *out = nullptr, *probe = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, inputs.result, &out));
    if (kKind == ProbeKind::kSolved) OP_REQUIRES_OK(context, context->allocate_output(1, inputs.Shape("query"), &probe));
    const ProbeOutputs outputs{out->flat<float>().data(), probe ? probe->flat<float>().data() : nullptr};
    try {
      TensorflowExecutor executor(context);
      TFJS_LLA_DISPATCH(ProbeAttention)(inputs.problem, options, outputs, executor);
    } catch (const std::bad_alloc&) {
      context->CtxFailure(absl::ResourceExhaustedError(absl::StrCat(this->op_, ": out of memory")));
    }
  }
};

template <ProbeKind kKind>
class ProbeGradientOp : public ProbeOp<kKind> {
 public:
  using ProbeOp<kKind>::ProbeOp;

  void Compute(tensorflow::OpKernelContext* context) override {
    Inputs inputs(context, this->op_);
    ProbeOptions options;
    if (!this->Gather(context, inputs, options, true)) return context->CtxFailure(inputs.status);
    const Dims& dims = inputs.problem.dims;
    ProbeGradients gradients{};
    gradients.dout = inputs.Required("dout", dims.heads * dims.Tq * dims.Dv);
    if (!inputs.status.ok()) return context->CtxFailure(inputs.status);
    int next = 0;
    absl::Status status;
    auto output = [&](const tensorflow::TensorShape& shape) -> float* {
      tensorflow::Tensor* tensor = nullptr;
      status.Update(context->allocate_output(next++, shape, &tensor));
      return tensor ? tensor->flat<float>().data() : nullptr;
    };
    // The shape of an optional input that is there.
    auto shape_of = [&](const char* name) {
      tensorflow::OpInputList list;
      status.Update(context->input_list(name, &list));
      return list[0].shape();
    };
    gradients.dquery = output(inputs.Shape("query"));
    gradients.dkey = output(inputs.Shape("key"));
    gradients.dvalue = output(inputs.Shape("value"));
    if (kKind == ProbeKind::kGiven) gradients.dprobe = output(inputs.Shape("probe"));
    if (options.ridge) gradients.dridge = output(shape_of("ridge"));
    if (inputs.problem.key_bias) gradients.dbias = output(shape_of("key_bias"));
    if (!status.ok()) return context->CtxFailure(status);
    try {
      TensorflowExecutor executor(context);
      TFJS_LLA_DISPATCH(ProbeAttentionGradient)(inputs.problem, options, gradients, executor);
    } catch (const std::bad_alloc&) {
      context->CtxFailure(absl::ResourceExhaustedError(absl::StrCat(this->op_, ": out of memory")));
    }
  }
};

// [..., Tq, Dv] from the shapes of query and value.
inline absl::Status ResultShape(tensorflow::shape_inference::InferenceContext* c) {
  tensorflow::shape_inference::ShapeHandle result;
  TF_RETURN_IF_ERROR(c->ReplaceDim(c->input(0), -1, c->Dim(c->input(2), -1), &result));
  c->set_output(0, result);
  if (c->num_outputs() > 1) c->set_output(1, c->input(0));
  return absl::OkStatus();
}

// Gradients have the shapes of the first inputs; of the optional ones it is not said.
inline absl::Status GradientShapes(tensorflow::shape_inference::InferenceContext* c) {
  for (int i = 0; i < c->num_outputs(); i++) c->set_output(i, i < 3 ? c->input(i) : c->UnknownShape());
  return absl::OkStatus();
}

}  // namespace tfjs_lla
