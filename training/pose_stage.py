"""Stage "pose": a small Wan-Animate-2, in which the shape of a picture moves as another one does in a pose video.

    python -m training.pose_stage

It goes on from the small Fun-Control, whose trunk knows shapes, motions and words. Every path is drawn twice, with two
looks: each is the pose video of the other, so that nothing but the motion can be taken from it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from wan_director.dit.branches.pose import PoseBranch, PoseInput
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.training import control_stage, small
from wan_director.training.captions import caption
from wan_director.training.dit_stage import noise_levels
from wan_director.training.fitting import Texts, fit
from wan_director.training.latents import encode_normalised
from wan_director.training.parallel import single_thread
from wan_director.training.picture_stage import unpack
from wan_director.training.scenes import Scene, render, sample_scene

CONFIG = small.small_config(36, PoseBranch())
FILE = "diffusion_models/wan_director_tiny_demo_animate2.safetensors"
HEADER = {"model_type": "animate2"}
STEPS = 400
PATHS, SHARDS, BATCH = 64, 3, 12
FRAMES, SIDE = 17, 64
UNPOSED, UNPROMPTED = 0.08, 0.3
"""Parts of all clips: without poses, and without words, which the picture makes needless."""


class Shard(NamedTuple):
    """Normalised latents: clips in two looks [2, N, 16, T, h, w], a picture of each look [2, N, 16, 1, h, w]."""

    clips: Tensor
    pictures: Tensor
    scenes: tuple[list[Scene], list[Scene]]


def with_look(path: Scene, look: Scene) -> Scene:
    """A scene that moves as `path` and looks as `look`."""
    return replace(look, motion=path.motion, speed=path.speed, start=path.start, end=path.end, radii=path.radii)


def picture_of(scene: Scene) -> Scene:
    """The scene at rest in the middle."""
    return replace(scene, motion="still", start=(0.5, 0.5), end=(0.5, 0.5), radii=(0.19, 0.19))


@torch.no_grad()
def make_shard(vae: dict[str, Tensor], seed: int) -> Shard:
    """Draws and encodes paths in two looks each; `vae` in bfloat16."""
    rng = np.random.default_rng(seed)
    paths = [sample_scene(rng) for _ in range(PATHS)]
    looks = tuple([with_look(path, sample_scene(rng)) for path in paths] for _ in range(2))

    def encoded(scenes: list[Scene], frames: int) -> Tensor:
        parts = [render(scenes[first : first + 16], frames, SIDE, SIDE) for first in range(0, PATHS, 16)]
        return torch.cat([encode_normalised(vae, part) for part in parts]).half()

    clips = torch.stack([encoded(scenes, FRAMES) for scenes in looks])
    pictures = torch.stack([encoded([picture_of(scene) for scene in scenes], 1) for scenes in looks])
    return Shard(clips, pictures, (looks[0], looks[1]))


class Batch(NamedTuple):
    """Clean latents with the picture first [B, 16, 1 + T, h, w], what stands beside them, poses and prompts."""

    latent: Tensor
    beside: Tensor
    poses: Tensor
    texts: list[str]


def make_batch(shards: list[Shard], grey: Tensor, rng: np.random.Generator) -> Batch:
    """Some clips; `grey`: the normalised latent [16, T, h, w] of a clip of which nothing is given."""
    latents, pictures, poses, texts = [], [], [], []
    for _ in range(BATCH):
        shard, index, look = shards[int(rng.integers(len(shards)))], int(rng.integers(PATHS)), int(rng.integers(2))
        pictures.append(shard.pictures[look, index].float())
        latents.append(torch.cat([pictures[-1], shard.clips[look, index].float()], dim=1))
        poses.append(shard.clips[1 - look, index].float())
        texts.append("" if rng.random() < UNPROMPTED else caption(shard.scenes[look][index], rng).text)
    latent, known = torch.stack(latents), torch.stack(pictures)
    given = torch.cat([known, grey.expand(BATCH, -1, -1, -1, -1)], dim=2)
    mask = torch.zeros_like(given[:, :4])
    mask[:, :, :1] = 1
    return Batch(latent, torch.cat([mask, given], dim=1), torch.stack(poses), texts)


def loss_of(
    model: WanDiT, weights: dict[str, Tensor], batch: Batch, text: Tensor, progress: float, *, posed: bool
) -> Tensor:
    """Mean squared error of the velocity; the frame of the picture counts as any other."""
    sigma, noise = noise_levels(len(batch.latent), progress), torch.randn_like(batch.latent)
    noisy = torch.lerp(batch.latent, noise, sigma[:, None, None, None, None])
    steering = (PoseInput(noisy.shape[2], batch.poses, text, None),) if posed else ()
    inputs = DitInputs(noisy, sigma * 1000, text, image_channels=batch.beside, steering=steering)
    output = functional_call(model, weights, (inputs,))
    return (output.float() - noise + batch.latent).square().mean()


def begun_from_control(runs: Path) -> dict[str, Tensor]:
    """The trunk of the small Fun-Control without the channels of its control video."""
    weights = torch.load(runs / "control.pt", weights_only=True)
    embedding = weights["patch_embedding.weight"]
    weights["patch_embedding.weight"] = torch.cat([embedding[:, :16], embedding[:, 32:]], dim=1)
    return {name: weight.clone().requires_grad_() for name, weight in weights.items()}


def train(runs: Path, models: Path, steps: int) -> None:
    """Trains the model and writes it into `models`."""
    single_thread()
    torch.manual_seed(34)
    unpack(models, runs)
    texts, rng = Texts(models), np.random.default_rng(35)
    vae = {name: weight.bfloat16() for name, weight in torch.load(runs / "vae.pt", weights_only=True).items()}
    grey = encode_normalised(vae, torch.zeros(1, 3, FRAMES, SIDE, SIDE))[0]
    shards, model = [make_shard(vae, 80_000)], WanDiT(CONFIG, fp32_residual=True)

    def loss(weights: dict[str, Tensor], progress: float) -> Tensor:
        if len(shards) < SHARDS and progress >= 0.5 * len(shards) / SHARDS:
            shards.append(make_shard(vae, 80_000 + len(shards)))
        batch = make_batch(shards, grey, rng)
        text = texts.padded(batch.texts, rng)
        return loss_of(model, weights, batch, text, progress, posed=bool(rng.random() >= UNPOSED))

    average = fit(begun_from_control(runs), loss, steps, runs / "pose.pt")
    small.write(average, models / FILE, CONFIG.heads, HEADER)


def main() -> None:
    """Runs the stage."""
    options = control_stage.options_of("python -m training.pose_stage", __doc__ or "", STEPS)
    train(options.runs, options.models, options.steps)


if __name__ == "__main__":
    main()
