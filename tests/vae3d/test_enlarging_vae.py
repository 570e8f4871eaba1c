"""The VAE that decodes pictures of twice the size: diffusers' decoder and torch's pixel shuffle behind it."""

import pytest
import torch
import torch.nn.functional as F
from wan_director.vae3d import VAEConfig
from wan_director.vae3d.config import DOUBLING_WAN_2_1_VAE, WAN_2_1_VAE

TOLERANCE = 1e-5
CONFIGS = {
    "twice": VAEConfig(base_channels=8, residual_blocks=1, enlargement=2),
    "three times": VAEConfig(base_channels=8, residual_blocks=1, enlargement=3),
}


def relative_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    assert ours.shape == reference.shape
    return ((ours - reference).abs().max() / reference.abs().max()).item()


@pytest.mark.parametrize("clip", [(1, 16, 24), (9, 8, 16)], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_pictures_equal_diffusers_and_a_pixel_shuffle(name, clip, make_vae, diffusers_twin):
    vae = make_vae(CONFIGS[name])
    twin = diffusers_twin(vae)
    video = torch.rand(2, 3, *clip, generator=torch.Generator().manual_seed(1)) * 2 - 1
    latent = vae.encode(video)
    assert relative_error(latent, twin.encode(video).latent_dist.mean) <= 5e-6
    channels = twin.decode(latent).sample  # [B, 12, F, H, W]
    pictures = F.pixel_shuffle(channels.movedim(2, 1), vae.config.enlargement).movedim(1, 2)
    assert pictures.shape[-1] == clip[2] * vae.config.enlargement
    assert relative_error(vae.decode(latent).clamp(-1, 1), pictures) <= TOLERANCE
    assert torch.equal(vae.decode_whole(latent), vae.decode(latent)) or (
        relative_error(vae.decode_whole(latent), vae.decode(latent)) <= TOLERANCE
    )


def test_strips_and_tiles_have_the_size_of_whole_frames(make_vae):
    vae = make_vae(CONFIGS["twice"])
    latent = torch.randn(1, 16, 2, 8, 6, generator=torch.Generator().manual_seed(2))
    whole = vae.decode(latent)
    strips = torch.cat(list(vae.decode_stream(latent, 3)), dim=2)
    assert relative_error(strips, whole) <= TOLERANCE
    assert torch.cat(list(vae.decode_stream(latent, tile=4)), dim=2).shape == whole.shape == (1, 3, 5, 128, 96)


def test_its_encoder_is_that_of_wan_2_1():
    assert DOUBLING_WAN_2_1_VAE.spatial_stride == WAN_2_1_VAE.spatial_stride == 8
    assert (DOUBLING_WAN_2_1_VAE.decoded_stride, DOUBLING_WAN_2_1_VAE.decoded_channels) == (16, 12)
