"""How much memory the Wan 2.2 autoencoder needs, counted exactly on the meta device."""

import pytest
import torch
from wan_director.benchmarks.peak_memory import peak_bytes
from wan_director.vae3d import WAN_2_2_VAE, CausalVAE

HEIGHT, WIDTH = 480, 832
LATENT_FRAME_BYTES = 48 * (HEIGHT // 16) * (WIDTH // 16) * 2  # in bfloat16
GIB = 2**30


@pytest.fixture(scope="module")
def vae():
    with torch.device("meta"):
        return CausalVAE(WAN_2_2_VAE).to(torch.bfloat16)


def bytes_to_decode(vae: CausalVAE, frames: int) -> int:
    latent = torch.empty(1, 48, frames, HEIGHT // 16, WIDTH // 16, dtype=torch.bfloat16, device="meta")

    def use_up():
        for pictures in vae.decode_stream(latent):
            del pictures

    return peak_bytes(use_up)


def bytes_to_encode(vae: CausalVAE, frames: int) -> int:
    video = torch.empty(1, 3, frames, HEIGHT, WIDTH, dtype=torch.bfloat16, device="meta")
    return peak_bytes(lambda: vae.encode(video))


def test_streamed_decode_needs_the_same_memory_for_any_length(vae):
    """diffusers needs 4.0 GiB."""
    short, long = bytes_to_decode(vae, 3), bytes_to_decode(vae, 4)
    assert long - short <= LATENT_FRAME_BYTES
    assert long <= 2.0 * GIB


def test_encode_adds_only_the_patches_and_the_latent(vae):
    """diffusers needs 1.4 GiB."""
    short, long = bytes_to_encode(vae, 9), bytes_to_encode(vae, 13)
    video_bytes = 4 * 3 * HEIGHT * WIDTH * 2
    assert long - short <= video_bytes + 4 * LATENT_FRAME_BYTES
    assert long <= 0.8 * GIB
