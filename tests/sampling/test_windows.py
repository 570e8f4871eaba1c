"""Windows in time: where they stand, how they are blended, what they start from, and what of the clip goes with them.

Independent restatements: windows and weights of ComfyUI's context windows, written as lists of frames, and the sliding
window of DiffSynth, frame by frame. `tests/comfyui` has the real ones.
"""

from __future__ import annotations

from itertools import product

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.dit.conditioning.control_video import ControlVideo
from wan_director.dit.conditioning.cut import Cut, Span
from wan_director.dit.conditioning.reference import ReferencePicture
from wan_director.dit.conditioning.start_image import KeyframeImages
from wan_director.dit.conditioning.vace import VaceControl
from wan_director.dit.inputs import Conditioning
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.given import NoisyRegion
from wan_director.sampling.guidance import CFG
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.step import NoiseLevel
from wan_director.sampling.windows import BLENDS, PLACINGS, WHOLE_CLIP, ClipShape, SlidingWindows
from wan_director.sampling.windows.blending import Edges, flat, from_middle, linear, linear_from_zero, pyramid
from wan_director.sampling.windows.placing import WindowRow, moving_starts, static_starts
from wan_director.sampling.windows.repeated_noise import fresh_noise

LEVELS = make_schedule("simple", 8, 5.0).levels
BEGIN = LEVELS[0]
ROWS = [
    (frames, size, overlap) for frames in (6, 13, 21, 53) for size in (2, 5, 9, 12) for overlap in range(0, size, 2)
]
ROWS = [row for row in ROWS if row[0] > row[1]]


def frames_of(cuts: tuple[Cut, ...]) -> list[list[int]]:
    return [list(range(cut.start, cut.stop)) for cut in cuts]


@pytest.mark.parametrize("placing", PLACINGS)
@pytest.mark.parametrize("row", ROWS)
def test_windows_show_every_frame_and_have_one_size(row, placing):
    frames, size, overlap = row
    for step in range(9):
        shown = frames_of(SlidingWindows(size, overlap, PLACINGS[placing]).cuts(ClipShape(frames, 4, 6), level(step)))
        assert {frame for window in shown for frame in window} == set(range(frames))
        assert {len(window) for window in shown} == {size}
        assert len({tuple(window) for window in shown}) == len(shown)


def level(step: int, sigma: float = 0.5) -> NoiseLevel:
    return NoiseLevel(step, 20, sigma, 1000 * sigma)


def test_static_windows_stand_at_the_same_places_and_moving_ones_do_not():
    row = WindowRow(53, 21, 8)
    assert {static_starts(row, step) for step in range(8)} == {(0, 13, 26, 32)}
    places = [moving_starts(row, step) for step in range(8)]
    assert places[0] == (0, 13, 26, 32) and places[1] == (26, 32, 0, 12)
    assert places[2] == (13, 26, 32, 0) and len(set(places)) > 4


@pytest.mark.parametrize(
    ("halves", "expected"),
    [(0, 0.0), (1, 0.5), (2, 0.25), (3, 0.75), (4, 0.125), (5, 0.625), (6, 0.375), (7, 0.875)],
)
def test_moving_windows_begin_at_halves_of_halves(halves, expected):
    assert moving_starts(WindowRow(800, 100, 0), halves)[0] == 800 * expected


@pytest.mark.parametrize("blend", [*BLENDS.values(), flat, from_middle, linear_from_zero])
@pytest.mark.parametrize("row", ROWS)
def test_weights_are_a_partition_of_unity(row, blend):
    """By windows alone, a model that knows no neighbours gives what it gives without."""
    frames, size, overlap = row
    clip = ClipShape(frames, 4, 6)
    for placing, step in product(PLACINGS.values(), (0, 1, 5)):
        windows = SlidingWindows(size, overlap, placing, blend)
        cuts = windows.cuts(clip, level(step))
        total = torch.zeros(1, 1, frames, 4, 6)
        for cut in cuts:
            weights = windows.weights(cut, clip).expand(-1, 4, 6)
            assert (weights > 0).all()
            cut.add(total, weights[None, None])
        assert (total > 0).all()
        shares = torch.zeros_like(total)
        for cut in cuts:
            cut.add(shares, windows.weights(cut, clip) / cut.of(total))
        torch.testing.assert_close(shares, torch.ones_like(shares), rtol=0, atol=1e-6)


def test_pyramids_and_ramps():
    middle = Edges(5, False, False, 2)
    assert pyramid(middle).tolist() == [1, 2, 3, 2, 1] and pyramid(middle._replace(size=4)).tolist() == [1, 2, 2, 1]
    assert linear(middle).tolist() == [0.25, 0.75, 1, 0.75, 0.25]
    assert linear(middle._replace(is_first=True)).tolist() == [1, 1, 1, 0.75, 0.25]
    assert linear(middle._replace(is_last=True, overlap=0)).tolist() == [1] * 5
    assert linear_from_zero(middle).tolist() == pytest.approx([1e-37, 1, 1, 1, 1e-37])


class Neighbours:
    """A model whose velocity at a frame depends on all frames that it sees, and on which place each has."""

    def velocity(self, latent: torch.Tensor) -> torch.Tensor:
        frames = latent.shape[2]
        mix = torch.sin(torch.arange(frames * frames, dtype=torch.float32)).view(frames, frames)
        return torch.einsum("bcthw,ts->bcshw", latent, mix) / frames

    def embed(self, inputs):
        return inputs

    def trunk(self, passes):
        return [self.velocity(inputs.latent) for inputs in passes]

    def unembed(self, tokens, embedded):
        return tokens


def asked(windows, latent, at=BEGIN, model=None, prompt=None) -> torch.Tensor:
    prompt = prompt or Conditioning(torch.zeros(1, 4, 8))
    denoiser = Denoiser(model or Neighbours(), prompt, prompt, CFG(1.0), windows=windows)
    return denoiser.start()(latent, at)


def latent_of(frames: int) -> torch.Tensor:
    return torch.randn(2, 3, frames, 4, 6, generator=torch.Generator().manual_seed(frames))


@pytest.mark.parametrize("size", [13, 14, 40])
def test_a_window_of_the_clips_length_is_no_window_to_the_bit(size):
    latent = latent_of(13)
    for windows in (SlidingWindows(size, 3), SlidingWindows(size, 3, moving_starts, linear, sees_one_before=True)):
        assert torch.equal(asked(windows, latent), asked(WHOLE_CLIP, latent))
        assert torch.equal(windows.noise(latent, 5, 0), latent)


def test_above_a_noise_level_the_whole_clip_is_seen():
    latent, windows = latent_of(13), SlidingWindows(5, 2, from_sigma=0.8)
    for at in LEVELS[:-1]:
        is_whole = torch.equal(asked(windows, latent, at), asked(WHOLE_CLIP, latent, at))
        assert is_whole == (at.sigma > 0.8)
    assert not torch.equal(asked(SlidingWindows(5, 2), latent, BEGIN), asked(WHOLE_CLIP, latent, BEGIN))


@pytest.mark.parametrize(("frames", "size", "stride"), [(13, 5, 4), (21, 9, 6), (17, 5, 2)])
def test_the_sliding_window_of_diffsynth(frames, size, stride):
    """Restated frame by frame, of clips that whole windows fill: else its last one is shorter."""
    latent, border = latent_of(frames), size - stride
    assert (frames - size) % stride == 0
    value, weight = torch.zeros_like(latent), torch.zeros(frames)
    for start in range(0, frames - size + 1, stride):
        velocity = Neighbours().velocity(latent[:, :, start : start + size])
        for place in range(size):
            counts = 1.0
            if place < border and start > 0:
                counts = (place + 0.5) / border
            if place >= size - border and start + size < frames:
                counts = (size - place - 0.5) / border
            value[:, :, start + place] += velocity[:, :, place] * counts
            weight[start + place] += counts
    expected = value / weight[:, None, None]
    torch.testing.assert_close(asked(SlidingWindows(size, border, blend=linear), latent), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_the_context_windows_of_comfyui(step, before):
    """Restated by lists of frames: pyramid weights, and with its causal fix a frame before, which is dropped."""
    latent, at = latent_of(21), level(step)
    value, weight = torch.zeros_like(latent), torch.zeros(21)
    for start in moving_starts(WindowRow(21, 8, 3), step):
        frames = list(range(start, start + 8))
        shown = [start - 1, *frames] if before and start else frames
        velocity = Neighbours().velocity(latent[:, :, shown])[:, :, len(shown) - 8 :]
        counts = torch.tensor([1.0, 2, 3, 4, 4, 3, 2, 1])
        value[:, :, frames] += velocity * counts[:, None, None]
        weight[frames] += counts
    windows = SlidingWindows(8, 3, moving_starts, sees_one_before=before)
    torch.testing.assert_close(asked(windows, latent, at), value / weight[:, None, None], rtol=0, atol=1e-5)


@pytest.mark.parametrize("references", [0, 2])
@pytest.mark.parametrize(("frames", "size", "overlap"), [(6, 5, 2), (6, 5, 4), (9, 5, 4)])
def test_a_frame_before_the_second_window_does_not_count_where_it_is_the_first_of_the_clip(
    frames, size, overlap, references
):
    clip = ClipShape(references + frames, 4, 6, references)
    windows = SlidingWindows(size, overlap, blend=linear, sees_one_before=True)
    second = next(
        cut for cut in windows.cuts(clip, level(0)) if cut.start == references and cut.length > references + size
    )
    expected = [1.0] * references + [0.0] + linear(Edges(size, False, frames == size + 1, overlap)).tolist()
    assert windows.weights(second, clip).flatten().tolist() == expected


@pytest.mark.parametrize("row", ROWS)
def test_repeated_noise_is_a_permutation_of_the_first_window(row):
    frames, size, overlap = row
    noise = torch.randn(1, 4, frames, 2, 3, generator=torch.Generator().manual_seed(1))
    repeated = SlidingWindows(size, overlap).noise(noise, 7, 0)
    assert torch.equal(repeated[:, :, :size], noise[:, :, :size])
    found = [
        [torch.equal(repeated[:, :, frame], noise[:, :, first]) for first in range(size)] for frame in range(frames)
    ]
    assert all(sum(one) == 1 for one in found)
    hop = size - overlap
    for start in range(0, frames - size, hop):  # what a window adds is what stood one window before, in another order
        place = start + size
        added = [one.index(True) for one in found[place : min(place + hop, frames)]]
        before = [one.index(True) for one in found[start : start + len(added)]]
        assert sorted(added) == sorted(before)
    assert torch.equal(SlidingWindows(size, overlap, noising=fresh_noise).noise(noise, 7, 0), noise)


def test_another_seed_repeats_in_another_order():
    noise, windows = latent_of(60), SlidingWindows(12, 2)
    assert torch.equal(windows.noise(noise, 7, 0), windows.noise(noise, 7, 0))
    assert not torch.equal(windows.noise(noise, 7, 0), windows.noise(noise, 8, 0))


def test_what_is_kept_with_noise_gets_the_same_noise():
    noise, windows = latent_of(13), SlidingWindows(5, 2)
    region = NoisyRegion(torch.zeros_like(noise), torch.ones_like(noise[:, :1]), noise)
    arranged = region.with_arranged_noise(lambda each: windows.noise(each, 3, 0))
    assert torch.equal(arranged.noise, windows.noise(noise, 3, 0)) and arranged.mask is region.mask


def test_pictures_before_the_video_come_with_every_window_and_their_noise_stays():
    windows, clip = SlidingWindows(4, 2, sees_one_before=True), ClipShape(9, 2, 3, references=2)
    cuts = windows.cuts(clip, BEGIN)
    frames = torch.arange(9.0).view(1, 1, 9, 1, 1).expand(1, 1, 9, 2, 3)
    seen = [cut.of(frames)[0, 0, :, 0, 0].tolist() for cut in cuts]
    assert seen == [[0, 1, 2, 3, 4, 5], [0, 1, 3, 4, 5, 6, 7], [0, 1, 4, 5, 6, 7, 8]]
    assert [windows.weights(cut, clip).flatten().tolist() for cut in cuts][1] == [1, 1, 0, 1, 2, 2, 1]
    noise = torch.randn(1, 4, 9, 2, 3)
    arranged = windows.noise(noise, 3, 2)
    assert torch.equal(arranged[:, :, :6], noise[:, :, :6]) and not torch.equal(arranged, noise)
    prompt = Conditioning(torch.zeros(1, 4, 8), references=2)
    latent, model = latent_of(9), Neighbours()
    value, weight = torch.zeros_like(latent), torch.zeros(9)
    for start, shown in zip((2, 4, 5), ([0, 1, 2, 3, 4, 5], [0, 1, 3, 4, 5, 6, 7], [0, 1, 4, 5, 6, 7, 8])):
        velocity, counts = model.velocity(latent[:, :, shown]), torch.tensor([1.0, 2, 2, 1])
        inside = list(range(start, start + 4))
        value[:, :, inside] += velocity[:, :, -4:] * counts[:, None, None]
        value[:, :, :2] += velocity[:, :, :2]
        weight[inside] += counts
        weight[:2] += 1
    expected = value / weight[:, None, None]
    torch.testing.assert_close(asked(windows, latent, prompt=prompt), expected, rtol=0, atol=1e-5)


def test_the_start_image_stands_in_every_window_where_it_is_to():
    latent = torch.arange(9.0).view(1, 1, 9, 1, 1).expand(1, 16, 9, 2, 3)
    mask = torch.zeros(1, 4, 9, 2, 3)
    mask[:, :, 0] = 1
    item = KeyframeImages(latent, mask)
    for prompt_item in (item, ControlVideo(latent, item)):
        kept, plain = (prompt_item.window(Cut(4, 8, 9, keeps_first=keeps)) for keeps in (True, False))
        kept_item, plain_item = (getattr(each, "keyframes", each) for each in (kept, plain))
        assert kept_item.latent[0, 0, :, 0, 0].tolist() == [0, 5, 6, 7] and kept_item.mask[0, 0, :, 0, 0].tolist() == [
            1, 0, 0, 0,
        ]  # fmt: skip
        assert plain_item.latent[0, 0, :, 0, 0].tolist() == [4, 5, 6, 7] and not plain_item.mask.any()
    followed = ControlVideo(latent, item).window(Cut(4, 8, 9, keeps_first=True))
    assert followed.latent[0, 0, :, 0, 0].tolist() == [4, 5, 6, 7]
    control = VaceControl(latent.expand(1, 16, 9, 2, 3)).window(Cut(5, 8, 9, references=1, keeps_first=True))
    assert control.channels[0, 0, :, 0, 0].tolist() == [0, 1, 6, 7]
    first = item.window(Cut(0, 4, 9, keeps_first=True))
    assert first.latent[0, 0, :, 0, 0].tolist() == [0, 1, 2, 3]


def test_a_rectangle_of_a_clip_is_cut_by_the_same_seam():
    cut = Cut(1, 4, 5, rows=Span(1, 3, 4), columns=Span(2, 6, 6))
    latent, rays = torch.randn(1, 16, 5, 4, 6), torch.randn(1, 24, 5, 32, 48)
    assert torch.equal(cut.of(latent), latent[:, :, 1:4, 1:3, 2:6])
    assert torch.equal(cut.of(rays), rays[:, :, 1:4, 8:24, 16:48])
    assert cut.size(4, 6) == (3, 2, 4) and Cut(1, 4, 5).size(4, 6) == (3, 4, 6) and cut.name != Cut(1, 4, 5).name
    control = VaceControl(torch.randn(1, 96, 5, 4, 6)).window(cut)
    assert control.channels.shape == (1, 96, 3, 2, 4)
    picture = ReferencePicture(torch.randn(1, 16, 1, 4, 6))
    assert torch.equal(picture.window(cut).latent, picture.latent[:, :, :, 1:3, 2:6])
    total, part = torch.zeros(1, 16, 5, 4, 6), torch.ones(1, 16, 3, 2, 4)
    cut.add(total, part)
    assert total.sum() == part.sum() and torch.equal(cut.of(total), part)
    shares = torch.rand(1, 1, 1, 4, 1)
    assert torch.equal(cut.of_weights(shares), shares[:, :, :, 1:3])


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (4, 4), (4, 5), (3, -1)])
def test_sizes_that_no_windows_have_are_refused(size, overlap):
    with pytest.raises(InvalidInputError, match=f"Windows of {size} latent frames cannot overlap in {overlap}."):
        SlidingWindows(size, overlap)
