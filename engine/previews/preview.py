"""The ways to make a preview of a run: none, blurred colours, sharp pictures of a preview decoder."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ...common.families import Family
from ...common.records import record
from ...common.shapes import LatentShape, video_frames
from ...vae3d.tiny import TinyDecoder
from ..loaded import PlacedModel
from .moving import MovingPicture, moving

PART_OF_STEP = 0.01
"""Multiply-adds that a preview may take, as a part of those of the step it shows."""
_MOMENT = 10**9
"""Multiply-adds that no one waits for: of small videos all frames may be shown."""

Draw = Callable[[Tensor], MovingPicture | None]
"""From the denoised latent of a step [B, C, T, h, w], normalised, to what is shown of its first video."""


class RunShape(NamedTuple):
    """What is sampled: the latent, how many of its first frames are references, and the operations of a step."""

    latent: LatentShape
    references: int
    step_flops: float

    @property
    def frames(self) -> int:
        """Latent frames of the video itself."""
        return self.latent.frames - self.references


class Preview(Protocol):
    """How a run is shown while it lasts."""

    @property
    def weight_bytes(self) -> int:
        """On the device during the whole run."""
        ...

    def working_bytes(self, latent: LatentShape) -> int:
        """On the device between two steps, beside weights and state."""
        ...

    def start(self, run: RunShape, device: torch.device, check: Callable[[], None]) -> Draw:
        """What draws the steps of a run on a device; `check` is called now and again, and may raise to stop."""
        ...


@record
class NoPreview:
    """Nobody watches."""

    weight_bytes: int = 0

    def working_bytes(self, latent: LatentShape) -> int:
        return 0

    def start(self, run: RunShape, device: torch.device, check: Callable[[], None]) -> Draw:
        return lambda _denoised: None


NO_PREVIEW = NoPreview()


@record
class ColourPreview:
    """Each latent pixel in a colour of its own, in every latent frame; see `Family.preview`."""

    family: Family
    weight_bytes: int = 0

    def working_bytes(self, latent: LatentShape) -> int:
        return 0  # less than the state that a step holds beside what is counted

    def start(self, run: RunShape, device: torch.device, check: Callable[[], None]) -> Draw:
        duration_s = _duration_s(self.family, run.frames)
        return lambda denoised: moving(self.family.preview(denoised[:1, :, run.references :])[0], duration_s)


@record(eq=False)
class SharpPreview:
    """One picture of a latent frame, by a preview decoder.

    Rule: of the latent frames as many, evenly spread, as take at most `PART_OF_STEP` of the work of a step, one at
    least; at half the size where that still fills the side that is shown.

    Attributes:
        decoder: a `TinyDecoder` of this family.
        side: the longest side in pixels that is shown.
    """

    decoder: PlacedModel
    side: int

    @property
    def weight_bytes(self) -> int:
        return self.decoder.weights.total

    def working_bytes(self, latent: LatentShape) -> int:
        return self._outline().working_bytes(latent.height, latent.width, self.decoder.dtype.itemsize)

    def start(self, run: RunShape, device: torch.device, check: Callable[[], None]) -> Draw:
        return _SharpRun(self, run, device, check)

    def is_half(self, latent: LatentShape) -> bool:
        """Whether pictures of half the size fill the side that is shown."""
        return max(latent.height, latent.width) * self.decoder.spec.family.spatial_stride >= 2 * self.side

    def chosen(self, run: RunShape) -> list[int]:
        """Numbers of the latent frames that are shown, in the video itself."""
        latent = run.latent
        each = self._outline().multiply_adds(latent.height, latent.width, is_half=self.is_half(latent))
        count = int(max(PART_OF_STEP * run.step_flops / 2, _MOMENT) // each)
        count = min(max(count, 1), run.frames)
        if count == 1:
            return [run.frames // 2]
        return [round(index * (run.frames - 1) / (count - 1)) for index in range(count)]

    def _outline(self) -> TinyDecoder:
        with torch.device("meta"):
            return TinyDecoder(self.decoder.spec.config)


class _SharpRun:
    """Draws the steps of one run; its copy of the decoder is its own, whatever the host does with other models."""

    def __init__(self, preview: SharpPreview, run: RunShape, device: torch.device, check: Callable[[], None]) -> None:
        self._decoder, self._side = preview.decoder, preview.side
        self._chosen = [run.references + index for index in preview.chosen(run)]
        self._is_half = preview.is_half(run.latent)
        self._duration_s = _duration_s(preview.decoder.spec.family, run.frames)
        self._device, self._check = device, check

    def __call__(self, denoised: Tensor) -> MovingPicture:
        frames = (denoised[:1, :, index].to(self._device, self._decoder.dtype) for index in self._chosen)
        pictures = []
        for picture in self._network.stills(frames, is_half=self._is_half):
            pictures.append(_no_larger(picture, self._side)[0].movedim(0, -1).float().cpu())
            self._check()
        return moving(torch.stack(pictures), self._duration_s)

    @cached_property
    def _network(self) -> TinyDecoder:
        """Made for the first picture, where there may be no memory for it."""
        return copy.deepcopy(self._decoder.residence.module).to(self._device)


def _duration_s(family: Family, latent_frames: int) -> float:
    return video_frames(latent_frames) / family.fps


def _no_larger(picture: Tensor, side: int) -> Tensor:
    """A picture [1, 3, H, W], made smaller where it is larger than what is shown."""
    factor = side / max(picture.shape[2:])
    if factor >= 1:
        return picture
    size = [max(1, round(length * factor)) for length in picture.shape[2:]]
    return F.interpolate(picture.float(), size=size, mode="bilinear", antialias=True).clamp(0, 1)
