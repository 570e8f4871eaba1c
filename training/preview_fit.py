"""Fits the linear latent-to-RGB preview of `common.families.TINY`; its result is pasted there by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from wan_director.training.latents import encode_normalised
from wan_director.training.rich import rich_clips
from wan_director.training.scenes import render, sample_scene


@torch.no_grad()
def fit(runs: Path) -> tuple[Tensor, Tensor]:
    """Least squares of pixels in -1..1 on normalised latents: factors [16, 3] and bias [3]."""
    vae = torch.load(runs / "vae.pt", weights_only=True)
    rng = np.random.default_rng(8)
    video = torch.cat(
        [render([sample_scene(rng) for _ in range(60)], 9, 64, 64), rich_clips(rng, 30, 9, 64, 64)],
    )
    latent = torch.cat([encode_normalised(vae, part) for part in video.split(10)])
    pixels = torch.cat([video[:, :, :1], video[:, :, 1:].unflatten(2, (-1, 4)).mean(3)], dim=2)  # [B, 3, T, H, W]
    pixels = F.avg_pool3d(pixels, (1, 8, 8))
    columns = F.pad(latent.movedim(1, -1).reshape(-1, latent.shape[1]), (0, 1), value=1.0)
    solution = torch.linalg.lstsq(columns, pixels.movedim(1, -1).reshape(-1, 3)).solution
    error = (columns @ solution - pixels.movedim(1, -1).reshape(-1, 3)).square().mean().sqrt()
    print(f"root mean square error {error:.3f} (pixels in -1..1)")
    return solution[:-1], solution[-1]


def main() -> None:
    """Prints the numbers for `families.py`."""
    factors, bias = fit(Path("runs"))
    for row in factors.tolist():
        print("    (" + ", ".join(f"{value:.4f}" for value in row) + "),")
    print("    bias (" + ", ".join(f"{value:.4f}" for value in bias.tolist()) + ")")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
