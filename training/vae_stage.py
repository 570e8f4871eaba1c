"""Stage 1: trains the causal VAE, pictures first, then clips, and gives its latents Wan 2.1's statistics."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from wan_director.common.families import TINY
from wan_director.common.log import logger
from wan_director.training import lean_vae
from wan_director.training.optimizer import MuonAdamW, average_weights
from wan_director.training.parallel import average_gradients
from wan_director.training.rich import rich_clips
from wan_director.training.scenes import render, sample_scene
from wan_director.vae3d.config import VAEConfig
from wan_director.vae3d.vae import CausalVAE

CONFIG = VAEConfig(base_channels=12, residual_blocks=1)
SCENE_SHARE = 0.62
KEYFRAME_SHARE = 0.15
SAVE_EVERY = 50


class Phase(NamedTuple):
    """Some steps at one clip size and batch (per process); the learning rate runs from `rate` to `end_rate`."""

    steps: int
    batch: int
    frames: int
    side: int
    rate: float
    end_rate: float


PHASES = (
    Phase(1000, 16, 1, 40, 2e-3, 2e-3),
    Phase(360, 8, 5, 40, 2e-3, 1.6e-3),
    Phase(320, 5, 9, 48, 1.6e-3, 5e-4),
    Phase(180, 3, 17, 64, 5e-4, 2e-5),
)


def train(rank: int, runs: Path) -> None:
    """Trains or goes on training; leaves `vae.pt` (the averaged weights) in `runs`."""
    torch.manual_seed(0)
    weights = _initial_weights()
    muon = {name: weight for name, weight in weights.items() if weight.dim() >= 4}
    optimizer = MuonAdamW(muon, {name: weight for name, weight in weights.items() if name not in muon})
    average = {name: weight.detach().clone() for name, weight in weights.items()}
    done = _resume(runs / "vae_checkpoint.pt", weights, optimizer, average)
    rng = np.random.default_rng(1000 + 10 * done + rank)
    total, mean_error = sum(phase.steps for phase in PHASES), 0.0
    for step in range(done, total):
        phase, progress = _phase(step)
        video = training_clips(rng, phase)
        loss, squared_error = _loss(weights, video, step)
        loss.backward()
        average_gradients(weights.values())
        rate = phase.rate + (phase.end_rate - phase.rate) * progress
        optimizer.step(rate * min(1.0, (step + 1) / 50))
        average_weights(average, weights, 0.995, step)
        mean_error = squared_error if step == done else 0.95 * mean_error + 0.05 * squared_error
        if rank == 0 and (step + 1) % SAVE_EVERY == 0:
            logger.info("vae step %d/%d: %.2f dB", step + 1, total, 10 * np.log10(4 / mean_error))
            state = {"step": step + 1, "weights": weights, "average": average, "optimizer": optimizer.state()}
            torch.save(state, runs / "vae_checkpoint.pt")
    if rank == 0:
        torch.save(with_family_statistics(average), runs / "vae.pt")
    if dist.is_initialized():
        dist.barrier()


def training_clips(rng: np.random.Generator, phase: Phase) -> Tensor:
    """A batch of flat scenes and busy clips, some of them in keyframe form: [B, 3, F, side, side]."""
    scenes = max(1, round(phase.batch * SCENE_SHARE))
    large = int(rng.choice([phase.side, phase.side, 64, 96]))
    large = max(large, phase.side)
    video = render([sample_scene(rng) for _ in range(scenes)], max(phase.frames, 5), large, large)
    if phase.frames == 1:
        video = video[:, :, int(rng.integers(5))].unsqueeze(2)
    y, x = rng.integers(0, large - phase.side + 1, 2)
    video = video[:, :, :, y : y + phase.side, x : x + phase.side]
    busy = rich_clips(rng, phase.batch - scenes, phase.frames, phase.side, phase.side)
    video = torch.cat([video, busy])
    if phase.frames > 1:
        for clip in video:
            if rng.random() < KEYFRAME_SHARE:
                given = rng.choice([0, phase.frames - 1, int(rng.integers(phase.frames))], 2)
                hidden = [frame for frame in range(phase.frames) if frame not in given]
                clip[:, hidden] = 0.0
    return video


def reconstruction_loss(output: Tensor, video: Tensor, step: int) -> Tensor:
    """Absolute and squared error, and the absolute error of differences in x, y and t (edges and motion)."""
    error = output - video
    loss = error.abs().mean() + (2.0 if step < 300 else 0.5) * error.square().mean()
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    if video.shape[2] > 1:
        edges = edges + error.diff(dim=2).abs().mean()
    return loss + 0.5 * edges


def _loss(weights: dict[str, Tensor], video: Tensor, step: int) -> tuple[Tensor, float]:
    half = {name: weight.to(torch.bfloat16) for name, weight in weights.items()}
    mean, log_variance = lean_vae.encode(half, video.bfloat16())
    mean, log_variance = mean.float(), log_variance.float().clamp(-20, 5)
    latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    output = lean_vae.decode(half, latent.bfloat16()).float()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    loss = reconstruction_loss(output, video, step) + 3e-4 * divergence
    return loss, float(F.mse_loss(output.detach(), video))


def _initial_weights() -> dict[str, Tensor]:
    """Starts as a picture autoencoder that keeps the clip's frames apart ("inflation").

    Older temporal taps are zero and the temporal resampling keeps, averages or copies frames, so what is learned
    from pictures is right for clips at once. Measured before: clips start at 20.7 dB instead of 9.6 dB.
    """
    weights = {name: weight.detach().clone() for name, weight in CausalVAE(CONFIG).named_parameters()}
    for name, weight in weights.items():
        if name.endswith("gamma"):
            weight.fill_(1.0)
        elif name.endswith("bias"):
            weight.zero_()
        elif name.endswith("time_conv.weight"):
            _copy_frames(weight, doubles=weight.shape[0] == 2 * weight.shape[1])
        else:
            fan_in = weight[0, :, -1].numel() if weight.dim() == 5 else weight[0].numel()
            weight.normal_(0, fan_in**-0.5)
            if weight.dim() == 5:
                weight[:, :, :-1] = 0
    for name, weight in weights.items():
        if name.endswith("residual.6.weight"):
            weight.mul_(0.3)
        if name.endswith("proj.weight"):
            weight.zero_()
    weights["conv1.bias"][TINY.latent_channels :] = -4.0
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def _copy_frames(weight: Tensor, *, doubles: bool) -> None:
    """time_conv at the start: both new frames copy the present one, or two frames are averaged."""
    channels = weight.shape[1]
    eye = torch.eye(channels)
    weight.zero_()
    if doubles:
        weight[:channels, :, 2, 0, 0] = eye
        weight[channels:, :, 2, 0, 0] = eye
    else:
        weight[:, :, 1, 0, 0] = 0.5 * eye
        weight[:, :, 2, 0, 0] = 0.5 * eye


def _phase(step: int) -> tuple[Phase, float]:
    for phase in PHASES:
        if step < phase.steps:
            return phase, step / phase.steps
        step -= phase.steps
    raise ValueError(f"The VAE has {sum(phase.steps for phase in PHASES)} steps, got one more.")


def _resume(path: Path, weights: dict[str, Tensor], optimizer: MuonAdamW, average: dict[str, Tensor]) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(state["weights"][name])
            average[name].copy_(state["average"][name])
    optimizer.load(state["optimizer"])
    return state["step"]


@torch.no_grad()
def with_family_statistics(weights: dict[str, Tensor], clips: int = 96) -> dict[str, Tensor]:
    """The same autoencoder with raw latents of the family's per-channel mean and standard deviation.

    An affine map per latent channel goes into `conv1` (after the encoder) and its inverse into `conv2` (before the
    decoder), so reconstructions do not change. The statistics are measured on `clips` drawn clips.
    """
    rng = np.random.default_rng(5)
    video = render([sample_scene(rng) for _ in range(clips)], 17, 64, 64)
    mean = torch.cat([lean_vae.encode(weights, part)[0] for part in video.split(8)])
    now_mean, now_std = mean.mean((0, 2, 3, 4)), mean.std((0, 2, 3, 4))
    gain = torch.tensor(TINY.latent_std) / now_std
    offset = torch.tensor(TINY.latent_mean) - gain * now_mean
    result = {name: weight.clone() for name, weight in weights.items()}
    channels = TINY.latent_channels
    result["conv1.weight"][:channels] *= gain[:, None, None, None, None]
    result["conv1.bias"][:channels] = result["conv1.bias"][:channels] * gain + offset
    result["conv1.bias"][channels:] += 2 * gain.log()
    inverse = weights["conv2.weight"].flatten(1) / gain
    result["conv2.weight"] = inverse.view_as(weights["conv2.weight"])
    result["conv2.bias"] = weights["conv2.bias"] - inverse @ offset
    return result
