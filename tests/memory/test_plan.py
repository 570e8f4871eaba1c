"""The planner: what it chooses fits, is the cheapest, and never gets worse with more memory."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wan_director.common.errors import InvalidInputError
from wan_director.memory.budget import GB, Budget, Card, example_card, gigabytes, parse_bytes
from wan_director.memory.plan import Task, Way, plan, smallest, smallest_bytes, swap_exactly

CARD = Card("a card", 25e12, 12e9)
sizes = st.integers(0, 1000)
ways = st.lists(st.tuples(sizes, st.floats(0, 2)), min_size=1, max_size=4).map(
    lambda pairs: tuple(
        Way(number, size, slowdown)
        for number, (size, slowdown) in enumerate(
            zip(sorted((size for size, _ in pairs), reverse=True), sorted(slow for _, slow in pairs)), start=1
        )
    )
)
tasks = st.builds(
    Task,
    name=st.just("sample"),
    fixed_bytes=sizes,
    block_bytes=st.lists(st.integers(1, 500), max_size=12).map(tuple),
    ways=ways,
    flops=st.floats(1, 1e16),
    passes=st.integers(1, 2),
)


def test_nothing_is_swapped_where_everything_fits():
    task = Task("sample", 10, (100,) * 4, (Way(1, 50),), 1e12)
    choice = plan(task, 460, CARD, pinned_bytes=GB)
    assert (choice.swapped, choice.device_bytes, choice.copied_bytes) == (0, 460, 0)


def test_as_few_blocks_are_swapped_as_fit():
    task = Task("sample", 10, (100,) * 8, (Way(1, 50),), 1e12, passes=2)
    choice = plan(task, 660, CARD, pinned_bytes=GB)
    assert choice.swapped == 4  # four stay, two slots
    assert choice.device_bytes == 10 + 600 + 50
    assert choice.copied_bytes == 2 * 400  # for both prompts
    assert swap_exactly(task, 4, CARD, pinned_bytes=GB) == choice
    assert plan(task, 259, CARD, pinned_bytes=GB) is None
    assert smallest(task, CARD, pinned_bytes=GB).device_bytes == smallest_bytes(task) == 260


def test_blocks_that_go_together_cross_once():
    task = Task("sample", 0, (100,) * 8, (Way(1, 0), Way(2, 50)), 1e12, passes=2)
    apart, together = (plan(task, limit, CARD, pinned_bytes=GB) for limit in (649, 650))
    assert (apart.way.number, apart.copied_bytes) == (2, 500)  # a block more is swapped, and still less is copied
    assert (together.way.number, together.copied_bytes) == (2, 400)
    assert plan(task, 249, CARD, pinned_bytes=GB).way.number == 1


def test_copies_cost_only_what_outlasts_the_computation():
    slow = swap_exactly(Task("sample", 0, (12 * GB,) * 3, (Way(1, 0),), 25e12), 3, CARD, pinned_bytes=1 << 60)
    assert slow.copied_s == pytest.approx(3) and slow.copy_ratio == pytest.approx(3)
    assert slow.slowdown == pytest.approx(2)
    hidden = swap_exactly(Task("sample", 0, (12 * GB,) * 3, (Way(1, 0),), 100e12), 3, CARD, pinned_bytes=1 << 60)
    assert hidden.copy_ratio == pytest.approx(0.75) and hidden.slowdown == 0


def test_blocks_without_pinned_memory_come_more_slowly():
    task = Task("sample", 0, (GB,) * 4, (Way(1, 0),), 1e12)
    pinned, staged = (swap_exactly(task, 4, CARD, pinned_bytes=cap) for cap in (4 * GB, 0))
    assert staged.copied_s > 2 * pinned.copied_s
    assert (pinned.footprint.file_bytes, staged.footprint.file_bytes) == (0, 4 * GB)


def test_strips_are_weighed_against_their_work():
    task = Task("decode", 10, (), (Way(1, 100), Way(2, 60, 0.07), Way(3, 50, 0.14)))
    assert [plan(task, limit, CARD, pinned_bytes=0).way.number for limit in (110, 109, 70, 69)] == [1, 2, 2, 3]
    assert plan(task, 59, CARD, pinned_bytes=0) is None


@settings(max_examples=60)
@given(tasks, st.integers(0, 8000))
def test_what_is_chosen_fits_and_what_is_refused_cannot(task, limit):
    choice = plan(task, limit, CARD, pinned_bytes=GB)
    if choice is None:
        assert smallest(task, CARD, pinned_bytes=GB).device_bytes > limit
    else:
        assert choice.device_bytes <= limit
    assert smallest_bytes(task) == smallest(task, CARD, pinned_bytes=GB).device_bytes
    assert plan(task, limit, CARD, pinned_bytes=GB) == choice


@settings(max_examples=60)
@given(tasks, st.integers(0, 8000), st.integers(0, 2000), st.integers(0, 2000))
def test_more_memory_never_costs_more(task, limit, more, pinned):
    small, large = (plan(task, size, CARD, pinned_bytes=pinned) for size in (limit, limit + more))
    if small is None:
        return
    assert (large.slowdown, large.copied_bytes) <= (small.slowdown, small.copied_bytes)
    if len(task.ways) == 1 and len(set(task.block_bytes)) <= 1:
        assert large.swapped <= small.swapped


@settings(max_examples=60)
@given(tasks, st.integers(0, 200))
def test_a_task_that_needs_more_is_never_cheaper(task, more):
    heavier = Task(task.name, task.fixed_bytes + more, task.block_bytes, task.ways, task.flops, task.passes)
    light, heavy = (plan(each, 1500, CARD, pinned_bytes=GB) for each in (task, heavier))
    assert light is not None or heavy is None
    if heavy is not None:
        assert heavy.copied_bytes >= light.copied_bytes or heavy.slowdown >= light.slowdown


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * GB), ("7.5 gb", 7_500_000_000), ("12", 12 * GB), ("6000MB", 6 * GB), ("8GiB", 2**33), (" 1g ", GB)],
)
def test_amounts_of_memory(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "eight", "8TB", "-8GB", "0", "8GB8", "1e9", "8" * 40])
def test_what_is_no_amount_of_memory(text):
    with pytest.raises(InvalidInputError, match="memory"):
        parse_bytes(text)


def test_budgets():
    assert Budget().limit(8 * GB) == 7 * GB
    assert Budget("leave free", 9 * GB).limit(8 * GB) == 0
    assert Budget("use at most", 5 * GB).limit(8 * GB) == 5 * GB
    assert Budget("use at most", 9 * GB).limit(8 * GB) == 8 * GB
    assert (gigabytes(7_949_000_000), gigabytes(79_400_000)) == ("7.9 GB", "79.4 MB")
    assert [example_card(size * GB).name for size in (6, 12, 24, 80)] == [
        "an RTX 3060", "an RTX 3060", "an RTX 4090", "an H200",
    ]  # fmt: skip
