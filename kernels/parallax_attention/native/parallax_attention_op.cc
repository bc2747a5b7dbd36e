#include "common/native/probe_launch.h"
#include "common/native/step_op.h"

namespace {

REGISTER_OP("TfjsLlaParallaxAttention")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("probe: float")
    .Input("key_mask: num_masks * bool")
    .Input("key_bias: num_biases * float")
    .Attr("num_masks: int >= 0")
    .Attr("num_biases: int >= 0")
    .Attr("causal: bool")
    .Attr("precision: {'high', 'fast'}")
    .Attr("scale: float")
    .Output("out: float")
    .SetShapeFn(tfjs_lla::ResultShape);

REGISTER_OP("TfjsLlaParallaxAttentionGrad")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("probe: float")
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
    .Output("dprobe: float")
    .Output("dkey_bias: num_biases * float")
    .SetShapeFn(tfjs_lla::GradientShapes);

REGISTER_OP("TfjsLlaParallaxAttentionStep")
    .Input("query: float")
    .Input("key: float")
    .Input("value: float")
    .Input("probe: float")
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

TFJS_LLA_REGISTER_PROBE_KERNELS("TfjsLlaParallaxAttention", tfjs_lla::ProbeKind::kGiven);
TFJS_LLA_REGISTER_PROBE_CUDA_KERNELS("TfjsLlaParallaxAttention", tfjs_lla::ProbeKind::kGiven);

}  // namespace
