"""Control video, mask and references in the form VACE was trained on, against the steps of the official code."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from wan_director.dit.conditioning.vace import VaceControl, mask_channels, split_by_mask
from wan_director.dit.inputs import DitInputs


def official_mask(mask: torch.Tensor, references: int) -> torch.Tensor:
    """The steps of wan/vace.py vace_encode_masks, one pixel at a time; vace_encode_frames' cut is not in it."""
    frames, height, width = mask.shape
    depth = (frames + 3) // 4
    result = torch.zeros(64, references + depth, height // 8, width // 8)
    for row in range(8):
        for column in range(8):
            pixel = mask[:, row::8, column::8]
            whole = F.interpolate(pixel[None, None], size=(depth, height // 8, width // 8), mode="nearest-exact")
            result[row * 8 + column, references:] = whole[0, 0]
    return result[None]


def test_mask_channels_are_those_of_the_official_code():
    mask = torch.rand(9, 16, 24, generator=torch.Generator().manual_seed(0))
    for references in (0, 2):
        channels = mask_channels(mask, references)
        assert channels.shape == (1, 64, references + 3, 2, 3)
        assert torch.equal(channels, official_mask(mask, references))


def test_grey_masks_reach_the_mask_channels_uncut():
    mask = torch.full((5, 16, 16), 0.25)
    mask[:, :8] = 0.75
    channels = mask_channels(mask)
    assert channels[..., :1, :].eq(0.75).all() and channels[..., 1:, :].eq(0.25).all()


def test_the_parts_of_a_video_have_grey_where_the_other_is():
    generator = torch.Generator().manual_seed(1)
    video, mask = torch.rand(5, 16, 16, 3, generator=generator), torch.rand(5, 16, 16, generator=generator)
    kept, changed = split_by_mask(video, mask)
    binary = (mask > 0.5).float()[..., None]
    torch.testing.assert_close(kept, (video - 0.5) * (1 - binary) + 0.5)
    torch.testing.assert_close(changed, (video - 0.5) * binary + 0.5)


def test_several_control_videos_stand_side_by_side():
    inputs = DitInputs(torch.zeros(2, 16, 3, 4, 4), torch.zeros(2), torch.zeros(2, 8, 4))
    first, second = (VaceControl(torch.full((1, 96, 3, 4, 4), value), value) for value in (1.0, 0.5))
    applied = second.apply(first.apply(inputs))
    assert [(each.strength, each.channels.shape[0]) for each in applied.steering] == [(1.0, 2), (0.5, 2)]
    assert inputs.steering == ()
