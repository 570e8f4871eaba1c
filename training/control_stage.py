"""Stage "control": a small Fun-Control of the form of Wan 2.2's, whose shape follows that of a control video.

    python -m training.control_stage

It learns from nothing, with the text encoder of the finished demo model held still, in half an hour on one core.
Control videos are the shape's silhouette, white on black, or its outline, so that only the prompt tells the colours.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from wan_director.dit.conditioning.start_image import keyframe_mask
from wan_director.training import lean_dit, small
from wan_director.training.captions import caption, negative_prompt
from wan_director.training.dit_stage import noise_levels, padded_lengths
from wan_director.training.fitting import Texts, fit
from wan_director.training.latents import Bucket, encode_normalised
from wan_director.training.parallel import log_to_console, single_thread
from wan_director.training.picture_stage import unpack
from wan_director.training.scenes import Scene, coverage, render, sample_scene

CONFIG = small.small_config(52)
FILE = "diffusion_models/wan_director_tiny_demo_fun_control.safetensors"
STEPS = 1500
TOKENS = 1280
BUCKETS = (Bucket(17, 64, 64, 0.88, 8), Bucket(33, 64, 64, 0.12, 1))
CLIPS = 64
"""Of a shard."""
STARTED, UNCONTROLLED, CUT_SHORT, UNPROMPTED = 0.25, 0.12, 0.1, 0.1
"""Parts of all clips: with a first frame given, without a control video, with one that ends early, without words."""
LONG_NEGATIVES = 0.1
"""Part of all batches that may have negative prompts of a hundred tokens, which make the whole batch slow."""
GIVEN_WEIGHT = 4.0
SUPPLY_EVERY = 60
"""Steps from one shard to the next."""


class Shard(NamedTuple):
    """Clips of one size: normalised latents of clips, their control videos and first frames [N, 16, T, h, w]."""

    latent: Tensor
    control: Tensor
    image: Tensor
    scenes: list[Scene]


def control_video(scenes: list[Scene], bucket: Bucket, rng: np.random.Generator) -> Tensor:
    """Silhouettes or outlines of the scenes' shapes, [B, 3, F, H, W] in -1..1."""
    inside = coverage(scenes, bucket.frames, bucket.height, bucket.width)
    outline = (4 * inside * (1 - inside)).clamp(0, 1)
    outlined = torch.from_numpy(rng.random(len(scenes)) < 0.4)[:, None, None, None]
    return (torch.where(outlined, outline, inside) * 2 - 1)[:, None].expand(-1, 3, -1, -1, -1)


@torch.no_grad()
def make_shard(vae: dict[str, Tensor], bucket: Bucket, seed: int) -> Shard:
    """Draws and encodes clips; `vae` in bfloat16."""
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng, aspect=bucket.width / bucket.height) for _ in range(CLIPS)]
    at_once = max(1, 16 * 17 * 64 * 64 // (bucket.frames * bucket.height * bucket.width))
    parts: list[list[Tensor]] = [[], [], []]
    for first in range(0, CLIPS, at_once):
        some = scenes[first : first + at_once]
        video = render(some, bucket.frames, bucket.height, bucket.width)
        held = torch.zeros_like(video)
        held[:, :, 0] = video[:, :, 0]
        for part, each in zip(parts, (video, control_video(some, bucket, rng), held)):
            part.append(encode_normalised(vae, each))
    latent, control, image = (torch.cat(part).half() for part in parts)
    return Shard(latent, control, image, scenes)


class Shards:
    """The shards of every size, made one by one."""

    def __init__(self, runs: Path) -> None:
        weights = torch.load(runs / "vae.pt", weights_only=True)
        self.vae = {name: weight.bfloat16() for name, weight in weights.items()}
        self.made: dict[Bucket, list[Shard]] = defaultdict(list)

    def make_next(self) -> None:
        """One more of the size that lacks most; none where all are made."""
        lacking = [bucket for bucket in BUCKETS if len(self.made[bucket]) < bucket.shards]
        if lacking:
            bucket = min(lacking, key=lambda each: (len(self.made[each]) + 0.5) / each.shards)
            number = 1000 * BUCKETS.index(bucket) + len(self.made[bucket])
            self.made[bucket].append(make_shard(self.vae, bucket, 70_000 + number))

    def pick(self, rng: np.random.Generator) -> tuple[Bucket, list[tuple[Shard, int]]]:
        """A size, and so many of its clips as make a batch."""
        there = [bucket for bucket in BUCKETS if self.made[bucket]]
        shares = np.array([bucket.share for bucket in there])
        bucket = there[int(rng.choice(len(there), p=shares / shares.sum()))]
        shards = self.made[bucket]
        picked = [shards[int(rng.integers(len(shards)))] for _ in range(max(4, TOKENS // bucket.tokens))]
        return bucket, [(shard, int(rng.integers(len(shard.scenes)))) for shard in picked]


class Batch(NamedTuple):
    """Clean latents [B, 16, T, h, w], what stands beside them [B, 36, T, h, w], and their prompts."""

    latent: Tensor
    beside: Tensor
    texts: list[str]


def make_batch(bucket: Bucket, picked: list[tuple[Shard, int]], rng: np.random.Generator) -> Batch:
    """Clips with what each of them is given."""
    mask = keyframe_mask([0], bucket.frames, bucket.height // 8, bucket.width // 8)[0]
    beside, texts, has_long = [], [], rng.random() < LONG_NEGATIVES
    for shard, index in picked:
        control = shard.control[index].float().clone()
        if rng.random() < UNCONTROLLED:
            control.zero_()
        elif rng.random() < CUT_SHORT:
            control[:, int(rng.integers(1, control.shape[1])) :] = 0
        started = float(rng.random() < STARTED)
        beside.append(torch.cat([control, mask * started, shard.image[index].float() * started]))
        no_words = rng.random() < UNPROMPTED
        texts.append(negative_prompt(rng, short=not has_long) if no_words else caption(shard.scenes[index], rng).text)
    latent = torch.stack([shard.latent[index] for shard, index in picked]).float()
    return Batch(latent, torch.stack(beside), texts)


def loss_of(weights: dict[str, Tensor], batch: Batch, prompt: lean_dit.Prompt, progress: float) -> Tensor:
    """Mean squared error of the velocity; given frames weigh more."""
    sigma, noise = noise_levels(len(batch.latent), progress), torch.randn_like(batch.latent)
    noisy = torch.lerp(batch.latent, noise, sigma[:, None, None, None, None])
    output = lean_dit.velocity(weights, CONFIG, torch.cat([noisy, batch.beside], 1), sigma * 1000, prompt)
    weight = 1 + (GIVEN_WEIGHT - 1) * batch.beside[:, 16:20].amax(1, keepdim=True)
    return (weight * (output - noise + batch.latent).square()).mean()


def train(runs: Path, models: Path, steps: int) -> None:
    """Trains the model and writes it into `models`."""
    single_thread()
    torch.manual_seed(24)
    unpack(models, runs)
    texts, shards, rng, calls = Texts(models), Shards(runs), np.random.default_rng(25), count()

    def loss(weights: dict[str, Tensor], progress: float) -> Tensor:
        call = next(calls)
        if call < 2 or call % SUPPLY_EVERY == 0:
            shards.make_next()
        batch = make_batch(*shards.pick(rng), rng)
        embedding, mask = texts.encoded(batch.texts)
        prompt = lean_dit.make_prompt(embedding, mask, padded_lengths(mask.sum(1), progress, rng))
        return loss_of(weights, batch, prompt, progress)

    average = fit(small.new_weights(CONFIG), loss, steps, runs / "control.pt")
    small.write(average, models / FILE, CONFIG.heads)


def options_of(program: str, description: str, steps: int) -> argparse.Namespace:
    """What the command line of a stage says: folders, and how many steps."""
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(prog=program, description=description.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=root / "runs", help="folder of checkpoints")
    parser.add_argument("--models", type=Path, default=root / "models", help="folder the finished file goes to")
    parser.add_argument("--steps", type=int, default=steps)
    options = parser.parse_args()
    log_to_console()
    options.runs.mkdir(parents=True, exist_ok=True)
    return options


def main() -> None:
    """Runs the stage."""
    options = options_of("python -m training.control_stage", __doc__ or "", STEPS)
    train(options.runs, options.models, options.steps)


if __name__ == "__main__":
    main()
