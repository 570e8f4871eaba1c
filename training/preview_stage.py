"""The bundled preview decoder: a tiny TAEHV that learns to draw what the VAE has encoded."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from wan_director.common.families import TINY
from wan_director.common.log import logger
from wan_director.engine.loaded import place
from wan_director.engine.local import LocalRuntime
from wan_director.engine.recipe import ModelRecipe
from wan_director.engine.vae import encode
from wan_director.training.export import METADATA, PREFIX
from wan_director.training.rich import rich_clips
from wan_director.training.scenes import render, sample_scene
from wan_director.vae3d.tiny import MemoryBlock, TinyDecoder, TinyDecoderConfig

CONFIG = TinyDecoderConfig(TINY.latent_channels, widths=(24, 16, 8, 8), frames=(1, 1, 1))
FILE = f"vae_approx/{PREFIX}_preview.safetensors"
ROUNDS, STEPS, BATCH, FRAMES, SIDE = 2, 900, 6, 5, 64
RATE = 1.2e-3
"""Ten layers of rectifiers without norms die of more."""
_SCENES, _RICH = 160, 16


def _train_round(decoder: TinyDecoder, latents: Tensor, video: Tensor, rng: np.random.Generator) -> None:
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for step in range(STEPS):
        chosen = torch.from_numpy(rng.integers(len(latents), size=BATCH))
        loss = _loss(decoder, latents[chosen], video[chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            logger.info("step %d: loss %.4f", step + 1, loss.item())


class _Unbounded(TinyDecoder):
    """Pixels that are too dark or too bright have a gradient."""

    def finish(self, picture: Tensor) -> Tensor:
        return F.pixel_shuffle(picture, self.config.patch)


def train(models: Path) -> None:
    """Trains on clips that the bundled VAE has encoded, and writes the file: about five minutes on one core."""
    torch.manual_seed(0)
    rng = np.random.default_rng(11)
    latents, video = _clips(models, rng)
    decoder = _Unbounded(CONFIG)
    _prepare(decoder)
    for _ in range(ROUNDS):
        _train_round(decoder, latents, video, rng)
        _save(decoder, models / FILE)
    logger.info("%.1f dB of the stills on clips it has not seen", _held_out_psnr(decoder, models))


@torch.no_grad()
def _prepare(decoder: TinyDecoder) -> None:
    """Blocks that begin as nothing learn faster."""
    for block in decoder.modules():
        if isinstance(block, MemoryBlock):
            nn.init.zeros_(cast(nn.Conv2d, block.conv[-1]).weight)
    nn.init.constant_(cast(nn.Conv2d, decoder.decoder[-1]).bias, 0.5)


def _clips(models: Path, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Normalised latents [N, 16, T, h, w] and their clips [N, 3, F, H, W] in 0..1."""
    video = torch.cat(
        [
            render([sample_scene(rng) for _ in range(_SCENES)], FRAMES, SIDE, SIDE),
            rich_clips(rng, _RICH, FRAMES, SIDE, SIDE),
        ]
    )
    return _encoded(models, video), (video + 1) / 2


@torch.no_grad()
def _encoded(models: Path, video: Tensor) -> Tensor:
    vae = place(ModelRecipe(models / f"vae/{PREFIX}_vae.safetensors", "vae", "fp32", "cpu"), LocalRuntime("cpu"))
    clips = ((video + 1) / 2).movedim(1, -1).split(1)
    return TINY.normalize(torch.cat([encode(vae, clip) for clip in clips]))


def _loss(decoder: TinyDecoder, latents: Tensor, video: Tensor) -> Tensor:
    """Of one picture for each latent frame: the last of those that the VAE makes of it."""
    stills = torch.stack(list(decoder.stills(latents.unbind(2))), dim=2)
    return (stills - video[:, :, ::4]).abs().mean()


@torch.no_grad()
def _held_out_psnr(decoder: TinyDecoder, models: Path) -> float:
    rng = np.random.default_rng(12)
    video = render([sample_scene(rng, held_out=True) for _ in range(24)], FRAMES, SIDE, SIDE)
    stills = torch.stack(list(decoder.stills(_encoded(models, video).unbind(2))), dim=2)
    return float(-10 * (stills.clamp(0, 1) - (video[:, :, ::4] + 1) / 2).square().mean().log10())


def _save(decoder: TinyDecoder, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().half().contiguous() for name, weight in decoder.state_dict().items()}
    save_file(weights, path, metadata=METADATA)


if __name__ == "__main__":
    from wan_director.training.parallel import log_to_console

    torch.set_num_threads(1)
    log_to_console()
    train(Path(__file__).resolve().parent.parent / "models")
