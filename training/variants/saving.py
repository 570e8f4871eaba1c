"""Miniatures as files: matrices in fp8 with a scale each, as ComfyUI's `fp8_scaled` files have them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from wan_director.training.dit_stage import CONFIG
from wan_director.training.export import METADATA

_LARGEST = torch.finfo(torch.float8_e4m3fn).max
_SCALE = ".scale_weight"
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
        tensors[name.removesuffix(".weight") + _SCALE] = scale
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=dict(metadata))


def read_scaled(path: Path) -> dict[str, Tensor]:
    """What `save_scaled` wrote, in float32."""
    tensors = load_file(path)
    weights = {}
    for name, weight in tensors.items():
        if name == "scaled_fp8" or name.endswith(_SCALE):
            continue
        scale = tensors.get(name.removesuffix(".weight") + _SCALE)
        weights[name] = weight.float() if scale is None else weight.float() * scale
    return weights
