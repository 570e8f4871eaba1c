"""What the small variants share: a narrow trunk, weights rounded to few levels while they are trained, their files.

A variant is a whole model of its own and there are several, so each is made for a size of a third of a megabyte: half
the width of the demo model, and matrices of 31 levels a row. Levels are whole numbers up to 15, which fp8 holds
exactly; beside a scale for each row the file is one of "scaled fp8", and a zip makes five bits of each number.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from wan_director.common.families import TINY
from wan_director.dit.branches.branch import Branch
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.training.export import METADATA

LEVELS = 15
"""Of a rounded matrix, on each side of zero."""
MEMORY = 0.995
"""Of the running average of the weights."""


def small_config(in_channels: int, *branches: Branch[DiTConfig]) -> DiTConfig:
    """The trunk of every variant, with the channels and branches of one."""
    return DiTConfig(
        dim=96,
        ffn_dim=192,
        heads=2,
        layers=4,
        in_channels=in_channels,
        text_dim=TINY.text_width,
        freq_dim=64,
        branches=branches,
    )


def new_weights(config: DiTConfig) -> dict[str, Tensor]:
    """Untrained weights of a model, float32, that want gradients."""
    model = WanDiT(config)
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(weight)
        elif name.startswith("time_"):
            nn.init.normal_(weight, std=0.02)
        elif weight.dim() >= 2 and "modulation" not in name:
            nn.init.xavier_uniform_(weight.flatten(1))
    nn.init.zeros_(model.head.head.weight)
    return dict(model.named_parameters())


def is_rounded(name: str, weight: Tensor) -> bool:
    """Whether a tensor is a matrix that is rounded: none of those that see pixels, times or the result."""
    kept = ("patch_embedding", "head.", "time_embedding", "modulation")
    return weight.dim() == 2 and name.endswith(".weight") and not name.startswith(kept)


def levels(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix [rows, columns] as whole numbers from -15 to 15, and the scale of each row [rows, 1]."""
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / LEVELS
    return (weight / scale).round(), scale


def rounded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights as their file will hold them, with the gradients of those that they are made of."""
    made = {}
    for name, weight in weights.items():
        made[name] = weight
        if is_rounded(name, weight):
            numbers, scale = levels(weight.detach())
            made[name] = weight + (numbers * scale - weight).detach()
    return made


def write(weights: Mapping[str, Tensor], path: Path, heads: int, more: Mapping[str, str] | None = None) -> None:
    """A variant's file: rounded matrices as fp8 with scales, all else float16. `more`: for its header."""
    stored = {}
    for name, weight in weights.items():
        weight = weight.detach()
        if is_rounded(name, weight):
            numbers, scale = levels(weight)
            stored[name] = numbers.to(torch.float8_e4m3fn)
            stored[f"{name.removesuffix('.weight')}.weight_scale"] = scale
        else:
            stored[name] = weight.half().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(stored, path, metadata={**METADATA, "wan_director.heads": str(heads), **(more or {})})
