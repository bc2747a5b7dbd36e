#include "common/native/probe_launch.h"
#include "common/native/step_op.h"

namespace {

REGISTER_OP("TfjsLlaSoftmaxAttention")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("key_mask: num_masks * bool")
    .Input("key_bias: num_biases * float")
    .Attr("num_masks: int >= 0")
    .Attr("num_biases: int >= 0")
    .Attr("causal: bool")
    .Attr("precision: {'high', 'fast'}")
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
    .Attr("precision: {'high', 'fast'}")
    .Attr("scale: float")
    .Output("dquery: float")
    .Output("dkey: float")
    .Output("dvalue: float")
    .Output("dkey_bias: num_biases * float")
    .SetShapeFn(tfjs_lla::GradientShapes);

REGISTER_OP("TfjsLlaSoftmaxAttentionStep")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("cached_key: float")
    .Input("cached_value: float")
    .Input("key_mask: num_masks * bool")
    .Input("key_bias: num_biases * float")
    .Input("cached_bias: num_cached_biases * float")
    .Input("place: int32")
    .Attr("num_masks: int >= 0")
    .Attr("num_biases: int >= 0")
    .Attr("num_cached_biases: int >= 0")
    .Attr("causal: bool")
    .Attr("precision: {'high', 'fast'}")
    .Attr("scale: float")
    .Output("out: float")
    .SetShapeFn(tfjs_lla::ResultShape);

TFJS_LLA_REGISTER_PROBE_KERNELS("TfjsLlaSoftmaxAttention", tfjs_lla::ProbeKind::kNone);
TFJS_LLA_REGISTER_PROBE_CUDA_KERNELS("TfjsLlaSoftmaxAttention", tfjs_lla::ProbeKind::kNone);

}  // namespace
