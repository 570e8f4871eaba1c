"""The arithmetic of memory against what is counted on the meta device, and the pair of versions to warn of."""

import pytest
import torch
from wan_director.benchmarks.peak_memory import peak_bytes_beside_shelf
from wan_director.vae3d import WAN_2_1_VAE, WAN_2_2_VAE, CausalVAE, passes
from wan_director.vae3d.budget import decode_bytes, encode_bytes
from wan_director.vae3d.config import DOUBLING_WAN_2_1_VAE
from wan_director.vae3d.convolution import has_slow_conv3d
from wan_director.vae3d.passes import LATENT_FRAMES_AT_ONCE

GIB = 2**30
CONFIGS = (WAN_2_1_VAE, DOUBLING_WAN_2_1_VAE, WAN_2_2_VAE)


@pytest.fixture(scope="module")
def vaes():
    with torch.device("meta"):
        return {config: CausalVAE(config).to(torch.bfloat16) for config in CONFIGS}


def frames_to_the_peak(strips: int) -> int:
    """Latent frames after which memory grows no more.

    Whole frames need the first three. What comes after the strips has a past only when the second lot of frames is
    taken through them.
    """
    return 3 if strips == 1 else 2 * LATENT_FRAMES_AT_ONCE


def decoding_peak(vae, height: int, width: int, strips: int, frames: int) -> int:
    """Counted bytes of decoding `frames` latent frames."""
    stride = vae.config.decoded_stride
    shape = (1, vae.config.latent_channels, frames, height // stride, width // stride)
    latent = torch.empty(shape, dtype=torch.bfloat16, device="meta")

    def decode(shelf):
        for piece in vae.decode_stream(latent, strips, shelf=shelf):
            del piece

    return peak_bytes_beside_shelf(decode)


def encoding_peak(vae, height: int, width: int, strips: int, frames: int) -> int:
    """Counted bytes of encoding to `frames` latent frames."""
    video = torch.empty(1, 3, 4 * frames - 3, height, width, dtype=torch.bfloat16, device="meta")

    def encode(shelf):
        for piece in vae.encode_stream(video, strips, prepare=torch.clone, shelf=shelf):
            del piece

    return peak_bytes_beside_shelf(encode)


def assert_within_a_tenth(vae, height: int, width: int, strips: int) -> None:
    frames = frames_to_the_peak(strips)
    decoding = decoding_peak(vae, height, width, strips, frames)
    encoding = encoding_peak(vae, height, width, strips, frames)
    assert decode_bytes(vae.config, height, width, strips=strips) == pytest.approx(decoding, rel=0.1)
    assert encode_bytes(vae.config, height, width, strips=strips) == pytest.approx(encoding, rel=0.1)


@pytest.mark.parametrize(
    ("config", "height", "width"),
    [(WAN_2_1_VAE, 480, 832), (DOUBLING_WAN_2_1_VAE, 960, 1664), (WAN_2_2_VAE, 704, 1280)],
    ids=["2.1", "twice the size", "2.2"],
)
def test_bytes_are_within_a_tenth_of_those_counted(vaes, config, height, width):
    assert_within_a_tenth(vaes[config], height, width, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "height", "width", "strips"),
    [
        (WAN_2_1_VAE, 256, 256, 1),
        (WAN_2_1_VAE, 480, 832, 2),
        (WAN_2_1_VAE, 720, 1280, 3),
        (DOUBLING_WAN_2_1_VAE, 960, 1664, 2),
        (WAN_2_2_VAE, 704, 1280, 2),
        (WAN_2_2_VAE, 480, 832, 4),
    ],
)
def test_bytes_of_other_sizes_and_strips(vaes, config, height, width, strips):
    assert_within_a_tenth(vaes[config], height, width, strips)


@pytest.fixture
def two_frames_at_once(monkeypatch):
    """Short clips reach the peak of strips."""
    monkeypatch.setattr(passes, "LATENT_FRAMES_AT_ONCE", 2)


@pytest.mark.parametrize(
    ("config", "height", "width", "strips"),
    [(WAN_2_1_VAE, 480, 832, 2), (WAN_2_2_VAE, 480, 832, 4)],
    ids=["2.1", "2.2"],
)
def test_encoding_in_strips_needs_no_more_for_a_longer_clip(vaes, two_frames_at_once, config, height, width, strips):
    peak = encoding_peak(vaes[config], height, width, strips, frames=6)
    assert encode_bytes(config, height, width, strips=strips) == pytest.approx(peak, rel=0.1)
    assert encoding_peak(vaes[config], height, width, strips, frames=10) == peak


def test_the_figures_of_the_true_autoencoder():
    assert decode_bytes(WAN_2_1_VAE, 480, 832) <= 2.1 * GIB
    assert decode_bytes(WAN_2_1_VAE, 480, 832, strips=2) <= 1.2 * GIB
    assert decode_bytes(WAN_2_1_VAE, 720, 1280, strips=2) <= 2.6 * GIB
    assert decode_bytes(WAN_2_1_VAE, 1280, 2048, strips=3) <= 6 * GIB
    assert decode_bytes(WAN_2_1_VAE, 480, 832, itemsize=4) == 2 * decode_bytes(WAN_2_1_VAE, 480, 832)


@pytest.mark.parametrize(
    ("torch_version", "cudnn_version", "is_slow"),
    [
        ("2.9.0+cu128", 91002, True),
        ("2.9.1", 91400, True),
        ("2.9.1", 91500, False),
        ("2.10.0", 91002, False),
        ("2.8.0", 91002, False),
        ("2.9.0+cpu", None, False),
    ],
)
def test_the_bad_pair_of_torch_and_cudnn_is_known(torch_version, cudnn_version, is_slow):
    assert has_slow_conv3d(torch_version, cudnn_version) is is_slow
