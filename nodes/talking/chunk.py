"""A chunk of a video of people who speak: the frames that it goes on from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from ...common.checking import check_number
from ...common.errors import InvalidInputError
from ...common.shapes import TEMPORAL_STRIDE
from ...dit.conditioning.audio.talk import TalkScene
from ...media.pictures import clean_clip
from .voices import Voices

MOTION_FRAMES = 9
"""Of the video so far that a chunk goes on from, as the model was trained."""
MOST_MOTION_FRAMES = 33


class Chunk(NamedTuple):
    """A chunk of so many `frames`, which goes on from the last `motion` of the clip `previous` [F, H, W, 3], if any."""

    frames: int
    motion: int
    previous: Tensor | None

    @property
    def trim(self) -> int:
        """How many of its frames are those of the video so far."""
        return 0 if self.previous is None else self.motion

    @property
    def first(self) -> int:
        """The frame of the whole video that it begins with."""
        return 0 if self.previous is None else len(self.previous) - self.motion

    def shown(self, voices: Voices, samples: Tensor, shown: Tensor) -> TalkScene:
        """What is said in it, with the normalised latent of the frames that the model is shown in their places.

        Args:
            samples: of its latent, [B, C, T, h, w].
        """
        return replace(voices.scene(samples, self.first), shown=shown, is_kept=self.previous is not None)


def chunk_of(frames: int, motion_frames: int, previous_frames: Any) -> Chunk:
    """A chunk that has something to go on from, and to make.

    Args:
        previous_frames: an IMAGE of the video so far, or None of the first chunk.

    Raises:
        InvalidInputError: it is so; the message has the numbers.
    """
    check_number(motion_frames, "motion_frames")
    if not 1 <= motion_frames <= MOST_MOTION_FRAMES or motion_frames % TEMPORAL_STRIDE != 1:
        raise InvalidInputError(
            f"motion_frames are 1 + 4k, up to {MOST_MOTION_FRAMES}, got {motion_frames}. Use {MOTION_FRAMES}."
        )
    if previous_frames is None:
        return Chunk(frames, motion_frames, None)
    clip = clean_clip(previous_frames, "previous_frames")
    if len(clip) < motion_frames:
        raise InvalidInputError(
            f"previous_frames has {len(clip)} frames, and the chunk goes on from the last {motion_frames}. Connect all "
            "frames of the video so far, or set motion_frames lower."
        )
    if frames <= motion_frames:
        raise InvalidInputError(
            f"A chunk of {frames} frames that goes on from {motion_frames} makes none. Set frames to 81."
        )
    return Chunk(frames, motion_frames, clip)
