#include "common/native/probe_op.h"
#include "common/native/step_op.h"

namespace {

using tfjs_lla::ProbeForwardOp;
using tfjs_lla::ProbeGradientOp;
using tfjs_lla::ProbeKind;
using tfjs_lla::ProbeStepOp;

REGISTER_OP("TfjsLlaLocalLinearAttention")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("key_mask: num_masks * bool")
    .Input("key_bias: num_biases * float")
    .Input("ridge: num_ridges * float")
    .Attr("num_ridges: int >= 0")
    .Attr("ridge_value: float")
    .Attr("tolerance: float")
    .Attr("max_iterations: int >= 1")
    .Attr("solver: {'auto', 'conjugateGradient', 'direct'}")
    .Attr("num_masks: int >= 0")
    .Attr("num_biases: int >= 0")
    .Attr("causal: bool")
    .Attr("scale: float")
    .Output("out: float")
    .Output("probe: float")
    .SetShapeFn(tfjs_lla::ResultShape);

REGISTER_OP("TfjsLlaLocalLinearAttentionGrad")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("probe: float")
    .Input("dout: float")
    .Input("key_mask: num_masks * bool")
    .Input("key_bias: num_biases * float")
    .Input("ridge: num_ridges * float")
    .Attr("num_ridges: int >= 0")
    .Attr("ridge_value: float")
    .Attr("tolerance: float")
    .Attr("max_iterations: int >= 1")
    .Attr("solver: {'auto', 'conjugateGradient', 'direct'}")
    .Attr("num_masks: int >= 0")
    .Attr("num_biases: int >= 0")
    .Attr("causal: bool")
    .Attr("scale: float")
    .Output("dquery: float")
    .Output("dkey: float")
    .Output("dvalue: float")
    .Output("dridge: num_ridges * float")
    .Output("dkey_bias: num_biases * float")
    .SetShapeFn(tfjs_lla::GradientShapes);

REGISTER_OP("TfjsLlaLocalLinearAttentionStep")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("cached_key: float")
    .Input("cached_value: float")
    .Input("key_mask: num_masks * bool")
    .Input("key_bias: num_biases * float")
    .Input("ridge: num_ridges * float")
    .Input("cached_bias: num_cached_biases * float")
    .Attr("num_ridges: int >= 0")
    .Attr("ridge_value: float")
    .Attr("tolerance: float")
    .Attr("max_iterations: int >= 1")
    .Attr("solver: {'auto', 'conjugateGradient', 'direct'}")
    .Attr("num_masks: int >= 0")
    .Attr("num_biases: int >= 0")
    .Attr("num_cached_biases: int >= 0")
    .Attr("causal: bool")
    .Attr("scale: float")
    .Attr("length: int >= 0")
    .Attr("total: int >= 0")
    .Attr("window: int >= 0")
    .Output("out: float")
    .SetShapeFn(tfjs_lla::ResultShape);

class Forward : public ProbeForwardOp<ProbeKind::kSolved> {
 public:
  explicit Forward(tensorflow::OpKernelConstruction* context) : ProbeForwardOp(context, "localLinearAttention") {}
};

class Gradient : public ProbeGradientOp<ProbeKind::kSolved> {
 public:
  explicit Gradient(tensorflow::OpKernelConstruction* context) : ProbeGradientOp(context, "localLinearAttention") {}
};

class Step : public ProbeStepOp<ProbeKind::kSolved> {
 public:
  explicit Step(tensorflow::OpKernelConstruction* context) : ProbeStepOp(context, "localLinearAttention") {}
};

REGISTER_KERNEL_BUILDER(Name("TfjsLlaLocalLinearAttention").Device(tensorflow::DEVICE_CPU), Forward);
REGISTER_KERNEL_BUILDER(Name("TfjsLlaLocalLinearAttentionGrad").Device(tensorflow::DEVICE_CPU), Gradient);
REGISTER_KERNEL_BUILDER(Name("TfjsLlaLocalLinearAttentionStep").Device(tensorflow::DEVICE_CPU), Step);

}  // namespace
