"""Clips that a transformer sees beside the video: to edit it, or to show what is in it (Bernini-R, Phantom)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from ...common.errors import PairingError
from ...common.model_names import THIS_MODEL, ModelNames
from ..config import PATCH, DiTConfig
from .cut import Cut

TRAINED_SOURCES = 5
"""The highest id of a clip that Bernini-R was trained with."""


@dataclass(frozen=True, slots=True, eq=False)
class ContextClip:
    """A clip or picture without noise, whose tokens stand before those of the video; nothing is made of them.

    They go through the layers of the video's own tokens, with its timestep. Their places begin at 0 in time, rows and
    columns, and are turned by the clip's id, so that they are not those of the video; or they are those of frames
    behind the video.

    Attributes:
        latent: [1 or B, C, T, h, w], normalised, of any size.
        source_id: 1, 2, 3, ...; the video itself has 0. Parts of numbers lie between.
        is_source: whether the video is an edit of it, and stands at its places; of the others it shows something.
        behind: of a picture that stands at the time of a frame behind the video's last one, which frame, from 0 on; its
            id turns nothing then.

    Source: bytedance/Bernini bernini/models/wan_diffusion.py; ComfyUI v0.33.0, comfy/ldm/wan/model.py, WanModel
        (`context_latents`, and `time_dim_concat` of pictures behind the video).
    """

    latent: Tensor
    source_id: float
    is_source: bool = False
    behind: int | None = None

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

    def blank(self) -> ContextClip:
        """This clip with nothing on it."""
        return replace(self, latent=torch.zeros_like(self.latent))

    def to(self, device: torch.device) -> ContextClip:
        """This clip on a device."""
        return replace(self, latent=self.latent.to(device))


class ClipWords(NamedTuple):
    """What clips are called in the midst of a sentence: one of them, all that a model takes none of, and a model."""

    one: str
    several: str
    model: str

    @property
    def beginning(self) -> str:
        """One of them at the beginning of a sentence."""
        return self.one[0].upper() + self.one[1:]


_BERNINI = ClipWords(
    "a source video or reference of Bernini", "source video or references of Bernini", "the two experts of Bernini-R"
)
_PICTURES = ClipWords("a picture of a subject for Phantom", "pictures of subjects for Phantom", "a Phantom model")


class ContextSize(NamedTuple):
    """Latent frames, rows and columns of a clip, and whether it is a source."""

    frames: int
    height: int
    width: int
    is_source: bool

    def tokens(self, seen: tuple[int, int, int], frames: int) -> int:
        """How many it has where the model sees so much (frames, rows, columns) of a video of so many latent frames."""
        moves = self.frames > 1 and (self.is_source or self.frames == frames)
        size = (
            min(seen[0], self.frames) if moves else self.frames,
            *(seen[1:] if self.is_source else (self.height, self.width)),
        )
        return prod(-(-length // patch) for length, patch in zip(size, PATCH))


def context_sizes(clips: Iterable[ContextClip]) -> tuple[ContextSize, ...]:
    """The sizes of clips."""
    return tuple(ContextSize(*clip.latent.shape[2:], is_source=clip.is_source) for clip in clips)


def source_ids(count: int, trained: int = TRAINED_SOURCES) -> tuple[float, ...]:
    """The ids of so many clips: 1, 2, 3, ...; of more than the model was trained with, spread evenly up to there.

    Source: bytedance/Bernini bernini/models/wan_diffusion.py (`interpolate_src_id`).
    """
    if count <= trained:
        return tuple(float(number) for number in range(1, count + 1))
    return tuple(1 + (trained - 1) * number / (count - 1) for number in range(count))


def check_clips(
    config: DiTConfig, clips: Sequence[ContextClip], latent: Tensor, names: ModelNames = THIS_MODEL
) -> None:
    """Refuses clips that a transformer, or a latent [B, C, T, h, w], cannot take beside it.

    Raises:
        PairingError: the message has the numbers.
    """
    if not clips:
        return
    if config.image_channels:
        raise PairingError(
            f"{names.subject} has channels for given frames beside the latent, and takes no {words_of(clips).several}. "
            f"Choose {words_of(clips).model}, or another text-to-video model."
        )
    for clip in clips:
        if clip.latent.shape[1] != config.out_channels or len(clip.latent) not in (1, len(latent)):
            raise PairingError(
                f"{words_of(clips).beginning} is {len(clip.latent)} latents of {clip.latent.shape[1]} channels, but "
                f"the latent to sample is {len(latent)} of {config.out_channels}. Encode it with the model's own VAE, "
                "as one for all videos or one for each."
            )


def words_of(clips: Iterable[ContextClip]) -> ClipWords:
    """What clips are called."""
    return _PICTURES if any(clip.behind is not None for clip in clips) else _BERNINI
