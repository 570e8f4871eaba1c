"""What Wan-Dancer hears of music, against what ComfyUI makes of the same sounds."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from wan_director.audio_encoder.music.features import frame_rate, music_features
from wan_director.audio_encoder.music.rhythm import beats_of, tempo_of
from wan_director.common.empty_tensors import empty
from wan_director.common.errors import InvalidInputError

FIXTURES = Path(__file__).parent / "fixtures"
MADE = runpy.run_path(str(FIXTURES / "music_sounds.py"))
EXPECTED = load_file(FIXTURES / "music.safetensors")
# Of each kind of feature, where it stands and how far off it may be: that of float32 beside its largest value.
KINDS = {"loudness": (slice(0, 1), 1e-6), "colour": (slice(1, 21), 1e-6), "notes": (slice(21, 33), 1e-6)}


@pytest.mark.parametrize("name", EXPECTED)
def test_music_is_heard_as_in_comfyui(name):
    """Numbers to the rounding of float32; notes that begin and beats at the same moments."""
    features, expected = music_features(*MADE["sound"](name)), EXPECTED[name]
    assert features.shape == expected.shape and features.dtype == torch.float32
    for part, limit in KINDS.values():
        assert (features[..., part] - expected[..., part]).abs().max() <= limit * max(
            1, expected[..., part].abs().max()
        )
    assert torch.equal(features[..., 33:], expected[..., 33:])


def test_the_songs_have_beats_and_notes():
    """Else the test above tells nothing of them."""
    for name in MADE["SONGS"]:
        marks = EXPECTED[name][0, :, 33:].sum(dim=0)
        assert name == "short" or (marks >= 4).all()


def test_a_click_at_every_half_second_has_120_beats_a_minute():
    strength = np.zeros(400)
    strength[::15] = 1.0  # 30 moments a second, in the words of a rate of 15,360
    tempo = tempo_of(strength, 15360, 120.0)
    assert tempo == pytest.approx(120.0)
    beats = beats_of(strength, tempo, 15360)
    assert set(np.diff(beats[:-1])) == {15} and not beats[0] % 15  # the last one stands where it pays most


@pytest.mark.parametrize(
    ("moments", "frames", "fps"),
    [(750, 149, 6.0), (150, 149, 30.0), (224, 149, 15.0), (75, 149, 30.0), (900, 81, 30 / 11)],
)
def test_the_rate_of_a_video_is_a_whole_part_of_30(moments, frames, fps):
    assert frame_rate(moments, frames) == pytest.approx(fps)


def test_music_without_values_has_the_length_of_what_it_would_be():
    waveform, rate = MADE["sound"]("slow")
    features = music_features(empty(*waveform.shape), rate)
    assert features.is_meta and features.shape == EXPECTED["slow"].shape


def test_what_is_too_short_gets_a_sentence():
    with pytest.raises(InvalidInputError, match="The music lasts 0.050 s, .* Connect a longer sound"):
        music_features(torch.zeros(1, 800), 16000)
    with pytest.raises(InvalidInputError, match="The music lasts 2.4 s, less than half of a video of 149 frames"):
        frame_rate(73, 149)
