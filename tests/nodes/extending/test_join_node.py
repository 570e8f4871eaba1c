"""Wan Join Clips: what its choices do to the frames, and what it refuses; the arithmetic is tested in media."""

from __future__ import annotations

import logging

import pytest
import torch
from wan_director.common.errors import InvalidInputError

from ..conftest import call, picture

pytestmark = pytest.mark.usefixtures("inference")
A, B = picture(9, 32, 48), picture(13, 32, 48)


def join(**changes) -> torch.Tensor:
    inputs = {"clip_a": A, "clip_b": B, "overlap": 5, "blend": "cross-fade", "colours": "off"}
    return call("Join", **{**inputs, **changes})


def test_the_frames_that_both_show_are_in_the_film_once():
    assert join().shape == (17, 32, 48, 3)
    cut = join(blend="frames of a")
    assert torch.equal(cut, torch.cat([A, B[5:]]))
    assert torch.equal(join(blend="frames of b"), torch.cat([A[:4], B]))
    assert torch.equal(join(overlap=0), torch.cat([A, B]))


@pytest.mark.parametrize("blend", ["cross-fade", "frames of a", "frames of b"])
@pytest.mark.parametrize("colours", ["off", "mean"])
def test_clips_that_agree_are_joined_without_a_change(blend, colours):
    """Bit for bit: as the whole film, cut in two with an overlap."""
    film = picture(17, 32, 48)
    joined = join(clip_a=film[:9], clip_b=film[4:], blend=blend, colours=colours)
    assert torch.equal(joined, film)


def test_a_clip_with_the_references_statistics_keeps_its_bits():
    joined = join(clip_b=B, colours="first clip", reference=B, overlap=0)
    assert torch.equal(joined, torch.cat([A, B]))


def test_the_mean_comes_from_the_frames_that_both_show():
    darker = torch.cat([A[4:], B[:8]]) * 0.5 + 0.25  # of [0.25, 0.75], so that nothing is cut off
    joined = join(clip_a=A * 0.5 + 0.3, clip_b=darker, colours="mean", blend="frames of b")
    expected = (A[4:] * 0.5 + 0.3).mean((0, 1, 2)) - darker[:5].mean((0, 1, 2))
    torch.testing.assert_close(joined[4:], darker + expected, rtol=0, atol=1e-6)
    assert torch.equal(joined[:4], (A * 0.5 + 0.3)[:4])


def test_the_first_clips_statistics_are_taken_channel_by_channel():
    reference, clip = picture(5, 16, 16) * 0.3 + 0.4, B * 0.2 + 0.3
    changed = join(clip_b=clip, colours="first clip", reference=reference, overlap=0)[9:]
    for channel in range(3):
        assert float(changed[..., channel].mean()) == pytest.approx(float(reference[..., channel].mean()), abs=1e-6)
        assert float(changed[..., channel].std()) == pytest.approx(float(reference[..., channel].std()), rel=2e-3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clip_b": picture(9, 32, 64)}, "clip_a is 48 x 32 and clip_b 64 x 32, and one video has one size"),
        ({"overlap": 10}, "An overlap of 10 frames, but clip_a has 9 and clip_b 13. Use 0 to 9"),
        ({"overlap": -1}, "An overlap of -1 frames"),
        ({"colours": "mean", "overlap": 0}, "with an overlap of 0 there are none. Use 'off'"),
        ({"colours": "first clip"}, "needs a reference, and none is connected. Connect the first clip"),
        ({"colours": "lab"}, "The colours is one of off, mean, first clip, got 'lab'"),
        ({"blend": "dissolve"}, "The blend is one of cross-fade, frames of a, frames of b, got 'dissolve'"),
        ({"clip_a": None}, "clip_a must be pictures .*got nothing"),
        ({"colours": "first clip", "reference": torch.full((1, 8, 8, 3), torch.inf)}, "reference holds 192 values"),
    ],
)
def test_what_cannot_be_joined_is_refused_in_a_sentence(changes, words):
    with pytest.raises(InvalidInputError, match=words) as refusal:
        join(**changes)
    assert "\n" not in str(refusal.value)


def test_a_reference_that_is_not_used_is_told(caplog):
    with caplog.at_level(logging.INFO, logger="wan_director"):
        assert torch.equal(join(reference=B), join())
    assert "with colours off it is not used" in caplog.text
