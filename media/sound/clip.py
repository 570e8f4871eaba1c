"""Sound in memory: numbers at a rate, as long as the video that it belongs to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...common.checking import has_values, is_finite, kind_of, tensor_of
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.records import record

LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
"""What one to eight channels are taken for: those that AAC and Opus both hold."""
MAX_SAMPLE_RATE = 768_000
_AUDIO = "a sound [batch, channels, samples]"
_ADVICE = "Connect a sound."


@record(eq=False)
class Sound:
    """Sound.

    Attributes:
        waveform: [C, samples], float32; -1..1 is as loud as a file can be.
        sample_rate: samples per second.
    """

    waveform: Tensor
    sample_rate: int

    @property
    def channels(self) -> int:
        """How many there are."""
        return self.waveform.shape[0]

    @property
    def duration_s(self) -> float:
        """Its length."""
        return self.waveform.shape[1] / self.sample_rate

    def fitted(self, duration_s: float) -> Sound:
        """The sound in a length, to the nearest sample: its end is cut off, or silence follows."""
        samples = round(duration_s * self.sample_rate)
        more = samples - self.waveform.shape[1]
        waveform = F.pad(self.waveform, (0, more)) if more > 0 else self.waveform[:, :samples]
        return replace(self, waveform=waveform)


def clean_sound(waveform: Any, sample_rate: Any, name: str) -> Sound:
    """What came over a socket as a sound, if it is one; louder than a file can be is cut, and the log says so.

    Args:
        waveform: [B, C, samples], float; of several sounds the first is taken, and the log says so.
        sample_rate: samples per second.
        name: of the input, for messages.

    Raises:
        InvalidInputError: it is something else, empty, of more than eight channels, NaN or infinite.
    """
    waveform = tensor_of(waveform, name, _AUDIO, _ADVICE)
    if waveform.ndim != 3 or 0 in waveform.shape or not waveform.is_floating_point():
        kind = "" if waveform.is_floating_point() else " of whole numbers"
        raise InvalidInputError(
            f"{name} must be {_AUDIO} with values from -1 to 1, got {list(waveform.shape)}{kind}. {_ADVICE}"
        )
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, int) or not 0 < sample_rate <= MAX_SAMPLE_RATE:
        got = sample_rate if isinstance(sample_rate, int | float) else kind_of(sample_rate)
        raise InvalidInputError(
            f"The sample_rate of {name} must be a whole number from 1 to {MAX_SAMPLE_RATE}, got {got}. Usual is 44100 "
            "or 48000."
        )
    if waveform.shape[1] > len(LAYOUTS):
        raise InvalidInputError(
            f"{name} has {waveform.shape[1]} channels, where a video file has 1 (mono), 2 (stereo) to 8 (7.1). Mix it "
            "down to two."
        )
    if len(waveform) > 1:
        logger.info("%s holds %d sounds; the first is used.", name, len(waveform))
    first = waveform[0].detach().cpu().float()
    if not is_finite(first):
        bad = int((~torch.isfinite(first)).sum())
        raise InvalidInputError(
            f"{name} holds {bad} samples that are NaN or infinite, where a sound has values from -1 to 1. Check the "
            "node that made it."
        )
    return Sound(_as_loud_as_files(first, name), sample_rate)


def _as_loud_as_files(waveform: Tensor, name: str) -> Tensor:
    if not has_values(waveform):
        return waveform
    loudest = float(waveform.abs().max())
    if loudest <= 1:
        return waveform
    logger.info("%s has values up to %.3g; they are cut to -1..1.", name, loudest)
    return waveform.clamp(-1, 1)
