"""Frames enlarged on their way into the VAE: the same as all at once, in the memory of a few; and networks in tiles.

The independent restatement of tiles is the loop of ComfyUI's tiled_scale, place by place.
"""

from __future__ import annotations

import contextlib
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from wan_director.benchmarks.peak_memory import peak_bytes_beside_shelf
from wan_director.common.errors import OutOfMemory
from wan_director.common.shapes import PictureSize
from wan_director.engine import enlarging
from wan_director.engine.enlarging import OVERLAP, Bicubic, ByPictureModel, in_tiles
from wan_director.engine.vae import as_the_network_sees
from wan_director.media.pictures import fit_pictures
from wan_director.vae3d import WAN_2_1_VAE, CausalVAE
from wan_director.vae3d.budget import encode_bytes
from wan_director.vae3d.config import VAEConfig

SIZE = PictureSize(32, 32)
CLIP = torch.rand(1, 3, 9, 16, 20, generator=torch.Generator().manual_seed(0))


def no_check() -> None:
    """Nobody wants to stop."""


class Network(nn.Module):
    """A network whose pictures are larger, and depend on neighbours; wider ones than it has memory for fail."""

    def __init__(self, scale: int, most: int = 10**6) -> None:
        super().__init__()
        self.scale, self.most, self.asked = scale, most, []
        torch.manual_seed(1)
        self.kernel = nn.Parameter(0.3 * torch.randn(3 * scale**2, 3, 3, 3))

    weight_bytes = 1000

    @contextlib.contextmanager
    def on(self, device):
        with torch.no_grad():
            yield self

    def forward(self, picture):
        self.asked.append(tuple(picture.shape[2:]))
        if max(picture.shape[2:]) > self.most:
            raise torch.OutOfMemoryError("no room")
        return torch.pixel_shuffle(F.conv2d(picture, self.kernel, padding=1), self.scale) / 4 + 0.5


@pytest.mark.parametrize("strips", [1, 2])
@pytest.mark.parametrize("how", ["bicubic", "network"])
def test_frames_enlarged_on_their_way_give_the_bits_of_a_clip_enlarged_before(how, strips):
    torch.manual_seed(0)
    vae = CausalVAE(VAEConfig(base_channels=4)).eval()
    change = Bicubic(SIZE) if how == "bicubic" else ByPictureModel(Network(4), SIZE, no_check)
    before = as_the_network_sees(change(CLIP))
    with torch.no_grad():
        on_the_way = vae.encode_stream(CLIP, strips, prepare=lambda frames: as_the_network_sees(change(frames)))
        assert torch.equal(
            torch.cat(list(on_the_way), dim=2), torch.cat(list(vae.encode_stream(before, strips)), dim=2)
        )


def test_bicubic_frames_are_those_of_fit_pictures_and_another_shape_is_cut():
    wide = PictureSize(80, 48)
    for size in (SIZE, wide, PictureSize(20, 16)):
        expected = fit_pictures(CLIP[0].permute(1, 2, 3, 0), *size, "crop").permute(3, 0, 1, 2)[None]
        assert torch.equal(Bicubic(size)(CLIP), expected)


def as_comfyui_does(function, samples, tile, overlap, scale):
    """tiled_scale_multidim of ComfyUI v0.33.0, of a picture that does not fit into one tile."""
    _, _, height, width = samples.shape
    out, weight = torch.zeros(1, 3, height * scale, width * scale), torch.zeros(1, 1, height * scale, width * scale)
    rows, columns = (range(0, n - overlap, tile - overlap) if n > tile else [0] for n in (height, width))
    for top, left in itertools.product(rows, columns):
        high, wide = min(tile, height - top), min(tile, width - left)
        made = function(samples[:, :, top : top + high, left : left + wide])
        mask = torch.ones(1, 1, *made.shape[2:])
        for place in range(overlap * scale):
            share = (place + 1) / (overlap * scale)
            if overlap * scale < made.shape[2]:
                mask[:, :, place] *= share
                mask[:, :, made.shape[2] - 1 - place] *= share
            if overlap * scale < made.shape[3]:
                mask[..., place] *= share
                mask[..., made.shape[3] - 1 - place] *= share
        out[..., top * scale : (top + high) * scale, left * scale : (left + wide) * scale] += made * mask
        weight[..., top * scale : (top + high) * scale, left * scale : (left + wide) * scale] += mask
    return out / weight


@pytest.mark.parametrize(("height", "width"), [(100, 150), (20, 150), (131, 64), (129, 97)])
def test_tiles_of_a_network_are_those_of_comfyui(height, width):
    picture, network = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(3)), Network(2)
    with torch.no_grad():
        found = in_tiles(network, picture, 2, 64, no_check)
        expected = as_comfyui_does(network, picture, 64, OVERLAP, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_picture_of_one_tile_is_asked_about_once():
    picture, network = torch.rand(1, 3, 30, 64), Network(2)
    with torch.no_grad():
        assert torch.equal(in_tiles(network, picture, 2, 64, no_check), network(picture))
    assert network.asked == [(30, 64)] * 2


def test_smaller_tiles_are_tried_when_memory_runs_out_and_then_it_says_so(monkeypatch):
    monkeypatch.setattr(enlarging, "TILES", (128, 64))
    clip = torch.rand(1, 3, 1, 100, 140)
    network = Network(2, most=64)
    made = ByPictureModel(network, PictureSize(280, 200), no_check)(clip)
    assert made.shape == (1, 3, 1, 200, 280) and network.asked[0] == (100, 128)
    assert max(max(each) for each in network.asked[1:]) == 64
    with pytest.raises(OutOfMemory, match="The upscale model needs more memory than is free, even in tiles of 64"):
        ByPictureModel(Network(2, most=20), PictureSize(280, 200), no_check)(clip)


def test_a_stop_is_heard_before_each_tile():
    asked = []

    def stop() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_tiles(Network(2), torch.rand(1, 3, 100, 150), 2, 64, stop)


@pytest.mark.parametrize("strips", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_encoding_frames_that_are_enlarged_holds_what_is_planned_for_large_ones(strips):
    """2048 x 1280 from half of that; of long clips no more than a few frames are large at a time."""
    size, frames = PictureSize(2048, 1280), 3 if strips == 1 else 16
    with torch.device("meta"):
        vae = CausalVAE(WAN_2_1_VAE).to(torch.bfloat16)
        clip = torch.empty(1, 3, 4 * frames - 3, 640, 1024)

    def encode(shelf):
        change = Bicubic(size)
        for piece in vae.encode_stream(clip, strips, prepare=lambda few: as_the_network_sees(change(few)), shelf=shelf):
            del piece

    planned = encode_bytes(WAN_2_1_VAE, size.height, size.width, strips=strips)
    assert planned == pytest.approx(peak_bytes_beside_shelf(encode), rel=0.1)
