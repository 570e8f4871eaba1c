"""Who speaks in a video of InfiniteTalk, and where each of two is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...common.checking import check_number, choice_of, has_values
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.records import record
from ...common.shapes import VideoShape, video_frames
from ...dit.branches.audio.talk import TalkBranch
from ...dit.conditioning.audio.talk import (
    ENCODER_LAYERS,
    TOGETHER,
    TalkScene,
    joined_voices,
    spoken_frames,
    video_features,
)
from ...dit.inputs import Conditioning
from ...media.pictures import Fit, clean_masks, fit_pictures
from ...sampling.given import NOTHING_GIVEN, Given, ShownFrames
from ...sampling.prompts import Prompts, as_prompts
from ..sockets.audio_encoders import audio_features

_ADVICE = f"Encode it with {TalkBranch.listens_through}."
MOST_SCALE = 10.0
_TOKEN = 16
"""Pixels along each side of a token."""


@record(eq=False)
class Voices:
    """The sounds of one or two people, and where they are.

    `heard` [people, frames, 12, width], 25 frames a second, from the beginning of the whole video on; `masks`
    [people, H, W] of each of two, above 0 where they are; `scale`: how much what is heard counts.
    """

    heard: Tensor
    masks: Tensor | None
    scale: float

    def fitted(self, shape: VideoShape, fit: Fit) -> Voices:
        """The same with masks that come to the size of a video as its pictures do.

        Raises:
            InvalidInputError: a mask is then nowhere.
        """
        if self.masks is None:
            return self
        people = (self.masks > 0).float().unsqueeze(-1)
        masks = (fit_pictures(people, shape.width, shape.height, fit)[..., 0] > 0.5).float()
        for number, mask in enumerate(masks, start=1):
            if has_values(mask) and not mask[::_TOKEN, ::_TOKEN].any():
                raise InvalidInputError(
                    f"mask_{number} is nowhere in the picture of {shape.width} x {shape.height}, or as small as a few "
                    "pixels. Paint white over the whole person."
                )
        return replace(self, masks=masks)

    def scene(self, samples: Tensor, first: int) -> TalkScene:
        """What is said in a chunk with the latent `samples` [B, C, T, h, w], which begins with the frame `first`."""
        frames, (height, width) = samples.shape[2], samples.shape[-2:]
        self._tell(first, video_frames(frames))
        masks = None
        if self.masks is not None:
            rows, columns = -(-height // 2), -(-width // 2)
            of_tokens = F.interpolate(self.masks[None], size=(rows, columns), mode="nearest")[0] > 0
            if has_values(of_tokens) and not of_tokens.flatten(1).any(dim=1).all():
                logger.warning("A mask of who speaks is empty: who of both says what is left to chance.")
            masks = of_tokens.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)[:, :height, :width]
        return TalkScene(spoken_frames(self.heard, frames, first), masks, self.scale)

    def _tell(self, first: int, length: int) -> None:
        """Says where the sounds end before the chunk does."""
        end = self.heard.shape[1]
        if first >= end:
            logger.warning(
                "What is said ends after %d frames, before this chunk begins (frame %d): nobody speaks in it.", end,
                first + 1,
            )  # fmt: skip
        elif end < first + length:
            logger.info(
                "What is said ends after %d frames and this chunk after %d: nobody speaks in the rest.", end,
                first + length,
            )  # fmt: skip


def voices_of(sounds: tuple[Any, Any], masks: tuple[Any, Any], together: str, scale: float) -> Voices:
    """The voices of a native AUDIO_ENCODER_OUTPUT and None, or of two with a MASK each, which stay at their sizes.

    Raises:
        InvalidInputError: of two people something is missing, the sounds were heard through another encoder, or the
            scale is beyond what there can be.
    """
    check_number(scale, "audio_scale")
    if not abs(scale) <= MOST_SCALE:
        raise InvalidInputError(f"audio_scale is from -{MOST_SCALE:g} to {MOST_SCALE:g}, got {scale:g}. Usual is 1.")
    order = choice_of(together, TOGETHER, "speakers")
    parts = {"audio_2": sounds[1], "mask_1": masks[0], "mask_2": masks[1]}
    missing = [name for name, part in parts.items() if part is None]
    if 0 < len(missing) < len(parts):
        raise InvalidInputError(
            f"Where two people speak, audio_2, mask_1 and mask_2 are needed, and {' and '.join(missing)} is missing. "
            "Connect all three, or none where one person speaks."
        )
    named = zip(("audio",) if missing else ("audio", "audio_2"), sounds)
    heard = joined_voices([_heard(value, name) for name, value in named], order)
    if missing:
        return Voices(heard, None, float(scale))
    places = [clean_masks(mask, name)[:1, ..., 0] for mask, name in zip(masks, ("mask_1", "mask_2"))]
    return Voices(heard, _of_one_size(places), float(scale))


def with_frames_shown(given: Given, *sides: Prompts) -> Given:
    """What is given of a latent, where a prompt has frames that the model is shown; see `ShownFrames`.

    Raises:
        InvalidInputError: something else is given in the latent, too, or prompts show other frames.
    """
    scenes = {id(scene): scene for scene in scenes_of(*sides) if scene.shown is not None}
    if not scenes:
        return given
    scene, *others = scenes.values()
    shown = scene.shown
    assert shown is not None, "only those are taken"
    if any(not _same(shown, other.shown) or other.is_kept != scene.is_kept for other in others):
        raise InvalidInputError(
            "The prompts come from several Wan InfiniteTalk nodes with other first frames. Use one node for all."
        )
    if given is not NOTHING_GIVEN:
        raise InvalidInputError(
            "The latent has a noise mask, and InfiniteTalk shows the model the first frames itself. Remove Set Latent "
            "Noise Mask."
        )
    return ShownFrames(shown, scene.is_kept)


def scenes_of(*sides: Conditioning | Prompts) -> list[TalkScene]:
    """What is said in the prompts of both sides."""
    items = (item for side in sides for part in as_prompts(side).parts for item in part.conditioning.items)
    return [item for item in items if isinstance(item, TalkScene)]


def check_unspoken(*sides: Conditioning | Prompts | None) -> None:
    """Refuses prompts in which somebody speaks, where a model cannot be shown the frames that go with it.

    Raises:
        InvalidInputError: somebody does.
    """
    if scenes_of(*(side for side in sides if side is not None)):
        raise InvalidInputError(
            "The prompts come from Wan InfiniteTalk, which makes a video anew, and an edit shows the model the clip "
            "itself. Connect Wan Text Encode to Wan Edit Clip."
        )


def _same(one: Tensor, other: Tensor | None) -> bool:
    if other is None or one.shape != other.shape:
        return False
    return not (has_values(one) and has_values(other)) or torch.equal(one, other)


def _heard(audio: Any, name: str) -> Tensor:
    layers, width = audio_features(audio, name).layers, TalkBranch().width
    if len(layers) != ENCODER_LAYERS:
        raise InvalidInputError(
            f"{name} has the features of {len(layers)} layers, and InfiniteTalk hears {ENCODER_LAYERS} of width "
            f"{width}. {_ADVICE}"
        )
    heard = video_features(layers)
    if not len(heard):
        raise InvalidInputError(f"{name} is shorter than a frame of a video. Load a longer sound.")
    return heard


def _of_one_size(masks: list[Tensor]) -> Tensor:
    """Masks [1, H, W] as [people, H, W]; a smaller one is enlarged."""
    height, width = (max(mask.shape[side] for mask in masks) for side in (1, 2))
    return torch.cat([F.interpolate(mask[None], size=(height, width), mode="nearest")[0] for mask in masks])
