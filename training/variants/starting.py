"""What a miniature begins with: some of the blocks of the bundled image-to-video model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from wan_director.dit.branches.branch import Branch
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.training.dit_stage import CONFIG
from wan_director.training.export import FILES

KEPT = (1, 3)
"""The blocks that a miniature has, of five: so it stays as small as it should be."""


def begun(models: Path, in_channels: int, branches: tuple[Branch[DiTConfig], ...]) -> WanDiT:
    """The bundled model with two of its blocks and other branches; what it has no weights for adds nothing at first.

    Args:
        in_channels: 36 as the bundled one's, or 52: those of a control video stand behind the latent's then.
    """
    config = replace(CONFIG, layers=len(KEPT), in_channels=in_channels, branches=branches)
    model = WanDiT(config)
    has_clip = config.branch(ClipBranch) is not None
    weights = {_placed(name): weight.float() for name, weight in load_file(models / FILES["i2v"]).items()}
    given = {name: weight for name, weight in weights.items() if name and (has_clip or not _of_clip(name))}
    given["patch_embedding.weight"] = _with_control(given["patch_embedding.weight"], in_channels)
    for name, weight in model.named_parameters():
        with torch.no_grad():
            weight.copy_(given[name]) if name in given else weight.zero_()
    return model


def _placed(name: str) -> str:
    """The name of a tensor in the smaller model; nothing for one of a block that it does not have."""
    if not name.startswith("blocks."):
        return name
    _, number, leaf = name.split(".", 2)
    return f"blocks.{KEPT.index(int(number))}.{leaf}" if int(number) in KEPT else ""


def _of_clip(name: str) -> bool:
    return any(part in name for part in ("img_emb.", ".k_img.", ".v_img.", ".norm_k_img."))


def _with_control(weight: Tensor, in_channels: int) -> Tensor:
    """The embedding of patches with channels of a control video, which count for nothing yet."""
    latent = CONFIG.out_channels
    control = weight.new_zeros(len(weight), in_channels - weight.shape[1], *weight.shape[2:])
    return torch.cat([weight[:, :latent], control, weight[:, latent:]], dim=1)
