#include "common/native/probe_op.h"

namespace {

using tfjs_lla::ProbeForwardOp;
using tfjs_lla::ProbeGradientOp;
using tfjs_lla::ProbeKind;

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

class Forward : public ProbeForwardOp<ProbeKind::kSolved> {
 public:
  explicit Forward(tensorflow::OpKernelConstruction* context) : ProbeForwardOp(context, "localLinearAttention") {}
};

class Gradient : public ProbeGradientOp<ProbeKind::kSolved> {
 public:
  explicit Gradient(tensorflow::OpKernelConstruction* context) : ProbeGradientOp(context, "localLinearAttention") {}
};

REGISTER_KERNEL_BUILDER(Name("TfjsLlaLocalLinearAttention").Device(tensorflow::DEVICE_CPU), Forward);
REGISTER_KERNEL_BUILDER(Name("TfjsLlaLocalLinearAttentionGrad").Device(tensorflow::DEVICE_CPU), Gradient);

}  // namespace
