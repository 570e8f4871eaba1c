"""Packed frames come back to the bit, whatever is in them, and still ones take little."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from wan_director.media.lossless import FramePacker, PackedFrames
from wan_director.media.pictures import from_bytes, to_bytes


def packed(frames: torch.Tensor) -> PackedFrames:
    packer = FramePacker()
    for frame in frames:
        packer.add(frame)
    return packer.packed()


def noise(frames: int, height: int = 7, width: int = 9) -> torch.Tensor:
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(frames))


def test_every_one_of_the_256_values_comes_back():
    values = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    assert (to_bytes(from_bytes(values)) == values).all()


@pytest.mark.parametrize(
    "frames",
    [
        noise(1),
        noise(4),
        noise(1).expand(5, -1, -1, -1),  # still: foretold from the frame before
        torch.linspace(0, 1, 16)[None, None, :, None].expand(3, 8, 16, 3),  # from the left
        torch.linspace(0, 1, 16)[None, :, None, None].expand(3, 16, 8, 3),  # from above
        torch.tensor([0.0, 1.0]).repeat(6)[None, None, :, None].expand(2, 4, 12, 3),  # differences of 255
        noise(3, 1, 1),
    ],
)
def test_frames_come_back_to_the_bit(frames):
    once = packed(frames)
    back = list(once.frames())
    assert len(once) == len(back) == len(frames)
    for frame, again in zip(frames, back, strict=True):
        assert again.dtype == torch.float32 and (to_bytes(again) == to_bytes(frame)).all()


def test_a_still_picture_takes_hardly_more_than_its_first_frame():
    still = noise(1, 64, 64)
    one, ten = packed(still).data.numel(), packed(still.expand(10, -1, -1, -1)).data.numel()
    assert one < 64 * 64 * 3 * 1.01 and ten < one + 9 * 100


def test_nothing_cannot_be_packed():
    with pytest.raises(ValueError, match="no frame"):
        FramePacker().packed()


def test_damage_is_no_picture():
    whole = packed(noise(2))
    for data in (whole.data.roll(1), torch.full_like(whole.data, 7)):
        with pytest.raises(ValueError):
            list(PackedFrames(whole.height, whole.width, data, whole.ends).frames())
