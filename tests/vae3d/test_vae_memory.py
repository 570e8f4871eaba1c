"""How much memory a pass needs, counted exactly on the meta device."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from wan_director.benchmarks.peak_memory import peak_bytes, peak_bytes_beside_shelf
from wan_director.vae3d import WAN_2_1_VAE, CausalVAE

HEIGHT, WIDTH = 480, 832
CHANNEL_BYTES = HEIGHT * WIDTH * 2  # of one frame in bfloat16
LATENT_FRAME_BYTES = 16 * CHANNEL_BYTES // 64
GIB = 2**30


@pytest.fixture(scope="module")
def vae():
    with torch.device("meta"):
        return CausalVAE(WAN_2_1_VAE).to(torch.bfloat16)


def latent(frames: int) -> torch.Tensor:
    return torch.empty(1, 16, frames, HEIGHT // 8, WIDTH // 8, dtype=torch.bfloat16, device="meta")


def video(frames: int) -> torch.Tensor:
    return torch.empty(1, 3, frames, HEIGHT, WIDTH, dtype=torch.bfloat16, device="meta")


def bytes_to_stream(vae: CausalVAE, latent: torch.Tensor) -> int:
    def use_up():
        for frames in vae.decode_stream(latent):
            del frames

    return peak_bytes(use_up)


def test_streamed_decode_needs_the_same_memory_for_any_length(vae):
    """Two past frames of each convolution, and about five frames on their way."""
    short, long = bytes_to_stream(vae, latent(3)), bytes_to_stream(vae, latent(5))
    assert long == short
    assert long <= 2.1 * GIB


def test_decode_adds_the_clip_and_the_frames_being_copied_into_it(vae):
    streamed = bytes_to_stream(vae, latent(3))
    frames = latent(3)
    assert peak_bytes(lambda: vae.decode(frames)) - streamed <= (9 + 4) * 3 * CHANNEL_BYTES


def test_encode_needs_the_same_memory_for_any_length(vae):
    def bytes_to_encode(clip: torch.Tensor) -> int:
        return peak_bytes(lambda: vae.encode(clip))

    short, long = bytes_to_encode(video(9)), bytes_to_encode(video(17))
    assert long - short <= 2 * 2 * 2 * LATENT_FRAME_BYTES
    assert long <= 1.5 * GIB


def test_two_strips_need_two_fifths_less_memory_for_a_fifteenth_more_work(vae):
    clip = latent(3)
    whole, halves = (FlopCounterMode(display=False) for _ in range(2))
    for counter, strips in ((whole, 1), (halves, 2)):
        with counter, torch.no_grad():
            list(vae.decode_stream(clip, strips))
    assert peak_bytes_beside_shelf(lambda shelf: list(vae.decode_stream(clip, 2, shelf=shelf))) <= 1.2 * GIB
    assert peak_bytes_beside_shelf(lambda shelf: list(vae.encode_stream(video(9), 2, shelf=shelf))) <= 0.95 * GIB
    assert halves.get_total_flops() <= 1.07 * whole.get_total_flops()
