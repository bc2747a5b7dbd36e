#include "common/native/probe_op.h"

namespace {

using tfjs_lla::ProbeForwardOp;
using tfjs_lla::ProbeGradientOp;
using tfjs_lla::ProbeKind;

REGISTER_OP("TfjsLlaSoftmaxAttention")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("key_mask: num_masks * bool")
    .Input("key_bias: num_biases * float")
    .Attr("num_masks: int >= 0")
    .Attr("num_biases: int >= 0")
    .Attr("causal: bool")
    .Attr("scale: float")
    .Output("out: float")
    .SetShapeFn(tfjs_lla::ResultShape);

REGISTER_OP("TfjsLlaSoftmaxAttentionGrad")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("dout: float")
    .Input("key_mask: num_masks * bool")
    .Input("key_bias: num_biases * float")
    .Attr("num_masks: int >= 0")
    .Attr("num_biases: int >= 0")
    .Attr("causal: bool")
    .Attr("scale: float")
    .Output("dquery: float")
    .Output("dkey: float")
    .Output("dvalue: float")
    .Output("dkey_bias: num_biases * float")
    .SetShapeFn(tfjs_lla::GradientShapes);

class Forward : public ProbeForwardOp<ProbeKind::kNone> {
 public:
  explicit Forward(tensorflow::OpKernelConstruction* context) : ProbeForwardOp(context, "softmaxAttention") {}
};

class Gradient : public ProbeGradientOp<ProbeKind::kNone> {
 public:
  explicit Gradient(tensorflow::OpKernelConstruction* context) : ProbeGradientOp(context, "softmaxAttention") {}
};

REGISTER_KERNEL_BUILDER(Name("TfjsLlaSoftmaxAttention").Device(tensorflow::DEVICE_CPU), Forward);
REGISTER_KERNEL_BUILDER(Name("TfjsLlaSoftmaxAttentionGrad").Device(tensorflow::DEVICE_CPU), Gradient);

}  // namespace
