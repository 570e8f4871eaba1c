"""The Wan 2.2 autoencoder: the official parameters, diffusers' results, and the same in pieces as whole."""

import json
from pathlib import Path

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.vae3d import WAN_2_2_VAE, CausalVAE, VAEConfig
from wan_director.vae3d.stream import FrameStream
from wan_director.vae3d.wan22 import patchify, unpatchify

# Made by instantiating WanVAE_ of Wan-Video/Wan2.2 (wan/modules/vae2_2.py, commit 42bf4cf) with the sizes that
# Wan2_2_VAE gives it (dim 160, dec_dim 256, z_dim 48).
OFFICIAL_SHAPES = json.loads((Path(__file__).parent / "wan_2_2_vae_keys.json").read_text())

# Relative to the largest value of the reference; both implementations are 1e-6 to 2e-6 from the official code, because
# they sum in different orders.
TOLERANCE = 5e-6
FORM = {"patch_size": 2, "level_shortcuts": True}
SMALL = VAEConfig(base_channels=8, latent_channels=6, residual_blocks=1, **FORM)
CONFIGS = {
    "small": SMALL,
    "wider decoder": VAEConfig(base_channels=8, latent_channels=8, decoder_base_channels=16, **FORM),
    "other strides": VAEConfig(
        base_channels=8, latent_channels=6, residual_blocks=1, temporal_downsample=(True, True, False), **FORM
    ),
    "widths that do not double": VAEConfig(
        base_channels=8, latent_channels=6, residual_blocks=1, channel_multipliers=(1, 1, 4, 4), **FORM
    ),
}
CLIPS = ((1, 16, 48), (5, 32, 16), (9, 16, 32), (17, 16, 16))


@pytest.fixture(scope="module")
def vae(make_vae):
    return make_vae(SMALL)


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE * expected.abs().max().item())


def random_video(frames: int, height: int = 32, width: int = 16, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.rand(batch, 3, frames, height, width, generator=generator) * 2 - 1


def random_latent(frames: int, height: int = 2, width: int = 1) -> torch.Tensor:
    return torch.randn(1, 6, frames, height, width, generator=torch.Generator().manual_seed(3))


def test_keys_and_shapes_equal_the_official_checkpoint():
    with torch.device("meta"):
        vae = CausalVAE(WAN_2_2_VAE)
    assert len(OFFICIAL_SHAPES) == 196
    assert {key: list(value.shape) for key, value in vae.state_dict().items()} == OFFICIAL_SHAPES
    assert sum(weight.numel() for weight in vae.parameters()) == 704_688_668


def test_a_latent_pixel_stands_for_16_x_16_pixels_and_four_frames(vae):
    assert WAN_2_2_VAE.spatial_stride == 16
    latent = vae.encode(random_video(9, 48, 32, batch=2))
    assert latent.shape == (2, 6, 3, 3, 2)
    assert vae.decode(latent).shape == (2, 3, 9, 48, 32)


@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_encode_and_decode_equal_diffusers(name, clip, make_vae, diffusers_twin):
    vae = make_vae(CONFIGS[name])
    twin = diffusers_twin(vae)
    video = random_video(*clip, batch=2)

    latent = vae.encode(video)
    reference = twin.encode(video).latent_dist
    assert_close(latent, reference.mean)
    assert_close(vae.encode_distribution(video)[1].clamp(-30, 20), reference.logvar)

    pictures = twin.decode(latent).sample
    assert 0.1 < pictures.abs().max() < 1
    assert_close(vae.decode(latent), pictures)


@pytest.mark.parametrize("frames", [1, 5, 17])
def test_pieces_equal_the_whole_clip(vae, frames):
    video = random_video(frames)
    mean, log_variance = vae.encode_distribution(video)
    whole_mean, whole_log_variance = vae.encode_distribution(video, whole=True)
    assert_close(mean, whole_mean)
    assert_close(log_variance, whole_log_variance)
    latent = random_latent(1 + frames // 4)
    assert_close(vae.decode(latent), vae.decode_whole(latent))


@pytest.mark.parametrize("chunks", [(17,), (1, 16), (5, 12), (1, 8, 8), (9, 4, 4)], ids=str)
def test_encoder_gives_the_same_for_any_cut(vae, chunks):
    video, stream = random_video(17), FrameStream()
    pieces = [vae.encoder(chunk, stream) for chunk in video.split(chunks, dim=2)]
    assert_close(torch.cat(pieces, dim=2), vae.encoder(video, FrameStream()))


@pytest.mark.parametrize("chunks", [(1, 4), (2, 3), (3, 1, 1)], ids=str)
def test_decoder_gives_the_same_for_any_cut(vae, chunks):
    latent, stream = random_latent(5), FrameStream()
    pieces = [vae.decoder(chunk, stream) for chunk in latent.split(chunks, dim=2)]
    assert_close(torch.cat(pieces, dim=2), vae.decoder(latent, FrameStream()))


def test_decode_stream_gives_one_frame_then_four_each_time(vae):
    latent = random_latent(3)
    pieces = list(vae.decode_stream(latent))
    assert [piece.shape[2] for piece in pieces] == [1, 4, 4]
    assert torch.equal(torch.cat(pieces, dim=2), vae.decode(latent))


def test_one_run_leaves_nothing_for_the_next_and_inputs_as_they_were(vae):
    video, latent = random_video(5), random_latent(2)
    video_copy, latent_copy = video.clone(), latent.clone()
    encoded, decoded = vae.encode(video), vae.decode(latent)
    next(vae.decode_stream(random_latent(3, 4, 4)))
    vae.encode(random_video(9, 48, 32))
    assert torch.equal(vae.encode(video), encoded)
    assert torch.equal(vae.decode(latent), decoded)
    assert torch.equal(video, video_copy)
    assert torch.equal(latent, latent_copy)


def test_gradients_reach_every_weight(make_vae):
    vae = make_vae(SMALL).requires_grad_(True)
    mean, log_variance = vae.encode_distribution(random_video(5), whole=True)
    vae.decode_whole(mean + log_variance).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in vae.parameters())


def test_the_channels_of_a_patch_are_columns_then_rows():
    picture = torch.arange(2 * 4 * 6.0).view(1, 2, 1, 4, 6)
    patches = patchify(picture, 2)
    assert patches.shape == (1, 8, 1, 2, 3)
    assert patches[0, 4:, 0, 1, 2].tolist() == picture[0, 1, 0, 2:, 4:].T.flatten().tolist()
    assert torch.equal(unpatchify(patches, 2), picture)
    assert patchify(picture, 1) is picture and unpatchify(picture, 1) is picture


@pytest.mark.parametrize("multipliers", [(1, 2, 3, 4), (3, 2, 1, 1)])
def test_widths_that_no_shortcut_can_bridge_are_refused(multipliers):
    with torch.device("meta"), pytest.raises(InvalidInputError, match="Choose other channel_multipliers"):
        CausalVAE(VAEConfig(base_channels=8, channel_multipliers=multipliers, **FORM))


def test_encode_refuses_a_size_that_is_not_a_multiple_of_16(vae):
    with pytest.raises(InvalidInputError, match="multiples of 16, got 24 x 32. Crop or resize it to 16 x 32."):
        vae.encode(random_video(1, width=24))
