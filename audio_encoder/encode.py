"""From a sound to the features of every layer of an encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import SAMPLE_RATE, STRIDES, WHISPER_S, AudioEncoderConfig, WhisperConfig
from .encoder import AudioEncoder
from .resampling import resampled

STEPS_PER_SECOND = 50
"""Of the features, whatever the encoder."""
SHORTEST = 400
"""Samples that make one step of wav2vec2."""
_WHISPER_SAMPLES = WHISPER_S * SAMPLE_RATE


class AudioFeatures(NamedTuple):
    """What an encoder makes of a sound.

    Attributes:
        layers: what enters each layer and what leaves the last one, each [1, steps, dim], float32, 50 steps a second.
        samples: of the sound, 16,000 a second.
    """

    layers: tuple[Tensor, ...]
    samples: int


def prepared(waveform: Tensor, sample_rate: int) -> Tensor:
    """A sound [C, n] as encoders take it: [1, samples], float32, its channels mixed, 16,000 a second.

    One too short for a single step is filled up with silence.
    """
    mono = resampled(waveform.float(), sample_rate, SAMPLE_RATE).mean(dim=0, keepdim=True)
    return F.pad(mono, (0, max(0, SHORTEST - mono.shape[1])))


def prepared_length(length: int, sample_rate: int) -> int:
    """How many samples `prepared` gives of so many."""
    return max(SHORTEST, -(-length * SAMPLE_RATE // sample_rate))


def steps_of(samples: int, config: AudioEncoderConfig) -> int:
    """How many steps an encoder makes of so many samples."""
    if isinstance(config, WhisperConfig):
        return -(-samples // _WHISPER_SAMPLES) * config.positions
    for kernel, stride in zip(config.conv_kernels, STRIDES):
        samples = (samples - kernel) // stride + 1
    return samples


def passes_of(samples: int, config: AudioEncoderConfig) -> int:
    """In how many pieces an encoder takes so many samples; whisper takes 30 seconds at a time."""
    return -(-samples // _WHISPER_SAMPLES) if isinstance(config, WhisperConfig) else 1


def working_bytes(samples: int, config: AudioEncoderConfig, itemsize: int) -> int:
    """About the most that encoding holds at once beside the weights, with what it gives.

    The first convolutions of wav2vec2 hold most: one buffer before a norm or activation, one after it.
    """
    steps = steps_of(samples, config)
    kept = (config.layers + 1) * steps * config.dim * itemsize
    if isinstance(config, WhisperConfig):
        return kept + 4 * config.positions * config.ffn_dim * itemsize
    first = 3 * (samples // STRIDES[0]) * config.conv_dims[0] * itemsize
    return max(first, kept + 4 * steps * config.ffn_dim * itemsize)


def encode_sound(encoder: AudioEncoder, samples: Tensor, before_layer: Callable[[], None]) -> AudioFeatures:
    """Features of a prepared sound [1, samples], on its device.

    Args:
        before_layer: called before each layer of each piece; it may raise to stop.
    """
    hooks = [layer.register_forward_pre_hook(lambda *_: before_layer()) for layer in encoder.layers]
    try:
        pieces = samples.split(_WHISPER_SAMPLES, dim=1) if isinstance(encoder.config, WhisperConfig) else (samples,)
        layers = [encoder(piece) for piece in pieces]
    finally:
        for hook in hooks:
            hook.remove()
    return AudioFeatures(tuple(torch.cat(parts, dim=1).float() for parts in zip(*layers)), samples.shape[1])
