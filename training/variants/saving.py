"""Miniatures as files: matrices in fp8 with a scale each, as ComfyUI's `fp8_scaled` files have them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from wan_director.training.dit_stage import CONFIG
from wan_director.training.export import METADATA

_LARGEST = torch.finfo(torch.float8_e4m3fn).max
_HALF = ("patch_embedding", "ref_conv", "modulation", "norm")
"""What stays in float16: convolutions and norms, and what is no matrix."""


def save_transformer(weights: Mapping[str, Tensor], path: Path, said: Mapping[str, str]) -> None:
    """Writes a transformer; `said`: what its header says of it, as published files do."""
    metadata = {**METADATA, "wan_director.heads": str(CONFIG.heads), "config": json.dumps({"transformer": dict(said)})}
    save_scaled(weights, path, metadata)


def save_scaled(weights: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Writes a file; each matrix so that its largest number is the largest of fp8."""
    tensors: dict[str, Tensor] = {"scaled_fp8": torch.empty(0, dtype=torch.float8_e4m3fn)}
    for name, weight in weights.items():
        plain = weight.detach().float().contiguous()
        if plain.ndim != 2 or any(part in name for part in _HALF) or not name.endswith(".weight"):
            tensors[name] = plain.half()
            continue
        scale = plain.abs().max() / _LARGEST
        tensors[name] = (plain / scale).to(torch.float8_e4m3fn)
        tensors[f"{name.removesuffix('.weight')}.scale_weight"] = scale
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=dict(metadata))
