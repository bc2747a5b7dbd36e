"""Writes test/fixtures/torch: attention modules of PyTorch's as safetensors files, and what they compute.

    python -m venv venv && venv/bin/pip install -r scripts/torch_fixture/requirements.txt
    venv/bin/python scripts/torch_fixture/main.py

The files of weights are what a user has: `save_file(module.state_dict())`. `expected.safetensors` has the inputs and the
outputs, computed in float64 from the weights as they are stored, so that rounding to 16 bits is no error of theirs.
With `--check FILE` it compares a file that `saveSafetensors` wrote to `linears_f32.safetensors`, read by Python.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

FOLDER = Path(__file__).parents[2] / "test/fixtures/torch"
BATCH, TOKENS = 2, 5
DIM, HEADS, KEY_DIM, VALUE_DIM, OUT = 10, 2, 3, 4, 7
PREFIX = "layers.0.attn"
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


class Attention(nn.Module):
    """Four linear projections around scaled dot-product attention: the layout of Llama and flash-linear-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(DIM, HEADS * KEY_DIM)
        self.k_proj = nn.Linear(DIM, HEADS * KEY_DIM)
        self.v_proj = nn.Linear(DIM, HEADS * VALUE_DIM)
        self.o_proj = nn.Linear(HEADS * VALUE_DIM, OUT)

    def forward(self, x: torch.Tensor, causal: bool) -> torch.Tensor:
        def heads(projected: torch.Tensor) -> torch.Tensor:
            return projected.view(BATCH, TOKENS, HEADS, -1).transpose(1, 2)

        q, k, v = heads(self.q_proj(x)), heads(self.k_proj(x)), heads(self.v_proj(x))
        attended = scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.o_proj(attended.transpose(1, 2).flatten(2))


def write() -> None:
    torch.manual_seed(20261124)
    FOLDER.mkdir(parents=True, exist_ok=True)
    attention = Attention()
    multihead = nn.MultiheadAttention(12, 3, batch_first=True)
    # PyTorch starts these biases at zero, which would hide a bias in the wrong place.
    nn.init.normal_(multihead.in_proj_bias)
    nn.init.normal_(multihead.out_proj.bias)
    x = torch.randn(BATCH, TOKENS, DIM)
    x_multihead = torch.randn(BATCH, TOKENS, 12)
    expected = {"x": x, "multihead.x": x_multihead}

    with torch.no_grad():
        for name, dtype in DTYPES.items():
            stored = {key: value.to(dtype) for key, value in attention.state_dict().items()}
            save_file({f"{PREFIX}.{key}": value for key, value in stored.items()}, FOLDER / f"linears_{name}.safetensors")
            exact = Attention().double()
            exact.load_state_dict({key: value.double() for key, value in stored.items()})
            expected[f"linears_{name}.full"] = exact(x.double(), causal=False).float()
            expected[f"linears_{name}.causal"] = exact(x.double(), causal=True).float()
        # `metadata` as transformers wants it.
        save_file(multihead.state_dict(), FOLDER / "multihead.safetensors", metadata={"format": "pt"})
        exact = multihead.double()
        expected["multihead.full"] = exact(*[x_multihead.double()] * 3, need_weights=False)[0].float()
        hidden = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)
        causal = exact(*[x_multihead.double()] * 3, attn_mask=hidden, need_weights=False)[0]
        expected["multihead.causal"] = causal.float()
    versions = {"versions": f"torch {torch.__version__}"}
    save_file({key: value.contiguous() for key, value in expected.items()}, FOLDER / "expected.safetensors", versions)


def check(file: Path) -> None:
    wanted, found = load_file(FOLDER / "linears_f32.safetensors"), load_file(file)
    assert wanted.keys() == found.keys(), (wanted.keys(), found.keys())
    for name, tensor in wanted.items():
        assert torch.equal(tensor, found[name]), name
    print(f"{file}: {len(found)} tensors, all equal")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.check)
    else:
        write()
