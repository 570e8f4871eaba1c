"""Convolutions computed in another way than torch's 3D one give the same."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from wan_director.vae3d.layers import ChannelNorm, causal_conv, conv_of_few
from wan_director.vae3d.stream import FrameStream

TOLERANCE = 2e-6  # of the largest value: only the order of summation differs


def random_frames(channels: int, frames: int, height: int, width: int) -> torch.Tensor:
    shape = (1, channels, frames, height, width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def random_conv(given: int, made: int) -> nn.Conv3d:
    torch.manual_seed(0)
    return nn.Conv3d(given, made, 3, padding=(0, 1, 1)).requires_grad_(False)


def convolved_in_3d(conv: nn.Conv3d, frames: torch.Tensor) -> torch.Tensor:
    """The whole clip at once, behind two frames of zeros."""
    return conv(F.pad(frames, (0, 0, 0, 0, 2, 0)))


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE * expected.abs().max().item())


@pytest.fixture
def norm():
    norm = ChannelNorm(32).requires_grad_(False)
    norm.gamma.add_(0.2 * random_frames(32, 1, 1, 1)[0])
    return norm


@pytest.mark.parametrize("pieces", [(5,), (1, 4), (2, 3), (1, 1, 1, 1, 1)], ids=str)
def test_few_channels_are_remembered_as_sums(norm, pieces):
    conv, frames, stream = random_conv(32, 3), random_frames(32, 5, 6, 7), FrameStream()
    found = torch.cat([conv_of_few(norm, conv, piece, stream) for piece in frames.split(pieces, dim=2)], dim=2)
    assert_same(found, convolved_in_3d(conv, norm.silu(frames)))
    assert [tuple(kept.shape) for kept in stream.past(conv)] == [(1, 3, 1, 6, 7)] * 2


def test_sums_are_rounded_to_16_bits_once(norm):
    """As the convolution of three frames at once: fewer than 1 in 1000 values fall to the other side."""
    conv = random_conv(32, 3).bfloat16()
    frames, streams = random_frames(32, 5, 24, 24).bfloat16(), (FrameStream(), FrameStream())
    for frame in frames.split(1, dim=2):
        found = conv_of_few(norm, conv, frame, streams[0])
        expected = causal_conv(conv, norm.silu(frame), streams[1])
        assert (found != expected).float().mean() <= 1e-3
        torch.testing.assert_close(found, expected, rtol=2**-7, atol=1e-5)
