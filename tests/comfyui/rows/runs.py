"""Short runs of both samplers, and what they start from."""

from __future__ import annotations

import functools
from typing import Any

import torch

SIZE = {"width": 64, "height": 64, "length": 9, "batch_size": 1}
SHIFT = 5.0
PARITY = 1e-5
"""Of a whole run, against ComfyUI's own, see the limits in docs/exactness.md."""


def blank(w: Any) -> dict:
    return w.one("EmptyHunyuanLatentVideo", **SIZE)


@functools.cache
def sides(w: Any, clip: str = "ours") -> dict[str, list]:
    """The prompts."""
    return {
        "positive": w.one("CLIPTextEncode", clip=w.clip(clip), text="a cat dances"),
        "negative": w.one("CLIPTextEncode", clip=w.clip(clip), text="blurry"),
    }


def ours(w: Any, model: Any, latent: dict | None = None, **changes: Any) -> dict:
    """Four steps of our sampler: the LATENT."""
    settings = {
        "seed": 3, "steps": 4, "cfg": 3.0, "shift": SHIFT, "solver": "euler", "schedule": "simple", "denoise": 1.0,
    }  # fmt: skip
    latent = blank(w) if latent is None else latent
    return w.one("WanDirectorSampler", model=model, latent=latent, **{**sides(w), **settings, **changes})


def natively(w: Any, model: Any, latent: dict | None = None, shift: float | None = SHIFT, **changes: Any) -> dict:
    """Four steps of KSampler: the LATENT."""
    if shift is not None:
        model = w.one("ModelSamplingSD3", model=model, shift=shift)
    settings = {"seed": 3, "steps": 4, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    latent = blank(w) if latent is None else latent
    return w.one("KSampler", model=model, latent_image=latent, **{**sides(w), **settings, **changes})


def bridged(w: Any, model: Any) -> Any:
    return w.one("WanDirectorFromNative", model=model, attention="sdpa")


def clip_of(count: int = 9, size: int = 64) -> torch.Tensor:
    """Moving pictures [F, H, W, 3]."""
    time, y, x = torch.meshgrid(*(torch.linspace(0, 1, n) for n in (count, size, size)), indexing="ij")
    return torch.stack([(x + time / 2) % 1, (y * x + time) % 1, (y - time).abs()], dim=-1)


def picture() -> torch.Tensor:
    """One picture [1, H, W, 3]."""
    return clip_of(3, 80)[1:2]
