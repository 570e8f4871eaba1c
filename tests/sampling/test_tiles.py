"""Tiles in space: where they stand, that they add up to one picture, and what of the clip goes with each.

The independent restatement cuts latents and conditioning by hand, place by place, and asks a random transformer about
each part as about a video of its own.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import pytest
import torch
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.dit.conditioning.start_image import KeyframeImages
from wan_director.dit.conditioning.vace import VaceControl
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import CFG
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.step import NoiseLevel
from wan_director.sampling.windows import WHOLE_CLIP, ClipShape, SlidingWindows, SpatialTiles, TileSide
from wan_director.sampling.windows.blending import linear
from wan_director.sampling.windows.placing import moving_starts

from .conftest import WholeModel, sampled

AT = NoiseLevel(0, 20, 0.5, 500.0)
TILES = SpatialTiles(TileSide(6, 2), TileSide(8, 4))
IN_TIME = SlidingWindows(5, 2, blend=linear)
SIDES = [TileSide(size, overlap) for size in (2, 4, 10, 60) for overlap in range(0, min(size, 30), 2)]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("whole", [2, 10, 62, 104, 160, 161])
def test_tiles_show_each_place_share_what_they_are_to_and_begin_at_tokens(side, whole):
    spans = side.spans(whole)
    if whole <= side.size:
        assert spans == ((0, whole, whole),)
        return
    assert {place for span in spans for place in range(span.start, span.stop)} == set(range(whole))
    assert {span.stop - span.start for span in spans} == {side.size}
    assert all(first.start < second.start for first, second in pairwise(spans))
    assert all(first.stop - second.start >= side.overlap for first, second in list(pairwise(spans))[:-1])
    assert all(span.start % 2 == 0 for span in spans[:-1])
    fewest = -(-(whole - side.size) // (side.size - side.overlap))
    assert len(spans) - 1 <= fewest + 1


def test_a_row_of_tiles_that_two_share_at_most_adds_up_to_one_before_any_division():
    for side, whole in product((TileSide(60, 16), TileSide(104, 26)), (160, 256)):
        total = torch.zeros(whole)
        for span in side.spans(whole):
            total[span.start : span.stop] += side.weights(span)
        torch.testing.assert_close(total, torch.ones(whole), rtol=0, atol=1e-6)


@pytest.mark.parametrize("over_time", [WHOLE_CLIP, IN_TIME, SlidingWindows(5, 2, moving_starts, sees_one_before=True)])
@pytest.mark.parametrize("size", [(8, 6), (14, 8), (16, 30), (6, 20)])
def test_a_model_that_knows_no_neighbours_gives_what_it_gives_without_tiles(size, over_time):
    """The weights are a partition of unity."""
    latent = torch.randn(2, 3, 13, *size, generator=torch.Generator().manual_seed(1))
    prompt = Conditioning(torch.zeros(1, 4, 8))
    model = WholeModel(lambda inputs: inputs.latent.sin())
    windows = replace(TILES, over_time=over_time)
    for step in (0, 3):
        at = NoiseLevel(step, 20, 0.5, 500.0)
        found = Denoiser(model, prompt, prompt, CFG(1.0), windows=windows).start()(latent, at)
        torch.testing.assert_close(found, latent.sin(), rtol=0, atol=1e-6)
    clip = ClipShape(13, *size)
    for cut in windows.cuts(clip, AT):
        counts = windows.weights(cut, clip)
        assert (counts[cut.before :] > 0).all()


@pytest.fixture(scope="module")
def transformer() -> WanDiT:
    torch.manual_seed(0)
    sizes = {"dim": 48, "ffn_dim": 64, "heads": 4, "layers": 2, "text_dim": 16, "text_tokens": 8, "freq_dim": 32}
    model = WanDiT(DiTConfig(**sizes, in_channels=36)).eval().requires_grad_(False)
    for name, value in model.named_parameters():
        value.copy_(0.1 * torch.randn_like(value) + float("norm" in name))
    return model


def prompt_for(frames: int, height: int, width: int) -> Conditioning:
    generator = torch.Generator().manual_seed(3)
    given = KeyframeImages(
        torch.randn(1, 16, frames, height, width, generator=generator),
        torch.rand(1, 4, frames, height, width, generator=generator).round(),
    )
    return Conditioning(torch.randn(1, 8, 16, generator=generator), (given,))


class AsBlocks:
    """A transformer as the denoiser asks it, without a stage."""

    def __init__(self, model: WanDiT) -> None:
        self._model = model

    def embed(self, inputs):
        return self._model.embed(inputs)

    def trunk(self, passes):
        return self._model.trunk(passes, Execution())

    def unembed(self, tokens, embedded):
        return self._model.unembed(tokens, embedded)


def one_step(model, windows, latent, prompt):
    with torch.no_grad():
        return Denoiser(AsBlocks(model), prompt, prompt, CFG(1.0), windows=windows).start()(latent, AT)


def ramp(place: int, start: int, size: int, whole: int, before: int, after: int) -> float:
    """The weight of a place of a tile that shares `before` places with the one before it, `after` with the next."""
    first = (place - start + 0.5) / before if start else 1.0
    last = (start + size - place - 0.5) / after if start + size < whole else 1.0
    return min(1.0, first, last)


@pytest.mark.parametrize("in_time", [False, True])
def test_a_tiled_step_is_that_of_each_part_as_a_video_of_its_own(transformer, in_time):
    """9 latent frames of 10 x 16, in tiles of 6 x 8: starts 0, 4 of rows and 0, 4, 8 of columns, all written out."""
    frames, height, width = 9, 10, 16
    latent = torch.randn(1, 16, frames, height, width, generator=torch.Generator().manual_seed(2))
    prompt = prompt_for(frames, height, width)
    (given,) = prompt.items
    value, weight = torch.zeros_like(latent), torch.zeros(frames, height, width)
    for begin, top, left in product((0, 3, 4) if in_time else (0,), (0, 4), (0, 4, 8)):
        length = 5 if in_time else frames
        part = (slice(None), slice(None), slice(begin, begin + length), slice(top, top + 6), slice(left, left + 8))
        channels = torch.cat([given.mask[part], given.latent[part]], dim=1)
        with torch.no_grad():
            velocity = transformer(DitInputs(latent[part], torch.tensor([500.0]), prompt.text, channels))
        for t, y, x in product(range(length), range(6), range(8)):
            counts = ramp(top + y, top, 6, height, 2, 2) * ramp(left + x, left, 8, width, 4, 4)
            if in_time:
                edge = 2
                counts *= (t + 0.5) / edge if t < edge and begin else 1.0
                counts *= (length - t - 0.5) / edge if t >= length - edge and begin + length < frames else 1.0
            value[0, :, begin + t, top + y, left + x] += counts * velocity[0, :, t, y, x]
            weight[begin + t, top + y, left + x] += counts
    windows = replace(TILES, over_time=IN_TIME) if in_time else TILES
    found = one_step(transformer, windows, latent, prompt)
    torch.testing.assert_close(found, value / weight, rtol=0, atol=1e-5)
    assert not torch.allclose(found, one_step(transformer, WHOLE_CLIP, latent, prompt), atol=1e-3)


@pytest.mark.parametrize("over_time", [WHOLE_CLIP, IN_TIME])
@pytest.mark.parametrize("sides", [(10, 16), (12, 16), (60, 104)])
def test_tiles_of_the_clips_size_are_no_tiles_to_the_bit(transformer, sides, over_time):
    latent = torch.randn(1, 16, 9, 10, 16, generator=torch.Generator().manual_seed(2))
    prompt = prompt_for(9, 10, 16)
    tiles = SpatialTiles(*(TileSide(side, 2) for side in sides), over_time)
    clip = ClipShape(9, 10, 16)
    assert tiles.cuts(clip, AT) == over_time.cuts(clip, AT)
    assert torch.equal(one_step(transformer, tiles, latent, prompt), one_step(transformer, over_time, latent, prompt))
    assert torch.equal(tiles.noise(latent, 5, 0), over_time.noise(latent, 5, 0))


def test_tiles_of_one_side_alone_cut_that_side_alone():
    tiles = SpatialTiles(TileSide(60, 0), TileSide(8, 4))
    cuts = tiles.cuts(ClipShape(3, 10, 16), AT)
    assert [cut.rows for cut in cuts] == [None] * 3
    assert [tuple(cut.columns)[:2] for cut in cuts] == [(0, 8), (4, 12), (8, 16)]
    assert len({cut.name for cut in cuts}) == 3


def test_a_whole_run_in_tiles_of_a_model_without_neighbours_is_the_run_without():
    latent = torch.randn(1, 3, 5, 10, 16, generator=torch.Generator().manual_seed(4))
    prompt, schedule = Conditioning(torch.zeros(1, 4, 8)), make_schedule("simple", 4, 5.0, 0.5)
    model = WholeModel(lambda inputs: inputs.latent.tanh())
    ends = []
    for windows in (WHOLE_CLIP, TILES):
        denoiser = Denoiser(model, prompt, prompt, CFG(1.0), windows=windows)
        ends.append(list(sampled(denoiser, "unipc", schedule, latent, seed=3))[-1].latent)
    torch.testing.assert_close(*ends, rtol=0, atol=1e-5)


def test_pictures_before_the_video_come_with_each_tile_which_has_its_part_of_them():
    clip = ClipShape(11, 10, 16, references=2)
    cuts = replace(TILES, over_time=IN_TIME).cuts(clip, AT)
    control = VaceControl(torch.randn(1, 96, 11, 10, 16))
    assert {cut.size(10, 16) for cut in cuts} == {(7, 6, 8)}
    last = control.window(cuts[-1]).channels
    expected = torch.cat([control.channels[:, :, :2], control.channels[:, :, 6:]], dim=2)[..., 4:, 8:]
    assert torch.equal(last, expected)


def test_conditioning_of_another_size_is_refused():
    cut = TILES.cuts(ClipShape(9, 10, 16), AT)[0]
    for height, width, found in (
        (8, 16, "8 rows, but the latent has 10"),
        (10, 24, "24 columns, but the latent has 16"),
    ):
        item = KeyframeImages(torch.zeros(1, 16, 9, height, width), None)
        with pytest.raises(PairingError, match=f"made for {found}. Prepare it for a video of the same size."):
            item.window(cut)


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (7, 2), (6, 3), (6, 6), (6, -2)])
def test_sizes_that_no_tiles_have_are_refused(size, overlap):
    for sides in ((TileSide(size, overlap), TileSide(8, 2)), (TileSide(8, 2), TileSide(size, overlap))):
        with pytest.raises(InvalidInputError, match=f"Tiles of {size} latent pixels cannot overlap in {overlap}."):
            SpatialTiles(*sides)
