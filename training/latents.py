"""The transformer's training clips as latents: drawn, encoded once and kept in small files ("shards")."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from wan_director.common.families import TINY
from wan_director.dit.conditioning.start_image import keyframe_mask
from wan_director.text_encoder.clip_vision import ClipVisionEncoder, encode_image
from wan_director.training import clip_stage, lean_vae
from wan_director.training.clip_stage import start_pictures
from wan_director.training.scenes import Scene, render, sample_scene

SHARD = 96


class Bucket(NamedTuple):
    """One clip size. `share` is its part of the training steps, `shards` the number of files made of it."""

    frames: int
    height: int
    width: int
    share: float
    shards: int

    @property
    def name(self) -> str:
        """For file names."""
        return f"{self.frames}x{self.height}x{self.width}"

    @property
    def tokens(self) -> int:
        """Tokens of one clip in the transformer."""
        return (1 + (self.frames - 1) // 4) * (self.height // 16) * (self.width // 16)


BUCKETS = (
    Bucket(17, 64, 64, 0.36, 40),
    Bucket(33, 64, 64, 0.10, 7),
    Bucket(9, 64, 64, 0.04, 4),
    Bucket(17, 96, 96, 0.10, 6),
    Bucket(17, 64, 96, 0.05, 3),
    Bucket(17, 96, 64, 0.05, 3),
    Bucket(17, 128, 128, 0.25, 8),
    Bucket(33, 96, 96, 0.05, 3),
    Bucket(1, 64, 64, 0.04, 30),
    Bucket(1, 96, 96, 0.02, 12),
    Bucket(1, 64, 96, 0.01, 6),
    Bucket(1, 96, 64, 0.01, 6),
    Bucket(1, 128, 128, 0.02, 12),
)
"""New ones come last: their place is in the seeds of their clips."""


class Shard(NamedTuple):
    """Some clips of one size.

    Attributes:
        latent: [N, 16, T, h, w] normalised, float16.
        image: [N, 20, T, h, w] mask and latents of the keyframe video, float16.
        starts: [N] whether the first frame is among the given ones.
        clip: [N, 17, 64] CLIP features of the first frame, float16.
        scenes: what each clip shows.
    """

    latent: Tensor
    image: Tensor
    starts: Tensor
    clip: Tensor
    scenes: list[Scene]


def keyframes(rng: np.random.Generator, frames: int) -> list[int]:
    """Which frames are given: 55 % first, 27 % first and last, 6 % last, else one to three anywhere."""
    draw = rng.random()
    if draw < 0.55:
        return [0]
    if draw < 0.82:
        return [0, frames - 1]
    if draw < 0.88:
        return [frames - 1]
    return sorted(set(rng.integers(0, frames, rng.integers(1, 4)).tolist()))


@torch.no_grad()
def make_shard(
    vae: dict[str, Tensor], clip: ClipVisionEncoder, bucket: Bucket, seed: int, *, held_out: bool = False
) -> Shard:
    """Draws and encodes one shard; `vae` in bfloat16."""
    rng = np.random.default_rng(seed)
    size = bucket.frames, bucket.height, bucket.width
    scenes = [sample_scene(rng, held_out=held_out, aspect=bucket.width / bucket.height) for _ in range(SHARD)]
    at_once = max(1, 16 * 17 * 64 * 64 // (size[0] * size[1] * size[2]))
    latents, images, starts = [], [], []
    for first in range(0, SHARD, at_once):
        video = render(scenes[first : first + at_once], *size)
        given = [keyframes(rng, bucket.frames) for _ in video]
        held = torch.zeros_like(video)
        for index, frames in enumerate(given):
            held[index, :, frames] = video[index, :, frames]
        latents.append(encode_normalised(vae, video))
        masks = [keyframe_mask(frames, bucket.frames, bucket.height // 8, bucket.width // 8) for frames in given]
        images.append(torch.cat([torch.cat(masks), encode_normalised(vae, held)], dim=1))
        starts += [0 in frames for frames in given]
    features = encode_image(clip, start_pictures(scenes, bucket.height, bucket.width)).penultimate_hidden_states
    return Shard(torch.cat(latents).half(), torch.cat(images).half(), torch.tensor(starts), features.half(), scenes)


def encode_normalised(vae: dict[str, Tensor], video: Tensor) -> Tensor:
    """Normalised latent of a video [B, 3, F, H, W], float32."""
    dtype = vae["conv1.weight"].dtype
    return TINY.normalize(lean_vae.encode(vae, video.to(dtype))[0].float())


class ShardMaker:
    """Makes the shards that are not there yet, a few at a time."""

    def __init__(self, runs: Path):
        self.folder = runs / "latents"
        self.folder.mkdir(exist_ok=True)
        weights = torch.load(runs / "vae.pt", weights_only=True)
        self.vae = {name: weight.bfloat16() for name, weight in weights.items()}
        self.clip = load_clip(runs)

    def missing(self) -> list[tuple[Bucket, int]]:
        """What remains to be made, the most needed first."""
        return [(bucket, number) for bucket, number in shard_order() if not self._path(bucket, number).exists()]

    def make_next(self, rank: int, processes: int) -> bool:
        """One more shard by each process, all of one size so that none waits for another; False when all are made.

        The processes must agree on what is missing: they wait for each other first.
        """
        _wait()
        missing = self.missing()
        _wait()
        if not missing:
            return False
        of_one_size = [number for bucket, number in missing if bucket == missing[0][0]]
        for number in of_one_size[rank:processes:processes]:
            bucket = missing[0][0]
            shard = make_shard(self.vae, self.clip, bucket, 10000 * BUCKETS.index(bucket) + number)
            save_shard(shard, self._path(bucket, number))
        return True

    def _path(self, bucket: Bucket, number: int) -> Path:
        return self.folder / f"{bucket.name}_{number:03}.pt"


def _wait() -> None:
    if dist.is_initialized():
        dist.barrier()


def shard_order() -> list[tuple[Bucket, int]]:
    """All shards, such that every size appears early and the first size is complete before the others."""
    order = [
        ((number + 0.5) / bucket.shards * (0.4 if bucket is BUCKETS[0] else 1), bucket, number)
        for bucket in BUCKETS
        for number in range(bucket.shards)
    ]
    return [(bucket, number) for _, bucket, number in sorted(order, key=lambda item: item[0])]


def save_shard(shard: Shard, path: Path) -> None:
    """Writes a shard so that a reader never sees half a file."""
    part = path.with_suffix(".part")
    torch.save({**shard._asdict(), "scenes": [asdict(scene) for scene in shard.scenes]}, part)
    part.rename(path)


def load_shard(path: Path) -> Shard:
    """Reads a shard of `save_shard`."""
    content = torch.load(path, weights_only=True)
    return Shard(**{**content, "scenes": [Scene(**scene) for scene in content["scenes"]]})


def load_clip(runs: Path) -> ClipVisionEncoder:
    """The encoder that stage 3 left in `runs`."""
    encoder = ClipVisionEncoder(clip_stage.CONFIG)
    encoder.load_state_dict(torch.load(runs / "clip.pt", weights_only=True))
    return encoder.eval().requires_grad_(False)
