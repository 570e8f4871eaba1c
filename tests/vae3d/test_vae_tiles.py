"""Tiles, the last resort: blending adds up to one, seams stay small, time is not cut."""

import pytest
import torch
from wan_director.vae3d import VAEConfig
from wan_director.vae3d.stream import Step
from wan_director.vae3d.tiles import decode_tiled


@pytest.fixture(scope="module")
def vae(make_vae):
    return make_vae(VAEConfig(base_channels=8, residual_blocks=1))


def random_latent(frames: int, height: int, width: int) -> torch.Tensor:
    return torch.randn(1, 16, frames, height, width, generator=torch.Generator().manual_seed(2))


def enlarged(frames: torch.Tensor, _stream) -> torch.Tensor:
    """A decoder that sees each pixel alone."""
    return frames.repeat_interleave(8, 3).repeat_interleave(8, 4)


@pytest.mark.parametrize("size", [(8, 8), (9, 21), (30, 13)], ids=str)
def test_tiles_of_the_same_value_blend_to_it(size):
    latent = torch.full((1, 3, 1, *size), 0.7)
    (frame,) = decode_tiled([Step(enlarged, up=8)], latent, lambda part: part, 8)
    assert frame.shape == (1, 3, 1, size[0] * 8, size[1] * 8)
    torch.testing.assert_close(frame, torch.full_like(frame, 0.7))


def test_one_tile_is_the_whole_frame(vae):
    latent = random_latent(6, 4, 5)
    tiled = list(vae.decode_stream(latent, tile=8))
    assert [piece.shape[2] for piece in tiled] == [1, 4, 4, 4, 4, 4]
    torch.testing.assert_close(torch.cat(tiled, dim=2), vae.decode(latent), rtol=1e-4, atol=1e-5)


def test_seams_are_no_steeper_than_the_picture(vae):
    latent = random_latent(2, 8, 14)
    tiled = torch.cat(list(vae.decode_stream(latent, tile=8)), dim=2)
    whole = vae.decode(latent)
    steepest = [frames.diff(dim=4).abs().max() for frames in (tiled, whole)]
    assert steepest[0] <= 1.2 * steepest[1]
    assert (tiled - whole).abs().mean() <= 0.5 * whole.std()


def test_starting_midway_gives_the_frames_from_there_on(vae):
    """The decoder starts as far before them as it can see."""
    latent = random_latent(43, 2, 2)
    late = torch.cat(list(decode_tiled(vae.decoder.steps(), latent, vae.conv2, 8, start=41)), dim=2)
    full = vae.decode(latent)
    assert late.shape[2] == 8
    torch.testing.assert_close(late, full[:, :, -8:], rtol=1e-4, atol=1e-5)
