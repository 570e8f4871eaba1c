"""A voice without words: a buzz that swells and fades, syllable by syllable. For trying what listens to a sound."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SAMPLE_RATE = 16_000
_PITCH_HZ = 140.0
_PARTIALS = 24
"""Of the buzz, which reach up to 3,400 Hz as those of a voice on the telephone do."""
_SOFTEST = 0.25
"""Of the loudest syllable; in between there is silence."""
_SUNG = 0.75
"""Of a syllable's time."""


def syllables(duration_s: float, per_second: float, seed: int) -> Tensor:
    """The sound of syllables that come at random loudness, each swelling and fading once.

    Args:
        duration_s: in seconds, above 0.
        per_second: how many syllables there are in a second, above 0.
        seed: of their loudness, lengths and pitch.

    Returns:
        [1, samples], float32, within -1..1, 16,000 samples a second.
    """
    generator = torch.Generator().manual_seed(seed)
    count = max(1, math.ceil(duration_s * per_second))
    draw = torch.rand(3, count, generator=generator)
    moments = torch.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE  # seconds
    number = (moments * per_second).long().clamp(max=count - 1)
    within = moments * per_second - number  # 0..1 of a syllable
    loudness, length = _SOFTEST + (1 - _SOFTEST) * draw[0], _SUNG * (0.7 + 0.6 * draw[1])
    swell = torch.where(within < length[number], torch.sin(math.pi * within / length[number]).square(), 0.0)
    pitch = _PITCH_HZ * (0.9 + 0.2 * draw[2])[number]
    turn = 2 * math.pi * torch.cumsum(pitch.double() / SAMPLE_RATE, dim=0)
    partials = torch.arange(1, _PARTIALS + 1)
    buzz = sum(torch.cos(int(partial) * turn) / int(partial) ** 0.5 for partial in partials)
    assert isinstance(buzz, Tensor), "there are partials"
    voice = (loudness[number] * swell * buzz.float() / buzz.abs().max().float())[None]
    return 0.8 * voice / voice.abs().max().clamp(min=1e-6)
