"""A small transformer, adapters of every form for it, and a loss: what the tests of training share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from wan_director.dit.adapters import Adapter, Change, Full, Hadamard, Kronecker, LowRank
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.weights import layers
from wan_director.weights.casting import CASTINGS, cast_matrix
from wan_director.weights.gguf import CODECS
from wan_director.weights.int8 import Int8Codec
from wan_director.weights.stored import StoredWeight

DIM, RANK = 32, 3
CONFIG = DiTConfig(dim=DIM, ffn_dim=64, heads=2, layers=3, text_dim=24, text_tokens=8, freq_dim=16)
FORMS = ("lora", "loha", "lokr", "lokr of products", "full")
KEPT = Execution()
CHECKPOINTED = Execution(checkpoints=True)


def model(operations=nn) -> WanDiT:
    torch.manual_seed(0)
    made = WanDiT(CONFIG, operations).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def inputs() -> DitInputs:
    torch.manual_seed(1)
    return DitInputs(torch.randn(1, 16, 2, 4, 6), torch.tensor([500.0]), torch.randn(1, 8, 24))


def small(*shape: int) -> Tensor:
    return 0.3 * torch.randn(shape)


def delta(form: str, out: int, inner: int):
    match form:
        case "lora":
            return LowRank(small(RANK, inner), small(out, RANK), 0.5)
        case "loha":
            return Hadamard(small(RANK, inner), small(out, RANK), small(2, inner), small(out, 2), 0.7)
        case "lokr":
            return Kronecker(small(4, 2), small(out // 4, inner // 2), scale=0.5)
        case "lokr of products":
            return Kronecker(small(4, 2), small(out // 4, 2), small(2, 2), small(2, inner // 2), 0.5)
    return Full(0.1 * small(out, inner))


def loss_of(velocity: Tensor) -> Tensor:
    torch.manual_seed(2)
    return (velocity - torch.randn(velocity.shape).to(velocity.dtype)).square().mean()


LAYERS = (
    "blocks.0.self_attn.q", "blocks.1.cross_attn.v", "blocks.2.ffn.0", "text_embedding.0", "time_embedding.2",
    "time_projection.1", "head.head",
)  # fmt: skip


def matrices(base: WanDiT, form: str, magnitude: str = "") -> Adapter:
    torch.manual_seed(3)
    changes = {}
    for path in LAYERS:
        layer = base.get_submodule(path)
        out, inner = layer.out_features, layer.in_features
        lengths = {"rows": torch.rand(out, 1) + 0.5, "columns": torch.rand(1, inner) + 0.5, "": None}[magnitude]
        changes[f"{path}.weight"] = (Change(delta(form, out, inner), lengths),)
    return Adapter("matrices", changes)


def everything(base: WanDiT) -> Adapter:
    """LoRA, DoRA and LoKr in turn for the matrices, differences of all that is no matrix."""
    torch.manual_seed(4)
    changes = {}
    for number, (name, value) in enumerate(base.named_parameters()):
        if value.ndim != 2:
            changes[name] = (Change(Full(0.1 * small(*value.flatten(1).shape if value.ndim == 5 else value.shape))),)
            continue
        lengths = torch.rand(len(value), 1) + 0.5 if number % 3 == 1 else None
        changes[name] = (Change(delta(("lora", "lokr")[number % 2], *value.shape), lengths),)
    return Adapter("everything", changes)


def packed_in(form: str) -> Callable[[Tensor], StoredWeight]:
    """A function: matrix -> the same stored in a form."""

    def gguf(weight: Tensor) -> StoredWeight:
        from gguf import GGMLQuantizationType, quantize

        packed = torch.from_numpy(np.array(quantize(weight.numpy(), GGMLQuantizationType.Q8_0)))
        return StoredWeight(CODECS["Q8_0"], {"weight": packed}, tuple(weight.shape))

    def int8(weight: Tensor, group: int | None = None) -> StoredWeight:
        scale = weight.abs().amax(1, keepdim=True) / 127
        parts = {"weight": (weight / scale).round().to(torch.int8), "scale": scale}
        return StoredWeight(Int8Codec(group), parts, tuple(weight.shape))

    return {
        "fp8": lambda weight: cast_matrix(weight, CASTINGS["fp8_scaled"]),
        "gguf": gguf,
        "int8": int8,
        "int8, rotated": lambda weight: int8(weight, 16),
    }[form]


def stored_model(form: str, dtype: torch.dtype = torch.float32) -> tuple[WanDiT, dict[str, Tensor]]:
    """A model with the matrices of its blocks in a stored form, and the numbers they stand for."""
    base = model(layers).to(dtype)
    weights = dict(base.state_dict())
    for name, layer in base.blocks.named_modules():
        if isinstance(layer, layers.Linear):
            layer.store(packed_in(form)(layer.weight.detach()))
            weights[f"blocks.{name}.weight"] = layer.dense_weight()
    return base, weights
