"""The features of music that Wan-Dancer hears: how it changes, sounds and moves, 30 times a second."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ...common.checking import has_values
from ...common.empty_tensors import empty
from ...common.errors import InvalidInputError
from ..resampling import resampled
from .pitch import NOTES, notes_of
from .rhythm import beats_of, first_tempo, onset_strength, peaks_of, tempo_of
from .spectrum import HOP, cepstrum, decibels, mel_power

MOMENTS_PER_SECOND = 30
_CEPSTRUM = 20
FEATURES = 1 + _CEPSTRUM + NOTES + 2
_TAKEN_FOR = 22050
"""The rate that the model's own pipeline takes the sound for once it is at 30 moments a second."""
_LEAST_SAMPLES = 2 * HOP


def music_features(waveform: Tensor, sample_rate: int) -> Tensor:
    """What Wan-Dancer hears of a sound.

    Of each moment: how much louder it has become, 20 numbers of its colour, 12 of its notes, and whether a note begins
    and whether it is a beat, as 0 or 1.

    Args:
        waveform: [C, samples], float, values in [-1, 1]; channels are mixed.
        sample_rate: samples a second.

    Returns:
        [1, moments, 35], float32, 30 moments a second.

    Raises:
        InvalidInputError: the sound is shorter than two moments.

    Source: Wan-Video/Wan-Dancer gen_video/gen_video_global.py, get_music_base_feature, which asks librosa (ISC license)
        for them; ComfyUI v0.33.0 comfy_extras/nodes_wandancer.py.
    """
    if not has_values(waveform):
        samples = math.ceil(waveform.shape[1] * MOMENTS_PER_SECOND * HOP / sample_rate)
        return empty(1, 1 + samples // HOP, FEATURES)
    mono = waveform.float().mean(dim=0)
    sound = resampled(mono[None], sample_rate, MOMENTS_PER_SECOND * HOP)[0].numpy()
    if len(sound) < _LEAST_SAMPLES:
        raise InvalidInputError(
            f"The music lasts {len(mono) / sample_rate:.3f} s, and its features are of 1/30 s each. Connect a longer "
            "sound."
        )
    loudness = decibels(mel_power(sound, _TAKEN_FOR))
    strength = onset_strength(loudness)
    tempo = tempo_of(strength, _TAKEN_FOR, first_tempo(mono.numpy(), sample_rate))
    marks = np.zeros((2, len(strength)), dtype=np.float32)
    marks[0, peaks_of(strength, _TAKEN_FOR)] = 1
    marks[1, beats_of(strength, tempo, _TAKEN_FOR)] = 1
    parts = (strength[:, None], cepstrum(loudness, _CEPSTRUM), notes_of(sound, _TAKEN_FOR).T, marks.T)
    return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))[None]


def frame_rate(moments: int, frames: int) -> float:
    """Frames a second of a video of so many frames that lasts as long as music of so many moments: a whole part of 30.

    Raises:
        InvalidInputError: the music is less than half as long as the video at 30 frames a second.

    Source: Wan-Video/Wan-Dancer gen_video/gen_video_global.py, gen_video.
    """
    apart = int(moments / frames + 0.5)
    if not apart:
        raise InvalidInputError(
            f"The music lasts {moments / MOMENTS_PER_SECOND:.1f} s, less than half of a video of {frames} frames at 30 "
            "a second. Connect longer music, or make fewer frames."
        )
    return MOMENTS_PER_SECOND / apart
