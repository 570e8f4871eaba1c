"""Joining two clips: against a plain restatement, to the bit where they agree, and without a copy beside the result."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from wan_director.common.errors import OutOfMemory
from wan_director.media.colours import UNCHANGED, match_to, mean_shift
from wan_director.media.joining import BLENDS, join_clips


def clip(frames: int, seed: int = 0, height: int = 12, width: int = 20) -> torch.Tensor:
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("overlap", [1, 2, 5, 7])
def test_a_cross_fade_is_a_ramp_whose_ends_are_left_out(overlap):
    a, b = clip(7), clip(9, 1)
    weights = torch.linspace(0, 1, overlap + 2)[1:-1].view(-1, 1, 1, 1)
    middle = a[7 - overlap :] * (1 - weights) + b[:overlap] * weights
    expected = torch.cat([a[: 7 - overlap], middle, b[overlap:]])
    joined = join_clips(a, b, overlap, "cross-fade")
    torch.testing.assert_close(joined, expected, rtol=0, atol=1e-6)
    assert joined.dtype == torch.float32


@pytest.mark.parametrize("blend", BLENDS)
def test_neither_clip_is_written_to(blend):
    a, b = clip(7), clip(9, 1)
    join_clips(a, b, 3, blend, mean_shift(a[-3:], b[:3]))
    assert torch.equal(a, clip(7)) and torch.equal(b, clip(9, 1))


def test_colours_that_agree_are_not_moved():
    a = clip(5)
    assert all(torch.equal(*pair) for pair in zip(mean_shift(a, a.clone()), UNCHANGED))
    _, stretch, shift = match_to(a, a.clone())
    assert not stretch.any() and not shift.any()


def test_statistics_are_those_of_all_pixels():
    reference, changed = clip(3) * 0.5 + 0.2, clip(6, 2) * 0.3 + 0.5
    mean, stretch, shift = match_to(reference, changed)
    flat, goal = changed.flatten(0, 2).double(), reference.flatten(0, 2).double()
    torch.testing.assert_close(mean.double(), flat.mean(0), rtol=0, atol=1e-7)
    torch.testing.assert_close(shift.double(), goal.mean(0) - flat.mean(0), rtol=0, atol=1e-7)
    ratio = goal.std(0, unbiased=False) / flat.std(0, unbiased=False)
    torch.testing.assert_close(stretch.double() + 1, ratio, rtol=1e-6, atol=0)


def test_a_plain_clip_has_no_contrast_to_stretch():
    plain = torch.full((4, 8, 8, 3), 0.5)
    joined = join_clips(clip(2, 0, 8, 8), plain, 0, "frames of a", match_to(clip(9, 3, 8, 8), plain))
    assert torch.equal(joined[2:], joined[2].expand(4, -1, -1, -1)) and 0.4 < float(joined[2].mean()) < 0.6


def test_new_colours_stay_colours():
    bright = join_clips(
        torch.ones(3, 4, 4, 3), clip(3, 1, 4, 4), 1, "frames of b", mean_shift(torch.ones(1, 4, 4, 3), clip(1, 1, 4, 4))
    )
    assert float(bright.max()) == 1.0 and float(bright.min()) >= 0


def test_a_result_that_does_not_fit_into_ram_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr("wan_director.common.memory.free_ram.free_ram_bytes", lambda: 9 * clip(1).nbytes)
    assert len(join_clips(clip(5), clip(5, 1), 1, "cross-fade")) == 9
    with pytest.raises(OutOfMemory, match="The 10 frames of 20 x 12 pixels of both clips take .* are free. Save the"):
        join_clips(clip(5), clip(5, 1), 0, "cross-fade")


class Largest(TorchDispatchMode):
    """Counts new storages that are larger than a few frames."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.large, self.kept = limit, set(), []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        old = {each.untyped_storage().data_ptr() for each in tree_leaves(arguments) if isinstance(each, torch.Tensor)}
        result = function(*arguments, **(keywords or {}))
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor) and each.untyped_storage().data_ptr() not in old:
                self.kept.append(each)  # or the next one would take its place
                if each.untyped_storage().nbytes() > self.limit:
                    self.large.add(each.untyped_storage().data_ptr())
        return result


@pytest.mark.parametrize("blend", BLENDS)
def test_nothing_large_is_made_but_the_result(blend):
    a, b = clip(40), clip(60, 1)
    colours = [UNCHANGED]
    with Largest(2 * a[0].numel() * 8) as seen:  # float64 for the statistics
        colours += [mean_shift(a[-30:], b[:30]), match_to(a, b)]
    assert not seen.large
    for each in colours:
        with Largest(2 * a[0].numel() * 8) as seen:
            joined = join_clips(a, b, 30, blend, each)
        assert seen.large == {joined.untyped_storage().data_ptr()}
