"""Small models of kinds that no bundled file is of, made of the bundled one: with VACE, of image to video, experts."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from .taught import TRANSFORMER


def _random(shape: tuple[int, ...], seed: int) -> Tensor:
    return 0.02 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _saved(tensors: dict[str, Tensor], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with safe_open(TRANSFORMER, "pt") as file:  # which says its number of heads
        metadata = file.metadata()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    return path


def vace_model(path: Path, blocks: int = 2) -> Path:
    """The bundled model with blocks of VACE, copies of its first ones, whose hints are random."""
    tensors = load_file(TRANSFORMER)
    dim = tensors["patch_embedding.weight"].shape[0]
    own = {name: tensor for name, tensor in tensors.items() if name.startswith("blocks.")}
    tensors |= {f"vace_{name}": tensor.clone() for name, tensor in own.items() if int(name.split(".")[1]) < blocks}
    tensors["vace_patch_embedding.weight"] = _random((dim, 96, 1, 2, 2), 1)
    tensors["vace_patch_embedding.bias"] = torch.zeros(dim)
    for number in range(blocks):
        for name in ("before_proj", "after_proj") if number == 0 else ("after_proj",):
            tensors[f"vace_blocks.{number}.{name}.weight"] = _random((dim, dim), 2 + number)
            tensors[f"vace_blocks.{number}.{name}.bias"] = torch.zeros(dim)
    return _saved(tensors, path)


def image_model(path: Path) -> Path:
    """The bundled model with channels for given frames and no features of CLIP, as the I2V models of Wan 2.2."""
    tensors = load_file(TRANSFORMER)
    weight = tensors["patch_embedding.weight"]
    more = _random((weight.shape[0], 20, *weight.shape[2:]), 3).to(weight.dtype)
    return _saved({**tensors, "patch_embedding.weight": torch.cat([weight, more], dim=1)}, path)


def expert_models(folder: Path) -> tuple[Path, Path]:
    """Two models of one kind, the one for high noise first; the second differs from the bundled one a little."""
    tensors = load_file(TRANSFORMER)
    high = _saved(tensors, folder / "tiny_high_noise.safetensors")
    changed = {name: tensor + _random(tuple(tensor.shape), 4).to(tensor.dtype) for name, tensor in tensors.items()}
    return high, _saved(changed, folder / "tiny_low_noise.safetensors")
