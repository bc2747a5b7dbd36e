"""Makes test/fixtures/keras_attention.safetensors: what Keras 3's MultiHeadAttention computes.

    python -m venv venv && venv/bin/pip install -r scripts/keras_fixture/requirements.txt
    venv/bin/python scripts/keras_fixture/main.py

Every case has its inputs, its weights under Keras' own names, the output, a cotangent `dout`, and the gradient of
`sum(output * dout)` in every weight and every input. Computed in float64; inputs and weights are float32 numbers.
"""

import json
import os
import pathlib
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_ENABLE_X64"] = "1"

import jax
import jax.numpy as jnp
import keras
import numpy as np
from safetensors.numpy import save_file

keras.config.set_floatx("float64")

OUT = pathlib.Path(__file__).resolve().parents[2] / "test/fixtures/keras_attention.safetensors"

# `inputs`: shapes of query, value and, where it is an input of its own, key. `mask`: [B, Tv], hides values.
CASES = {
    "self": dict(args=dict(num_heads=2, key_dim=3), inputs=[[2, 5, 6]]),
    "self_causal": dict(args=dict(num_heads=2, key_dim=4), inputs=[[2, 7, 8]], causal=True),
    "self_mask": dict(args=dict(num_heads=3, key_dim=2), inputs=[[2, 6, 5]], mask=True),
    "self_causal_mask": dict(args=dict(num_heads=2, key_dim=3), inputs=[[2, 6, 4]], causal=True, mask=True),
    "cross": dict(args=dict(num_heads=2, key_dim=4), inputs=[[2, 4, 6], [2, 7, 5]]),
    "cross_mask": dict(args=dict(num_heads=2, key_dim=4), inputs=[[2, 4, 6], [2, 7, 5]], mask=True),
    "cross_key": dict(args=dict(num_heads=2, key_dim=3, value_dim=5), inputs=[[2, 4, 6], [2, 5, 4], [2, 5, 7]]),
    "cross_key_mask": dict(args=dict(num_heads=1, key_dim=4), inputs=[[3, 4, 6], [3, 5, 4], [3, 5, 7]], mask=True),
    "causal_short": dict(args=dict(num_heads=2, key_dim=3), inputs=[[2, 4, 6], [2, 7, 6]], causal=True),
    "causal_short_mask": dict(args=dict(num_heads=2, key_dim=3), inputs=[[2, 4, 6], [2, 7, 5]], causal=True, mask=True),
    "causal_long": dict(args=dict(num_heads=2, key_dim=3), inputs=[[2, 7, 6], [2, 3, 4]], causal=True),
    "causal_long_mask": dict(args=dict(num_heads=2, key_dim=3), inputs=[[2, 7, 6], [2, 4, 4]], causal=True, mask=True),
    "no_bias": dict(args=dict(num_heads=2, key_dim=4, use_bias=False), inputs=[[2, 5, 6]]),
    "no_bias_cross": dict(
        args=dict(num_heads=2, key_dim=4, value_dim=2, use_bias=False), inputs=[[2, 5, 6], [2, 3, 4]], causal=True
    ),
    "value_dim": dict(args=dict(num_heads=2, key_dim=4, value_dim=6), inputs=[[1, 5, 3]]),
    "output_size": dict(args=dict(num_heads=2, key_dim=3, output_shape=(7,)), inputs=[[2, 4, 5], [2, 6, 5]]),
    "output_shape": dict(args=dict(num_heads=2, key_dim=3, output_shape=(2, 4)), inputs=[[2, 4, 5]]),
    "one_token": dict(args=dict(num_heads=2, key_dim=3), inputs=[[2, 1, 4]], causal=True),
}


def make(name, case, random):
    """One case's tensors by name, and its entry in the header."""
    normal = lambda shape, scale=1.0: (scale * random.standard_normal(shape)).astype(np.float32)
    inputs = dict(zip(["query", "value", "key"], [normal(shape) for shape in case["inputs"]]))
    query, value = inputs["query"], inputs.get("value", inputs["query"])
    mask = None
    if case.get("mask"):
        mask = random.random((query.shape[0], value.shape[1])) < 0.6
        mask[:, 0] = True  # A row that sees nothing is uniform in Keras and zero here.
    layer = keras.layers.MultiHeadAttention(**case["args"])
    layer.build(query.shape, value.shape, inputs["key"].shape if "key" in inputs else None)
    # Also biases, which begin as zeros.
    weights = [normal(weight.shape, 0.6) for weight in layer.weights]
    names = ["/".join(weight.path.split("/")[1:]) for weight in layer.weights]

    def run(weights, inputs):
        query = inputs["query"]
        # Asked for the scores Keras takes its plain path; the fused one on jax cannot have value_dim != key_dim.
        (output, _), _ = layer.stateless_call(
            weights,
            [],
            query,
            inputs.get("value", query),
            key=inputs.get("key"),
            value_mask=None if mask is None else jnp.asarray(mask),
            use_causal_mask=case.get("causal", False),
            return_attention_scores=True,
        )
        return output

    wide = lambda x: jnp.asarray(x, dtype="float64")
    wide_weights, wide_inputs = [wide(w) for w in weights], {k: wide(v) for k, v in inputs.items()}
    out = run(wide_weights, wide_inputs)
    dout = normal(out.shape)
    loss = lambda weights, inputs: jnp.sum(run(weights, inputs) * dout)
    dweights, dinputs = jax.grad(loss, argnums=(0, 1))(wide_weights, wide_inputs)
    tensors = {**inputs, "out": out, "dout": dout}
    tensors |= {f"d{key}": gradient for key, gradient in dinputs.items()}
    tensors |= {f"weight/{key}": weight for key, weight in zip(names, weights)}
    tensors |= {f"gradient/{key}": gradient for key, gradient in zip(names, dweights)}
    if mask is not None:
        tensors["mask"] = mask.astype(np.float32)
    entry = dict(args=case["args"], causal=case.get("causal", False), inputs=list(inputs), weights=names)
    return {f"{name}.{key}": np.ascontiguousarray(tensor) for key, tensor in tensors.items()}, entry


def main():
    random = np.random.default_rng(20)
    tensors, cases = {}, {}
    for name, case in CASES.items():
        made, cases[name] = make(name, case, random)
        tensors |= made
    versions = {package: version(package) for package in ["keras", "jax", "numpy"]}
    save_file(tensors, OUT, metadata={"cases": json.dumps(cases), "versions": json.dumps(versions)})
    print(f"{OUT.name}: {len(cases)} cases, {len(tensors)} tensors, {OUT.stat().st_size} bytes, {versions}")


if __name__ == "__main__":
    main()
