"""Who has which tokens, heads and passes; what is exchanged, and how much of the work is on each rank."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from wan_director.benchmarks.peak_memory import peak_bytes
from wan_director.common.errors import InvalidInputError
from wan_director.dit.config import DiTConfig
from wan_director.dit.context import Context, frame_pieces
from wan_director.dit.execution import Execution, lean_ways
from wan_director.dit.footprint import Share, pass_shape, shared_pass_bytes
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.dit.presets import PRESETS
from wan_director.parallel.exchange import CountingGroup
from wan_director.parallel.layout import bytes_sent, split, split_tokens, teams
from wan_director.parallel.passes import run_shared
from wan_director.parallel.ring import look, plainly
from wan_director.parallel.step import shared_step

RANKS = st.integers(1, 16)


@given(st.integers(0, 100_000), RANKS)
def test_everything_is_somebodys_and_all_have_nearly_as_much(count, ranks):
    shares = split(count, ranks)
    assert shares.total == count and max(shares.counts) - min(shares.counts) <= 1
    covered = [number for rank in range(ranks) for number in range(count)[shares.slice(rank)]] if count < 1000 else []
    assert covered == list(range(len(covered)))


@given(st.integers(1, 12), st.integers(0, 9), st.integers(1, 30), RANKS)
def test_every_token_of_a_frame_is_in_one_piece_with_its_frame(frames, before, of_frame, ranks):
    length = before + frames * of_frame
    shares, found = split(length, ranks), []
    for rank in range(ranks):
        own = range(length)[shares.slice(rank)]
        for piece in frame_pieces(own, before, of_frame):
            rows = own[piece.rows]
            assert not piece.rows.start < 0 and len(rows) % (piece.frames.stop - piece.frames.start) == 0
            each = len(rows) // (piece.frames.stop - piece.frames.start)
            found += [(row, piece.frames.start + number // each) for number, row in enumerate(rows)]
    assert found == [(before + number, number // of_frame) for number in range(frames * of_frame)]


@given(st.lists(st.integers(1, 20), min_size=2, max_size=6), RANKS)
def test_every_token_keeps_the_time_that_it_has(runs, ranks):
    length = sum(runs)
    rows = torch.arange(len(runs)).view(1, -1, 1, 1)
    whole = Context(rows, torch.zeros(1, length, 1, 1), torch.zeros(0), None, runs=tuple(runs))
    times = []
    for rank in range(min(ranks, length)):
        own = whole.of_tokens(split(length, min(ranks, length)).slice(rank), length)
        lengths = own.runs or ()
        assert own.modulation.shape[1] == len(lengths)
        times += own.modulation.flatten().repeat_interleave(torch.tensor(lengths)).tolist()
    assert times == rows.flatten().repeat_interleave(torch.tensor(runs)).tolist()


def test_a_rank_without_tokens_is_refused():
    with pytest.raises(InvalidInputError, match="3 tokens cannot be shared among 4 devices. Use fewer"):
        split_tokens(3, 4)


@given(RANKS, st.integers(1, 6))
def test_every_rank_is_in_one_team_and_every_pass_has_one(ranks, passes):
    made = teams(ranks, passes)
    assert sorted(rank for team in made for rank in team.ranks) == list(range(ranks))
    assert sorted(number for team in made for number in team.passes) == list(range(passes))
    assert len({len(team.ranks) for team in made}) == len({len(team.passes) for team in made}) == 1


def test_passes_are_shared_out_before_tokens():
    assert [team.ranks for team in teams(4, 2)] == [(0, 1), (2, 3)]
    assert [team.passes for team in teams(2, 4)] == [(0, 2), (1, 3)]
    assert [team.ranks for team in teams(3, 2)] == [(0, 1, 2)]


@torch.no_grad()
def counted(config: DiTConfig, size: tuple[int, int, int], ranks: int, rank: int) -> tuple[int, int, int]:
    """Operations of one pass of the blocks, bytes sent, and tokens; on the meta device."""
    with torch.device("meta"):
        model = WanDiT(config).to(torch.bfloat16)
        text = torch.empty(1, config.text_tokens, config.text_dim)
        inputs = DitInputs(torch.empty(1, config.out_channels, *size), torch.empty(1), text)
    group = CountingGroup(ranks, rank)
    embedded = model.embed(inputs)
    with FlopCounterMode(display=False) as counter:
        run_shared(model.trunk, [embedded], Execution(may_overwrite=True), group)
    return counter.get_total_flops(), group.sent, embedded.tokens.shape[1]


@torch.no_grad()
@pytest.mark.parametrize(("passes", "ranks"), [(1, 2), (2, 2), (2, 4)])
@pytest.mark.parametrize("lean", lean_ways(40), ids=["usual", "lean", "leanest"])
def test_a_rank_takes_as_much_memory_as_is_planned(passes, ranks, lean):
    config, size = replace(PRESETS["t2v-14B"], layers=2), (21, 60, 104)
    with torch.device("meta"):
        model = WanDiT(config).to(torch.bfloat16)
        text = torch.empty(1, config.text_tokens, config.text_dim)
        inputs = DitInputs(torch.empty(1, config.out_channels, *size), torch.empty(1), text)

    def run() -> list[torch.Tensor]:
        embedded = [model.embed(inputs) for _ in range(passes)]
        return run_shared(model.trunk, embedded, Execution(may_overwrite=True, lean=lean), CountingGroup(ranks))

    team = teams(ranks, passes)[0]
    shape, share = pass_shape((1, *size), together=passes), Share(len(team.ranks), len(team.passes))
    assert 0.999 < shared_pass_bytes(config, shape, share, lean=lean) / peak_bytes(run) < 1.2


@pytest.mark.parametrize("ranks", [13, 16])
def test_around_a_ring_each_rank_computes_its_part_and_sends_what_the_formula_says(ranks):
    config, size = replace(PRESETS["t2v-1.3B"], layers=2), (21, 60, 104)
    whole, _, tokens = counted(config, size, 1, 0)
    shares, heads = split(tokens, ranks), split(config.heads, ranks)
    for rank in (0, ranks - 1):
        own, sent, _ = counted(config, size, ranks, rank)
        formula = bytes_sent(shares, heads, rank, width=config.dim, blocks=config.layers)
        assert sent == formula.attention + formula.results
        assert own == pytest.approx(whole / ranks, rel=0.02)
    planned = shared_step(config, tokens, 1, ranks, 2)
    assert planned.work == pytest.approx(1 / ranks, rel=0.02)
    assert planned.sent_bytes == counted(config, size, ranks, 0)[1]


@given(st.integers(1, 3), st.lists(st.integers(1, 9), min_size=2, max_size=5), st.booleans())
def test_what_is_seen_in_parts_is_what_is_seen_at_once(heads, parts, is_plain):
    see = plainly if is_plain else look
    make = torch.Generator().manual_seed(sum(parts))
    q, k, v = (torch.randn(2, heads, count, 8, generator=make) * 3 for count in (7, sum(parts), sum(parts)))
    seen = None
    for keys, values in zip(k.split(parts, dim=2), v.split(parts, dim=2)):
        part = see(q, keys, values)
        seen = part if seen is None else seen.and_of(part)
    whole = torch.softmax(q.double() @ k.double().mT * 8**-0.5, dim=-1) @ v.double()
    assert seen is not None and float((seen.out - whole).abs().max() / whole.abs().max()) < 1e-5


def test_a_step_that_is_shared_sends_and_computes_what_is_planned():
    config, size = PRESETS["t2v-1.3B"], (21, 60, 104)
    whole, _, tokens = counted(config, size, 1, 0)
    for ranks in (2, 3, 4, 8):
        own, sent, _ = counted(config, size, ranks, 0)
        planned = shared_step(config, tokens, 1, ranks, 2)
        assert planned.sent_bytes == sent and planned.work == pytest.approx(own / whole, rel=0.01)
        assert (planned.team, planned.passes) == (ranks, 1)
    planned = shared_step(config, tokens, 2, 2, 2)
    assert (planned.team, planned.passes, planned.work) == (1, 1, 0.5)
    assert planned.efficiency(1e15, 1e14, 1e12) == pytest.approx(10 / (2 * (5 + planned.sent_bytes / 1e12)))


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_each_rank_does_its_part_of_the_work_and_sends_what_the_formula_says(ranks):
    config = PRESETS["t2v-1.3B"]
    size = (21, 60, 104)
    whole, nothing, tokens = counted(config, size, 1, 0)
    assert nothing == 0
    for rank in (0, ranks - 1):
        own, sent, _ = counted(config, size, ranks, rank)
        heads = split(config.heads, ranks)
        shares = split(tokens, ranks)
        formula = bytes_sent(shares, heads, rank, width=config.dim, blocks=config.layers)
        assert sent == formula.attention + formula.results
        if config.heads % ranks == 0:
            assert own == pytest.approx(whole / ranks, rel=0.02)
        else:  # as heads are whole, somebody has more of them
            assert own <= 1.25 * whole / ranks
