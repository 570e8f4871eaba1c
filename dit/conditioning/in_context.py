"""Clips that a transformer sees beside the video; of Bernini-R those to edit, or that show what is in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ...common.errors import PairingError
from ...common.model_names import THIS_MODEL, ModelNames
from ...common.records import record
from ..branches.branch import Trunk
from ..config import PATCH, DiTConfig
from ..rope import PlacedVideo, source_turns
from .cut import Cut

TRAINED_SOURCES = 5
"""The highest id of a clip that Bernini-R was trained with."""


class ClipBeside(Protocol):
    """A clip or picture without noise, whose tokens stand before those of the video; nothing is made of them.

    They go through the blocks with the video's tokens, with its timestep.
    """

    @property
    def words(self) -> str:
        """What it is called in the midst of a sentence."""
        ...

    @property
    def is_source(self) -> bool:
        """Whether the video follows it frame by frame; else it shows something."""
        ...

    @property
    def size(self) -> ContextSize:
        """Its own."""
        ...

    def embed(self, trunk: Trunk, device: torch.device) -> Tensor:
        """Its tokens [1 or B, L, D], on a device."""
        ...

    def rope(self, video: PlacedVideo) -> Tensor:
        """The turns of its tokens beside a video, see `rope.make_rope`."""
        ...

    def check(self, config: DiTConfig, latent: Tensor, names: ModelNames = THIS_MODEL) -> None:
        """Refuses what a transformer, or a latent [B, C, T, h, w], cannot take beside it.

        Raises:
            PairingError: the message has the numbers.
        """
        ...

    def window(self, cut: Cut) -> ClipBeside | None:
        """What goes with some of the latent's frames; None where nothing does."""
        ...

    def unshown(self) -> ClipBeside | None:
        """What stands in its place in a pass that is not shown it; None where nothing does."""
        ...

    def to(self, device: torch.device) -> ClipBeside:
        """This clip on a device."""
        ...


@record(eq=False)
class ContextClip:
    """A clip or picture that goes through the layers of the video's own tokens.

    Its places begin at 0 in time, rows and columns, and are turned by its id, so that they are not those of the video.

    Attributes:
        latent: [1 or B, C, T, h, w], normalised, of any size.
        source_id: 1, 2, 3, ...; the video itself has 0. Parts of numbers lie between.
        is_source: whether the video is an edit of it, and stands at its places; of the others it shows something.

    Source: bytedance/Bernini bernini/models/wan_diffusion.py; ComfyUI v0.33.0, comfy/ldm/wan/model.py, WanModel
        (`context_latents`).
    """

    latent: Tensor
    source_id: float
    is_source: bool = False

    @property
    def words(self) -> str:
        """See `ClipBeside.words`."""
        return "a source video or reference of Bernini"

    @property
    def size(self) -> ContextSize:
        """See `ClipBeside.size`."""
        return ContextSize(*self.latent.shape[2:], is_source=self.is_source)

    def embed(self, trunk: Trunk, device: torch.device) -> Tensor:
        """See `ClipBeside.embed`."""
        return trunk.tokens_of(trunk.get_submodule("patch_embedding"), self.latent.to(device))

    def rope(self, video: PlacedVideo) -> Tensor:
        """See `ClipBeside.rope`."""
        return video.beside(grid_of(self.latent)) * source_turns(video.head_dim, self.source_id, video.device)

    def check(self, config: DiTConfig, latent: Tensor, names: ModelNames = THIS_MODEL) -> None:
        """See `ClipBeside.check`."""
        if config.image_channels:
            raise PairingError(
                f"{names.subject} has channels for given frames beside the latent, and takes no source video or "
                "references of Bernini. Choose the two experts of Bernini-R, or another text-to-video model."
            )
        if self.latent.shape[1] != config.out_channels or len(self.latent) not in (1, len(latent)):
            raise PairingError(
                f"A source video or reference is {len(self.latent)} latents of {self.latent.shape[1]} channels, but "
                f"the latent to sample is {len(latent)} of {config.out_channels}. Encode it with the model's own VAE, "
                "as one for all videos or one for each."
            )

    def window(self, cut: Cut) -> ContextClip | None:
        """What goes with some of the latent's frames: those of a source, or of any clip as long as the video.

        None of a source that has ended before.
        """
        latent = cut.of_picture(self.latent) if self.is_source else self.latent
        frames = latent.shape[2]
        if frames > 1 and (self.is_source or frames == cut.frames):
            stop = min(cut.stop, frames)
            if stop <= cut.start:
                return None
            latent = latent[:, :, cut.start : stop]
        return replace(self, latent=latent)

    def unshown(self) -> None:
        """See `ClipBeside.unshown`: the model was trained without it."""

    def to(self, device: torch.device) -> ContextClip:
        """This clip on a device."""
        return replace(self, latent=self.latent.to(device))


class ContextSize(NamedTuple):
    """Latent frames, rows and columns of a clip, and whether it is a source; of how many rows and columns of the video
    a source has one."""

    frames: int
    height: int
    width: int
    is_source: bool
    part: int = 1

    def tokens(self, seen: tuple[int, int, int], frames: int) -> int:
        """How many it has where the model sees so much (frames, rows, columns) of a video of so many latent frames."""
        moves = self.frames > 1 and (self.is_source or self.frames == frames)
        shown = (-(-side // self.part) for side in seen[1:])
        size = (
            min(seen[0], self.frames) if moves else self.frames,
            *(shown if self.is_source else (self.height, self.width)),
        )
        return prod(-(-length // patch) for length, patch in zip(size, PATCH))


def context_sizes(clips: Iterable[ClipBeside]) -> tuple[ContextSize, ...]:
    """The sizes of clips."""
    return tuple(clip.size for clip in clips)


def grid_of(latent: Tensor) -> tuple[int, int, int]:
    """Tokens of a latent [B, C, T, h, w] along its frames, rows and columns."""
    frames, rows, columns = (-(-size // patch) for size, patch in zip(latent.shape[2:], PATCH))
    return frames, rows, columns


def source_ids(count: int, trained: int = TRAINED_SOURCES) -> tuple[float, ...]:
    """The ids of so many clips: 1, 2, 3, ...; of more than the model was trained with, spread evenly up to there.

    Source: bytedance/Bernini bernini/models/wan_diffusion.py (`interpolate_src_id`).
    """
    if count <= trained:
        return tuple(float(number) for number in range(1, count + 1))
    return tuple(1 + (trained - 1) * number / (count - 1) for number in range(count))
