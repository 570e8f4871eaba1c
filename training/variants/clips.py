"""What the miniatures learn from: clips, and beside each what it follows, all of them encoded once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from wan_director.media.edges import find_edges
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import CLIP_VISION, TEXT_ENCODER
from wan_director.text_encoder.clip_vision import encode_image
from wan_director.training.captions import Caption, caption, negative_prompt
from wan_director.training.export import FILES
from wan_director.training.latents import encode_normalised
from wan_director.training.scenes import (
    BACKGROUNDS,
    COLOURS,
    MIN_CONTRAST,
    MOTIONS,
    SHAPES,
    Scene,
    coverage,
    place,
    render,
    sample_scene,
)
from wan_director.training.text_stage import token_batch

SIDE, FRAMES = 64, 17
EDGES = 0.4, 0.8
"""Thresholds of the outlines, as the node Canny has them."""
UNPROMPTED = 0.12
OUTLINED = 0.6
"""Share of control videos that show outlines; the others show the whole shape."""

AT_ONCE = 16


class Encoders:
    """The bundled models that a miniature shares with the demo, as a user's graph loads them; none of them moves."""

    def __init__(self, models: Path):
        weights: dict[str, Tensor] = load_file(models / FILES["vae"])
        self.vae = {name: weight.bfloat16() for name, weight in weights.items()}
        self.clip = load(CLIP_VISION, models / FILES["clip_vision"]).module
        text = load(TEXT_ENCODER, models / FILES["text_encoder"])
        self._text, self._tokenizer = text.module, text.tokenizer

    @torch.no_grad()
    def latent(self, video: Tensor) -> Tensor:
        """Normalised latent [B, 16, T, h, w], float16, of a video [B, 3, F, H, W] in -1..1."""
        return torch.cat([encode_normalised(self.vae, part).half() for part in video.split(AT_ONCE)])

    @torch.no_grad()
    def seen(self, video: Tensor) -> Tensor:
        """CLIP features [B, 17, 64], float16, of the first frames of a video [B, 3, F, H, W] in -1..1."""
        return encode_image(self.clip, ((video[:, :, 0] + 1) / 2).movedim(1, -1)).penultimate_hidden_states.half()

    @torch.no_grad()
    def read(self, prompts: list[str], length: int) -> Tensor:
        """Embedded prompts [B, length or what the longest needs, 128], zero behind the words."""
        ids, mask = token_batch(self._tokenizer, prompts)
        words = self._text(ids, mask).float() * mask.unsqueeze(-1)
        return torch.nn.functional.pad(words, (0, 0, 0, max(0, length - words.shape[1])))


class Clips(NamedTuple):
    """Some clips; `parts` has tensors of as many rows, by name."""

    scenes: list[Scene]
    parts: dict[str, Tensor]

    def picked(self, rows: list[int]) -> Clips:
        """Some of them, in float32."""
        chosen = {name: part[rows] for name, part in self.parts.items()}
        floats = {name: part.float() if part.is_floating_point() else part for name, part in chosen.items()}
        return Clips([self.scenes[row] for row in rows], floats)

    def and_more(self, others: Clips) -> Clips:
        """These and others."""
        parts = {name: torch.cat([part, others.parts[name]]) for name, part in self.parts.items()}
        return Clips(self.scenes + others.scenes, parts)


Draw = Callable[[Encoders, np.random.Generator, int, bool], Clips]
"""Draws so many clips, whose combinations of attributes are held out of training or not."""


def with_any_motion(scenes: list[Scene], rng: np.random.Generator) -> list[Scene]:
    """The scenes as told by somebody who knows nothing of how they move, so that words of motion say nothing."""
    return [replace(scene, motion=str(rng.choice(MOTIONS))) for scene in scenes]


def prompts_for(scenes: list[Scene], rng: np.random.Generator) -> list[str]:
    """A sentence for each, or one that says nothing."""
    return [_sentence(scene, rng).text for scene in scenes]


def _sentence(scene: Scene, rng: np.random.Generator) -> Caption:
    if rng.random() < UNPROMPTED:
        return Caption(negative_prompt(rng, short=True), frozenset())
    return caption(scene, rng)


def control_clips(encoders: Encoders, rng: np.random.Generator, count: int, held_out: bool) -> Clips:
    """Clips, what they follow (outlines, or the shape in white), and pictures of the same elsewhere."""
    scenes = [sample_scene(rng, held_out=held_out) for _ in range(count)]
    video = render(scenes, FRAMES, SIDE, SIDE)
    shapes = silhouettes(scenes)
    followed = torch.stack([outlines(shape) if rng.random() < OUTLINED else shape for shape in shapes])
    pictures = render([place(scene, rng) for scene in scenes], 1, SIDE, SIDE)
    parts = {"latent": video, "control": followed, "reference": pictures}
    return Clips(scenes, {name: encoders.latent(part) for name, part in parts.items()})


def outlines(clip: Tensor) -> Tensor:
    """The edges of a clip [3, F, H, W] in -1..1, white on black, as the node Canny draws them."""
    edges = find_edges(((clip + 1) / 2).movedim(0, -1), *EDGES)
    return edges.expand(3, -1, -1, -1) * 2 - 1


def silhouettes(scenes: list[Scene]) -> Tensor:
    """The shapes of scenes in white on black: [B, 3, F, H, W] in -1..1."""
    return coverage(scenes, FRAMES, SIDE, SIDE)[:, None].expand(-1, 3, -1, -1, -1) * 2 - 1


def pose_clips(encoders: Encoders, rng: np.random.Generator, count: int, held_out: bool) -> Clips:
    """Clips, others in which something else moves in the same way, and pictures of who is to move, elsewhere."""
    scenes = [replace(sample_scene(rng, held_out=held_out), shape=shape) for shape in _shapes(rng, count)]
    scenes = [place(replace(scene, shape="triangle"), rng) for scene in scenes]  # whose path has room for every shape
    scenes = [replace(scene, shape=shape) for scene, shape in zip(scenes, _shapes(rng, count))]
    others = [disguised(scene, rng) for scene in scenes]
    video, poses = (render(each, FRAMES, SIDE, SIDE) for each in (scenes, others))
    pictures = render([place(replace(scene, motion="still"), rng) for scene in scenes], 1, SIDE, SIDE)
    parts = {"latent": video, "poses": poses, "reference": pictures, "grey": torch.zeros_like(video)}
    seen = {"reference_seen": encoders.seen(pictures), "poses_seen": encoders.seen(poses)}
    return Clips(scenes, {name: encoders.latent(part) for name, part in parts.items()} | seen)


def disguised(scene: Scene, rng: np.random.Generator) -> Scene:
    """Something else that moves as a scene's shape does."""
    while True:
        colour, background = (str(rng.choice(list(names))) for names in (COLOURS, BACKGROUNDS))
        rgb, background_rgb = COLOURS[colour], BACKGROUNDS[background]
        if sum((a - b) ** 2 for a, b in zip(rgb, background_rgb)) ** 0.5 > MIN_CONTRAST:
            break
    return replace(
        scene, shape=str(rng.choice(SHAPES)), colour=colour, background=background, colour_rgb=rgb,
        background_rgb=background_rgb,
    )  # fmt: skip


def _shapes(rng: np.random.Generator, count: int) -> list[str]:
    return [str(rng.choice(SHAPES)) for _ in range(count)]
