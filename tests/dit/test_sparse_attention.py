"""Attention that is sparse in the video itself: its patterns, and that what it gives is attention under their masks."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from wan_director.dit.attention import ATTENTION, every_token, resolve_attention, resolve_pattern, sdpa_attention
from wan_director.dit.attention.names import PATTERNS
from wan_director.dit.attention.pattern import NOISIEST, attend_tiles
from wan_director.dit.attention.tiles import Tiles, radial_tiles, sliding_tiles
from wan_director.dit.branches.vace import VaceBranch, VaceInput
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution, Lean
from wan_director.dit.model import WanDiT

GRIDS = [(1, 4, 5), (5, 6, 7), (9, 2, 3), (12, 1, 2)]
SMALL = {"tile": (2, 3, 2), "window": (3, 1, 3)}
every_pattern = pytest.mark.parametrize("name", sorted(PATTERNS))


def mask_of(tiles: Tiles) -> Tensor:
    """[L, L]: which tokens look at which."""
    mask = torch.zeros(tiles.length, tiles.length, dtype=torch.bool)
    for row, column in torch.nonzero(tiles.seen).tolist():
        mask[tiles.tokens[row][:, None], tiles.tokens[column][None]] = True
    return mask


def cut_at(size: int, longest: int) -> list[int]:
    """The run of each of so many tokens: of ceil(size / longest) runs, the last that begins no later."""
    runs = math.ceil(size / longest)
    return [max(run for run in range(runs) if run * size // runs <= place) for place in range(size)]


def looks_along(size: int, longest: int, width: int) -> list[list[bool]]:
    """Whether tokens of an axis are seen by others of it: in the window of full size next to that around their run."""
    run_of = cut_at(size, longest)
    runs = run_of[-1] + 1
    starts = [min(max(run - width // 2, 0), max(runs - width, 0)) for run in range(runs)]
    return [[starts[run] <= other < starts[run] + width for other in run_of] for run in run_of]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("window", [(1, 1, 1), (3, 1, 3), (3, 3, 3), (99, 99, 99)])
def test_sliding_tiles_token_by_token(grid, window):
    tile = SMALL["tile"]
    along = [looks_along(*each) for each in zip(grid, tile, window)]
    places = list(product(*map(range, grid)))
    expected = [[all(axis[i][j] for axis, i, j in zip(along, one, other)) for other in places] for one in places]
    assert torch.equal(mask_of(sliding_tiles(grid, tile, window)), torch.tensor(expected))


def radial_pair(apart: int, between: int, places: int) -> bool:
    """Whether tokens so many frames and places apart look at each other, as the paper writes it."""
    halvings = math.floor(math.log2(max(apart, 1)))
    if 2**halvings <= places and between + 1 <= places / 2**halvings:
        return True
    return between == 0 and apart % math.ceil(2**halvings / places) == 0


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("run", [1, 2, 5])
def test_radial_tiles_token_by_token(grid, run):
    frames, places = grid[0], grid[1] * grid[2]
    run_of = cut_at(places, run)
    pairs = list(product(range(places), repeat=2))
    expected = torch.zeros(frames, places, frames, places, dtype=torch.bool)
    for i, j in product(range(frames), repeat=2):
        seen = {(run_of[k], run_of[m]) for k, m in pairs if j == 0 or radial_pair(abs(i - j), abs(k - m), places)}
        for k, m in pairs:
            expected[i, k, j, m] = (run_of[k], run_of[m]) in seen
    assert torch.equal(mask_of(radial_tiles(grid, run)), expected.flatten(2).flatten(0, 1))


@pytest.mark.parametrize("grid", [*GRIDS, (21, 30, 52)])
@pytest.mark.parametrize("tiles_of", [sliding_tiles, radial_tiles])
def test_every_token_is_in_one_tile_and_looks_at_itself(tiles_of, grid):
    tiles = tiles_of(grid)
    assert torch.equal(torch.cat(tiles.tokens).sort().values, torch.arange(math.prod(grid)))
    assert bool(tiles.seen.diagonal().all())
    assert sorted(tile for looking, _ in tiles.groups for tile in looking) == list(range(len(tiles.tokens)))


def test_the_shares_that_the_documentation_gives():
    shares = {grid: (sliding_tiles(grid).density, radial_tiles(grid).density) for grid in [(21, 45, 80), (21, 30, 52)]}
    assert {grid: [round(100 * share) for share in each] for grid, each in shares.items()} == {
        (21, 45, 80): [43, 56],
        (21, 30, 52): [74, 63],
    }


@pytest.mark.parametrize("tiles_of", [lambda grid: sliding_tiles(grid, **SMALL), lambda grid: radial_tiles(grid, 4)])
@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("batch", [1, 2])
def test_tiled_attention_is_attention_under_the_mask(tiles_of, before, batch):
    tiles = tiles_of((7, 6, 4))
    q, k, v = torch.randn(3, batch, before + tiles.length, 3, 16)
    kept = [each.clone() for each in (q, k, v)]
    mask = F.pad(mask_of(tiles), (before, 0, before, 0), value=True)
    assert not bool(mask.all())
    expected = F.scaled_dot_product_attention(*(each.double().transpose(1, 2) for each in (q, k, v)), attn_mask=mask)
    out = attend_tiles(tiles, q, k, v)
    torch.testing.assert_close(out.double(), expected.transpose(1, 2), rtol=1e-5, atol=1e-6)
    assert all(torch.equal(now, then) for now, then in zip((q, k, v), kept))


def test_a_window_of_everything_is_sdpa_within_rounding():
    tiles = sliding_tiles((5, 6, 4), SMALL["tile"], (99, 99, 99))
    q, k, v = torch.randn(3, 1, 120, 2, 16)
    torch.testing.assert_close(attend_tiles(tiles, q, k, v), sdpa_attention(q, k, v), rtol=1e-5, atol=1e-6)


def test_tiled_attention_can_be_gone_back_through():
    tiles = radial_tiles((7, 3, 4), 4)
    mask = mask_of(tiles)
    parts = torch.randn(3, 1, tiles.length, 2, 8, dtype=torch.float64, requires_grad=True)
    expected = F.scaled_dot_product_attention(*(each.transpose(1, 2) for each in parts), attn_mask=mask)
    weights = torch.randn_like(parts[0])
    wanted = torch.autograd.grad((expected.transpose(1, 2) * weights).sum(), parts)[0]
    (given,) = torch.autograd.grad((attend_tiles(tiles, *parts) * weights).sum(), parts)
    torch.testing.assert_close(given, wanted)


@every_pattern
def test_a_pattern_keeps_everything_where_noise_is_high_and_where_the_video_is_small(name):
    pattern, large, noise = PATTERNS[name], (21, 45, 80), torch.tensor([[0.0, NOISIEST - 1]])
    assert pattern(large, noise) is not None
    assert pattern(large, noise + 1) is None
    assert pattern((1, 8, 8), noise) is None


def test_names_of_patterns_and_their_kernel():
    assert set(PATTERNS) < set(ATTENTION)
    assert all(resolve_attention(name) is sdpa_attention for name in PATTERNS)
    assert [name for name in ATTENTION if resolve_pattern(name) is not every_token] == list(PATTERNS)


CONFIG = DiTConfig(
    dim=48, ffn_dim=80, heads=6, layers=3, text_dim=24, text_tokens=8, freq_dim=16, branches=(VaceBranch(2),)
)
SHAPE = (7, 6, 8)
GRID = (7, 3, 4)
LENGTH = 84
LIMIT = 2e-6
"""Of float32 sums in another order, relative to the largest value."""


def few_tiles(grid, timesteps):
    """A pattern for the small videos of tests."""
    tiles = radial_tiles(grid, 4)
    return lambda q, k, v: attend_tiles(tiles, q, k, v)


def masked(grid, timesteps):
    """The same by a mask."""
    mask = mask_of(radial_tiles(grid, 4))

    def attend(q, k, v):
        heads = (each.transpose(1, 2) for each in (q, k, v))
        return F.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2)

    return attend


@pytest.fixture
def model() -> WanDiT:
    torch.manual_seed(0)
    model = WanDiT(CONFIG).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.fixture
def inputs(make_inputs):
    given = make_inputs(CONFIG, shape=SHAPE)
    return replace(given, steering=(VaceInput(torch.randn(1, 96, *SHAPE), 1.0),))


@pytest.mark.parametrize("lean", [None, Lean(4, run=13), Lean(4, keys_in_groups=True, run=13)])
def test_blocks_compute_a_pattern_as_they_would_a_mask(model, inputs, lean):
    plain = Execution(may_overwrite=True, lean=lean)
    dense, sparse, expected = (
        model(inputs, replace(plain, pattern=pattern)) for pattern in (every_token, few_tiles, masked)
    )
    assert torch.equal(dense, model(inputs, plain))
    assert (sparse - expected).abs().max() <= LIMIT * expected.abs().max()
    assert not torch.allclose(sparse, dense, rtol=1e-3)


def test_only_the_videos_attention_to_itself_is_sparse_and_not_in_the_first_block(model, make_inputs):
    config = replace(CONFIG, branches=(), text_tokens=LENGTH)  # as many tokens of text as of video
    model, asked, whole, parts = WanDiT(config), [], [], []

    def pattern(grid, timesteps):
        asked.append((grid, timesteps.tolist()))
        return lambda q, k, v: parts.append(q.shape) or sdpa_attention(q, k, v)

    def counting(q, k, v):
        whole.append(q.shape)
        return sdpa_attention(q, k, v)

    given = make_inputs(config, shape=SHAPE)
    execution = Execution(attention=counting, pattern=pattern)
    with torch.no_grad():
        model.forward_together([given, given], execution)
    assert asked == [(GRID, [[500.0]])] * 2
    assert len(parts) == 2 * (config.layers - 1) and len(whole) == 2 * (config.layers + 1)
