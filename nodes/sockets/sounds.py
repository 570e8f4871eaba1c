"""Sound between nodes: ComfyUI's AUDIO, and what the writer of videos takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...common.checking import kind_of
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...media.sound.clip import Sound, clean_sound
from ...media.video_writing import check_sound

UNNOTED_S = 0.05
"""A sound that is so much longer or shorter than its video is fitted without a word."""


def native_audio(sound: Sound) -> dict[str, Any]:
    """As ComfyUI's nodes have it: waveform [1, C, samples] and sample_rate."""
    return {"waveform": sound.waveform[None], "sample_rate": sound.sample_rate}


def sound_of(audio: Any, name: str = "audio") -> Sound | None:
    """What came over a socket of the type AUDIO; None where nothing did, or a video had no sound.

    Raises:
        InvalidInputError: it is no sound, see `clean_sound`.
    """
    if audio is None:
        return None
    if not isinstance(audio, Mapping) or "waveform" not in audio or "sample_rate" not in audio:
        raise InvalidInputError(
            f"{name} must be a sound with waveform and sample_rate, got {kind_of(audio)}. Connect the audio of Wan "
            "Load Video, or of Load Audio."
        )
    return clean_sound(audio["waveform"], audio["sample_rate"], name)


def fitted_sound(sound: Sound, frames: int, fps: float, format: str) -> Sound:
    """The sound of a video of so many frames: as long as they are.

    Raises:
        InvalidInputError: files of this format have no room for sound.
        MissingPackageError: the encoder is missing.
    """
    check_sound(format)
    if not fps > 0:  # the writer refuses it
        return sound
    length = frames / fps
    if abs(sound.duration_s - length) > UNNOTED_S:
        words = "its end is cut off" if sound.duration_s > length else "silence follows"
        logger.info("The sound has %.2f seconds and the video %.2f: %s.", sound.duration_s, length, words)
    return sound.fitted(length)
