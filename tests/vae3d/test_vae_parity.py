"""Our autoencoder against diffusers' AutoencoderKLWan, on the same random weights in float32.

The tolerances are relative to the largest value of the reference. They leave room for another order of summation
(about 3e-6 at these depths), not for another formula.
"""

import pytest
import torch
from wan_director.vae3d import VAEConfig

ENCODE_TOLERANCE = 5e-6
DECODE_TOLERANCE = 1e-5
CONFIGS = {
    "8 wide": VAEConfig(base_channels=8, residual_blocks=1),
    "16 wide": VAEConfig(base_channels=16),
    "narrow decoder": VAEConfig(base_channels=16, decoder_base_channels=8),
    "12 latent channels, other strides": VAEConfig(
        base_channels=8, latent_channels=12, residual_blocks=1, temporal_downsample=(True, True, False)
    ),
}
CLIPS = ((1, 16, 24), (5, 40, 8), (9, 8, 16), (17, 24, 16))


def relative_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    assert ours.shape == reference.shape
    return ((ours - reference).abs().max() / reference.abs().max()).item()


def random_clip(frames: int, height: int, width: int, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.rand(batch, 3, frames, height, width, generator=generator) * 2 - 1


@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_encode_and_decode_equal_diffusers(name, clip, make_vae, diffusers_twin):
    vae = make_vae(CONFIGS[name])
    twin = diffusers_twin(vae)
    video = random_clip(*clip, batch=2)

    latent = vae.encode(video)
    reference = twin.encode(video).latent_dist
    assert relative_error(latent, reference.mean) <= ENCODE_TOLERANCE
    log_variance = vae.encode_distribution(video)[1]
    assert relative_error(log_variance.clamp(-30, 20), reference.logvar) <= ENCODE_TOLERANCE

    pictures = twin.decode(latent).sample
    assert 0.1 < pictures.abs().max() < 1
    assert relative_error(vae.decode(latent).clamp(-1, 1), pictures) <= DECODE_TOLERANCE


def test_true_width_equals_diffusers_and_its_bfloat16_stays_near(make_vae, diffusers_twin):
    """bfloat16: the official code and diffusers are 1.7e-2 to 2.2e-2 (relative l2) away from float32."""
    vae = make_vae(VAEConfig())
    twin = diffusers_twin(vae)
    video = random_clip(5, 16, 24)
    latent = vae.encode(video)
    pictures = vae.decode(latent)
    assert relative_error(latent, twin.encode(video).latent_dist.mean) <= ENCODE_TOLERANCE
    assert relative_error(pictures.clamp(-1, 1), twin.decode(latent).sample) <= DECODE_TOLERANCE

    vae.to(torch.bfloat16)
    rough_latent = vae.encode(video.bfloat16())
    rough_pictures = vae.decode(latent.bfloat16())
    assert rough_latent.dtype == rough_pictures.dtype == torch.bfloat16
    assert ((rough_latent - latent).norm() / latent.norm()) <= 2.3e-2
    assert ((rough_pictures - pictures).norm() / pictures.norm()) <= 2.3e-2
