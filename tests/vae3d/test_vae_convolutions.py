"""Convolutions computed in another way than torch's 3D one give the same."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn import Conv3d
from wan_director.vae3d import VAEConfig, layers
from wan_director.vae3d.convolution import convolve, laid_out
from wan_director.vae3d.layers import ChannelNorm, causal_conv, conv_of_few
from wan_director.vae3d.stream import FrameStream
from wan_director.vae3d.winograd import filtering_for

TOLERANCE = 2e-6  # of the largest value: only the order of summation differs
# Winograd's sums are of larger numbers than their results: 2.2e-6 (relative l2) from the exact ones, torch's 0.9e-6.
FILTERING_TOLERANCE = 1e-5


def random_frames(channels: int, frames: int, height: int, width: int) -> torch.Tensor:
    shape = (1, channels, frames, height, width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def random_conv(given: int, made: int) -> Conv3d:
    torch.manual_seed(0)
    return Conv3d(given, made, 3, padding=(0, 1, 1)).requires_grad_(False)


def convolved_in_3d(conv: Conv3d, frames: torch.Tensor) -> torch.Tensor:
    """The whole clip at once, behind two frames of zeros."""
    return conv(F.pad(frames, (0, 0, 0, 0, 2, 0)))


def convolved_one_by_one(conv: Conv3d, frames: torch.Tensor) -> torch.Tensor:
    """By torch's own 2D convolution."""
    stream = FrameStream()
    return torch.cat([causal_conv(conv, frame, stream) for frame in frames.split(1, dim=2)], dim=2)


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


@pytest.mark.parametrize("pieces", [(4, 4), (1, 4, 4), (1, 2, 2), (2, 4)], ids=str)
@pytest.mark.parametrize("size", [(48, 44), (45, 51)], ids=str)
def test_fewer_multiplications_give_the_same(pieces, size):
    """Also at the start of a clip, and where tiles stand over the edges."""
    conv, frames, stream = random_conv(64, 72), random_frames(64, sum(pieces), *size), FrameStream()
    assert filtering_for(conv, frames[:, :, :4]) is not None
    found = torch.cat([causal_conv(conv, piece, stream) for piece in frames.split(pieces, dim=2)], dim=2)
    expected = convolved_one_by_one(conv, frames)
    torch.testing.assert_close(found, expected, rtol=0, atol=FILTERING_TOLERANCE * expected.abs().max().item())


def test_fewer_multiplications_are_rounded_to_16_bits_once():
    conv, frames = random_conv(64, 64).bfloat16(), random_frames(64, 4, 48, 48).bfloat16()
    found = causal_conv(conv, frames, FrameStream())
    expected = convolved_one_by_one(conv, frames)
    assert (found != expected).float().mean() <= 1e-2
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=1e-5)


def test_gradients_and_small_frames_take_another_way():
    conv, frames = random_conv(64, 64), random_frames(64, 4, 48, 48)
    assert filtering_for(conv, frames) is not None
    for other in (frames[..., :8], frames[:, :, :1], frames.to("meta"), frames.clone().requires_grad_()):
        assert filtering_for(conv, other) is None
    assert filtering_for(random_conv(64, 16), frames) is None


def test_the_whole_autoencoder_gives_the_same(make_vae, monkeypatch):
    vae = make_vae(VAEConfig(base_channels=64, channel_multipliers=(1, 1, 1, 1), residual_blocks=1))
    latent = torch.randn(1, 16, 3, 6, 8, generator=torch.Generator().manual_seed(2))
    fast = [torch.cat(list(vae.decode_stream(latent, strips)), dim=2) for strips in (1, 2)]
    encoded = vae.encode(fast[0])
    monkeypatch.setattr(layers, "filtering_for", lambda _conv, _frames: None)
    plain, expected = vae.decode(latent), vae.encode(fast[0])
    for found in fast:
        assert not torch.equal(found, plain)
        torch.testing.assert_close(found, plain, rtol=0, atol=1e-5 * plain.abs().max().item())
    torch.testing.assert_close(encoded, expected, rtol=0, atol=5e-6 * expected.abs().max().item())


@pytest.mark.parametrize("height, width", [(12, 9), (40, 24)])
def test_many_channels_are_added_up_as_exactly_as_float32_can(height, width):
    """With the channels last oneDNN is 1.4e-6 from the exact sums where a processor has AVX-512."""
    conv, frames = random_conv(384, 64), random_frames(384, 3, height, width)
    found = convolved_one_by_one(conv, frames)[:, :, 2]
    exact = convolved_in_3d(conv.double(), frames.double())[:, :, 2]
    assert (found - exact).norm() <= 5e-7 * exact.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_pictures_are_convolved_as_torch_does(dtype):
    kernel, bias = (random_frames(24 * 40, 1, 3, 3).view(24, 40, 3, 3) / 19).to(dtype), torch.ones(24, dtype=dtype)
    pictures = random_frames(40, 1, 14, 11)[:, :, 0].to(dtype)
    found = convolve(pictures, laid_out(kernel), bias, padding=1, stride=2)
    expected = F.conv2d(pictures.double(), kernel.double(), bias.double(), stride=2, padding=1)
    exact = 5e-7 if dtype == torch.float32 else 4e-3
    assert (found - expected).norm() <= exact * expected.norm()
