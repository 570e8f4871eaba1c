"""Fun-Control in miniature, in the form of Wan 2.2: 52 channels and a reference picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from wan_director.dit.branches.reference import ReferenceBranch
from wan_director.dit.conditioning.control_video import ControlVideo
from wan_director.dit.conditioning.reference import ReferencePicture
from wan_director.dit.conditioning.start_image import KeyframeImages
from wan_director.dit.inputs import ConditioningItem
from wan_director.dit.model import WanDiT
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import DIT
from wan_director.sampling.given import NOTHING_GIVEN, Given
from wan_director.training.scenes import Scene, coverage
from wan_director.training.variants.clips import Clips, Encoders, control_clips
from wan_director.training.variants.judge import has_colours, overlap, place_of
from wan_director.training.variants.saving import save_transformer
from wan_director.training.variants.starting import begun

FILE = "diffusion_models/wan_director_tiny_demo_fun_control.safetensors"
CHANNELS = 52
REFERENCE_SHARE = 0.5
"""Of the steps, in which all clips have a reference picture: then it stands before the video."""


class ControlLesson:
    """A clip follows outlines, or a shape in white; words or a picture say what it looks like."""

    name, file = "control", FILE
    clips, batch, steps, rate = 1024, 32, 1200, 2e-3

    def draw(self, encoders: Encoders, rng: np.random.Generator, count: int, held_out: bool) -> Clips:
        """See `Lesson.draw`."""
        return control_clips(encoders, rng, count, held_out)

    def begin(self, models: Path) -> WanDiT:
        """See `Lesson.begin`."""
        return begun(models, CHANNELS, (ReferenceBranch(16),))

    def learns(self, name: str) -> bool:
        """See `Lesson.learns`."""
        return True

    def told(self, scenes: list[Scene], rng: np.random.Generator) -> list[Scene]:
        """See `Lesson.told`."""
        return scenes

    def clean(self, clips: Clips) -> Tensor:
        """See `Lesson.clean`."""
        return clips.parts["latent"]

    def items(self, clips: Clips, rng: np.random.Generator | None) -> tuple[ConditioningItem, ...]:
        """See `Lesson.items`."""
        control, picture = clips.parts["control"], ReferencePicture(clips.parts["reference"])
        nothing = KeyframeImages(torch.zeros_like(control), torch.zeros_like(control[:, :4]))
        is_shown = rng is None or rng.random() < REFERENCE_SHARE
        return (ControlVideo(control, nothing), *((picture,) if is_shown else ()))

    def shown(self, clips: Clips) -> Given:
        """See `Lesson.shown`."""
        return NOTHING_GIVEN

    def wanted(self, clean: Tensor, noise: Tensor) -> Tensor:
        """See `Lesson.wanted`."""
        return noise - clean

    def save(self, weights: Mapping[str, Tensor], models: Path) -> None:
        """See `Lesson.save`."""
        save_transformer(weights, models / FILE, {"model_type": "control"})

    def finished(self, models: Path) -> WanDiT:
        """See `Lesson.finished`."""
        return load(DIT, models / FILE).module

    def video_of(self, latent: Tensor) -> Tensor:
        """See `Lesson.video_of`."""
        return latent

    def score(self, scene: Scene, video: Tensor, given: Mapping[str, Tensor]) -> dict[str, float]:
        """See `Lesson.score`."""
        wanted = coverage([scene], *video.shape[1:])[0] > 0.5
        return {"place IoU": overlap(place_of(video), wanted), "colours": has_colours(video, scene)}
