"""What a miniature learns, as the loop and the judge see it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor
from wan_director.dit.inputs import ConditioningItem
from wan_director.dit.model import WanDiT
from wan_director.sampling.given import Given
from wan_director.training.scenes import Scene
from wan_director.training.variants.clips import Clips, Encoders


class Lesson(Protocol):
    """A miniature to make.

    Attributes:
        name, file: what it is called, and its file among the models.
        clips: how many it learns from.
        batch: clips of a step.
        steps: of the training; the learning rate falls to zero on the way.
        rate: the highest learning rate.
    """

    name: str
    file: str
    clips: int
    batch: int
    steps: int
    rate: float

    def draw(self, encoders: Encoders, rng: np.random.Generator, count: int, held_out: bool) -> Clips:
        """Clips to learn from."""
        ...

    def begin(self, models: Path) -> WanDiT:
        """The model before the first step."""
        ...

    def learns(self, name: str) -> bool:
        """Whether the weight of this name is trained."""
        ...

    def told(self, scenes: list[Scene], rng: np.random.Generator) -> list[Scene]:
        """The scenes that prompts are made of."""
        ...

    def clean(self, clips: Clips) -> Tensor:
        """What is to be made of the noise: [B, 16, T, h, w]."""
        ...

    def items(self, clips: Clips, rng: np.random.Generator | None) -> tuple[ConditioningItem, ...]:
        """What is given beside the words; all of it without `rng`, which leaves some of it out now and then."""
        ...

    def shown(self, clips: Clips) -> Given:
        """What of the latent the model sees otherwise than it is."""
        ...

    def wanted(self, clean: Tensor, noise: Tensor) -> Tensor:
        """The right answer."""
        ...

    def save(self, weights: Mapping[str, Tensor], models: Path) -> None:
        """Writes what was learned as published files are written."""
        ...

    def finished(self, models: Path) -> WanDiT:
        """The model as its files have it."""
        ...

    def video_of(self, latent: Tensor) -> Tensor:
        """Of what was made [B, 16, T, h, w] that which belongs to the video."""
        ...

    def score(self, scene: Scene, video: Tensor, given: Mapping[str, Tensor]) -> dict[str, float]:
        """How well a video [3, F, H, W] in 0..1 follows what was given."""
        ...
