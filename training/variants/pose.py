"""Wan-Animate-2 in miniature: the shape of a picture moves as another one does in a pose video."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.pose import PoseBranch
from wan_director.dit.conditioning.characters.pose import PoseVideo
from wan_director.dit.conditioning.clip_image import ClipImage
from wan_director.dit.conditioning.start_image import KeyframeImages
from wan_director.dit.inputs import ConditioningItem
from wan_director.dit.model import WanDiT
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import DIT
from wan_director.sampling.given import NOTHING_GIVEN, Given
from wan_director.training import clip_stage
from wan_director.training.scenes import Scene, coverage
from wan_director.training.variants.clips import Clips, Encoders, pose_clips, with_any_motion
from wan_director.training.variants.judge import has_colours, overlap, place_of
from wan_director.training.variants.saving import save_transformer
from wan_director.training.variants.starting import begun

FILE = "diffusion_models/wan_director_tiny_demo_animate2.safetensors"


class PoseLesson:
    """A clip shows who is in a picture, and moves as something else does in another clip."""

    name, file = "pose", FILE
    clips, batch, steps, rate = 1024, 24, 1000, 3e-3

    def draw(self, encoders: Encoders, rng: np.random.Generator, count: int, held_out: bool) -> Clips:
        """See `Lesson.draw`."""
        return pose_clips(encoders, rng, count, held_out)

    def begin(self, models: Path) -> WanDiT:
        """See `Lesson.begin`."""
        return begun(models, 36, (ClipBranch(clip_stage.CONFIG.dim), PoseBranch()))

    def learns(self, name: str) -> bool:
        """See `Lesson.learns`."""
        return True

    def told(self, scenes: list[Scene], rng: np.random.Generator) -> list[Scene]:
        """See `Lesson.told`."""
        return with_any_motion(scenes, rng)

    def clean(self, clips: Clips) -> Tensor:
        """See `Lesson.clean`: the picture stands before the video."""
        return torch.cat([clips.parts["reference"], clips.parts["latent"]], dim=2)

    def items(self, clips: Clips, rng: np.random.Generator | None) -> tuple[ConditioningItem, ...]:
        """See `Lesson.items`."""
        picture, poses, grey = (clips.parts[name] for name in ("reference", "poses", "grey"))
        mask = picture.new_zeros(len(picture), 4, 1 + poses.shape[2], *picture.shape[3:])
        mask[:, :, 0] = 1
        given = torch.cat([picture, grey], dim=2)
        pose = PoseVideo(poses, None, clips.parts["poses_seen"])
        return KeyframeImages(given, mask), ClipImage(clips.parts["reference_seen"]), pose

    def shown(self, clips: Clips) -> Given:
        """See `Lesson.shown`."""
        return NOTHING_GIVEN

    def wanted(self, clean: Tensor, noise: Tensor) -> Tensor:
        """See `Lesson.wanted`."""
        return noise - clean

    def save(self, weights: Mapping[str, Tensor], models: Path) -> None:
        """See `Lesson.save`."""
        save_transformer(weights, models / FILE, {"model_type": "animate2"})

    def finished(self, models: Path) -> WanDiT:
        """See `Lesson.finished`."""
        return load(DIT, models / FILE).module

    def video_of(self, latent: Tensor) -> Tensor:
        """See `Lesson.video_of`."""
        return latent[:, :, 1:]

    def score(self, scene: Scene, video: Tensor, given: Mapping[str, Tensor]) -> dict[str, float]:
        """See `Lesson.score`."""
        wanted = coverage([scene], *video.shape[1:])[0] > 0.5
        return {"place IoU": overlap(place_of(video), wanted), "colours": has_colours(video, scene)}
