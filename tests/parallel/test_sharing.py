"""A pass that several devices share gives what one device gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.dit.execution import Execution
from wan_director.dit.past import Past
from wan_director.parallel.exchange import CountingGroup, OneRank
from wan_director.parallel.layout import split

from . import cases, ranks

LIMIT = 1e-5
"""Of float32 sums over a run, relative to the largest value; a pass alone is ten times closer."""


@pytest.fixture(scope="module", params=[2, 3, 4])
def answers(request, tmp_path_factory):
    """The number of processes, and what each of them answers."""
    return request.param, ranks.answers(request.param, tmp_path_factory.mktemp(f"ranks{request.param}"))


def of_all(name: str, found: list[dict[str, torch.Tensor]]) -> torch.Tensor:
    """The answer to a case; of attention the parts of all ranks in order."""
    parts = [each[name] for each in found]
    if name.startswith(("attention", "ring")):
        return torch.cat(parts, dim=1)
    assert all(torch.equal(part, parts[0]) for part in parts), f"{name}: the ranks do not agree"
    return parts[0]


def test_what_several_processes_compute_is_what_one_does(answers):
    number, found = answers
    for name, case in cases.all_cases(number).items():
        expected, got = case(OneRank()), of_all(name, found)
        assert got.isfinite().all() and got.shape == expected.shape, name
        error = float((got - expected).abs().max() / expected.abs().max())
        assert error < LIMIT, f"{name}: {error}"


def test_attention_itself_is_the_same_to_the_bit(answers):
    number, found = answers
    for name, case in cases.all_cases(number).items():
        if name.startswith("attention"):
            assert torch.equal(of_all(name, found), case(OneRank())), name


def test_a_ring_is_taken_only_where_heads_are_fewer_than_ranks(answers):
    number, found = answers
    name = "ring, fewer heads than ranks"  # three of them
    is_exact = torch.equal(of_all(name, found), cases.all_cases(number)[name](OneRank()))
    assert is_exact == (number < 4)


def test_rows_of_frames_are_those_of_as_many_strips_to_the_bit(answers):
    number, found = answers
    for direction in ("decoded", "encoded"):
        in_strips = cases.rows(direction, OneRank(), strips=number)
        assert torch.equal(of_all(f"rows, {direction}", found), in_strips)


def test_whole_passes_on_a_rank_each_are_the_same_to_the_bit(answers):
    number, found = answers
    exact = {2: ("t2v, 2 passes", "t2v, 4 passes", "run"), 3: ("t2v, 3 passes",), 4: ("t2v, 4 passes",)}
    for name in exact[number]:
        assert torch.equal(of_all(name, found), cases.all_cases(number)[name](OneRank())), name


def test_parts_are_cut_where_the_ranks_divide_badly():
    assert split(7, 3).counts == (3, 2, 2)


def test_what_needs_all_tokens_is_refused():
    model = cases.model_of("uni3c and reference")
    inputs = cases.inputs_of("uni3c", model.config)
    reference = cases.inputs_of("reference", cases.model_of("reference").config).steering
    with pytest.raises(InvalidInputError, match="Uni3C and of pictures before them cannot be shared .* or two"):
        cases.velocities(model, [replace(inputs, steering=inputs.steering + reference)], Execution(), CountingGroup(2))
    model = cases.model_of("t2v")
    causal = replace(cases.inputs_of("t2v", model.config), past=Past(3, 6, 5))
    with pytest.raises(InvalidInputError, match="The tokens of a causal model, and .* cannot be shared"):
        cases.velocities(model, [causal], Execution(), CountingGroup(2))
