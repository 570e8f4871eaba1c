"""Wan Match Colour brings a clip to the colours of a reference, at once or frame by frame."""

from __future__ import annotations

import pytest
import torch
from wan_director.common.empty_tensors import EmptyTensors, empty
from wan_director.common.errors import InvalidInputError, OutOfMemory
from wan_director.engine.local import Interrupted
from wan_director.media.colours import COLOUR_METHODS, colour_map

from ..conftest import call, picture

SETTINGS = {"method": "reinhard_lab", "strength": 1.0, "measured": "whole clip"}
pytestmark = pytest.mark.usefixtures("tiny_host")


def match(images, reference, **changes):
    return call("MatchColour", images=images, reference=reference, **{**SETTINGS, **changes})


@pytest.mark.parametrize("method", COLOUR_METHODS)
def test_a_clip_is_changed_as_one_or_frame_by_frame(method):
    frames, reference = picture(3) * torch.tensor([0.2, 0.5, 0.8]).view(3, 1, 1, 1), picture(2, 16, 24)
    find = colour_map(method, reference, 1.0)
    whole, each = (match(frames, reference, method=method, measured=scope) for scope in ("whole clip", "each frame"))
    assert torch.equal(whole, torch.stack([find(frames).of(frame) for frame in frames]))
    assert torch.equal(each, torch.stack([find(frame[None]).of(frame) for frame in frames]))
    means = [clip.mean(dim=(1, 2, 3)) for clip in (whole, each)]
    assert means[0].std() > 0.05 > 5 * means[1].std()  # a change for all keeps what differs between frames


@pytest.mark.parametrize("method", COLOUR_METHODS)
def test_strength_0_is_the_input_to_the_bit(method):
    frames = picture(2)
    assert match(frames, picture(1), method=method, strength=0.0) is frames


def test_the_input_is_left_as_it_is():
    frames, reference = picture(2), picture(1)
    before = frames.clone(), reference.clone()
    match(frames, reference)
    assert torch.equal(frames, before[0]) and torch.equal(reference, before[1])


def test_grey_and_transparent_pictures_are_taken():
    grey, transparent = picture(2)[..., :1], torch.rand(2, 8, 8, 4)
    for strength in (0.0, 1.0):
        assert match(grey, transparent, strength=strength).shape == (2, 48, 64, 3)
        assert match(transparent, grey, strength=strength).shape == (2, 8, 8, 3)
    over_black = transparent[..., :3] * transparent[..., 3:]
    assert torch.equal(match(transparent, grey, strength=0.0), over_black)


def test_what_cannot_be_is_refused(monkeypatch):
    frames = picture(2)
    with pytest.raises(InvalidInputError, match="strength must be from 0"):
        match(frames, frames, strength=2.0)
    with pytest.raises(InvalidInputError, match="method is one of reinhard_lab, mean_std_rgb, histogram, got 'mkl'"):
        match(frames, frames, method="mkl")
    with pytest.raises(InvalidInputError, match="reference holds 9 values that are NaN"):
        match(frames, torch.full((1, 1, 3, 3), float("nan")))
    with pytest.raises(InvalidInputError, match="images must be pictures"):
        match(torch.zeros(0, 8, 8, 3), frames)
    monkeypatch.setattr("wan_director.common.memory.free_ram.free_ram_bytes", lambda: 1000)
    with pytest.raises(OutOfMemory, match="The 2 frames of 64 x 48 pixels in new colours"):
        match(frames, frames)


def test_a_plan_knows_the_shape():
    with EmptyTensors():
        made = match(empty(9, 48, 64, 3), picture(1)), match(picture(9), empty(1, 8, 8, 3))
    assert [each.shape for each in made] == [(9, 48, 64, 3)] * 2


def test_it_can_be_stopped(tiny_host):
    tiny_host.runtime.interrupted = True
    with pytest.raises(Interrupted):
        match(picture(2), picture(1))


def test_no_frame_but_the_one_under_way_is_held(monkeypatch):
    """Lab values take as much as the frame: of all frames at once they would be a second clip."""
    import wan_director.media.colours as colours

    sizes: list[int] = []
    convert = colours.rgb_to_lab
    monkeypatch.setattr(colours, "rgb_to_lab", lambda frame: sizes.append(frame.numel()) or convert(frame))
    match(picture(5), picture(3))
    assert set(sizes) == {48 * 64 * 3} and len(sizes) == 3 + 5 + 5
