"""Before anything runs: what each stage of a run takes, and the cheapest way to run it within a budget.

A stage is one model at work. It costs least with all its weights on the device; where they do not fit, blocks are
swapped in, as few as necessary; where a stage can be cut into strips, that is weighed against it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import torch

from ..common.records import record
from .budget import FILE_BYTES, Card
from .policy import BlockSwap, Footprint, Resident

_DEVICE = torch.device("cpu")  # the arithmetic of a policy is the same for all, as the cap is given


class Way(NamedTuple):
    """One way to compute a stage: bytes beside the weights, and the part of time it takes more than the fastest.

    `number`: of strips; of a stage with blocks, of passes that go together, block by block, so that blocks that are
    swapped in cross the bus once for all of them. `leanness`: how little a block keeps while it runs, 0 for the usual.
    `host_bytes`: that leave the device for RAM in each step, and come back.
    """

    number: int
    working_bytes: int
    slowdown: float = 0.0
    leanness: int = 0
    host_bytes: int = 0


@record
class Task:
    """What a stage has to do.

    Attributes:
        name: of the stage ("sample").
        fixed_bytes: weights that are always on the device.
        block_bytes: of each block that may be swapped, in the order they run.
        ways: to compute it, the fastest first.
        flops: of one pass through the blocks.
        passes: how often the blocks are run through in one step.
        anonymous_bytes: of the weights that are in RAM of their own, because they were converted while loading; others
            are windows into their file, which the system drops when RAM is short.
        host_bytes: RAM beside the weights.
        runs_once: whether the blocks are run through once and not in many steps: then none are kept in pinned memory.
        plain_bytes: of each block's stored matrices as plain numbers, at most; empty where they are never kept so.
    """

    name: str
    fixed_bytes: int
    block_bytes: tuple[int, ...]
    ways: tuple[Way, ...]
    flops: float = 0.0
    passes: int = 1
    anonymous_bytes: int = 0
    host_bytes: int = 0
    runs_once: bool = False
    plain_bytes: tuple[int, ...] = ()


@record(slots=False)
class Choice:
    """A task in the way it is going to run.

    Attributes:
        task: what is done.
        way: how.
        swapped: blocks that are swapped in.
        footprint: what the blocks take.
        card: the assumed device.
        plain: blocks, the first, whose stored matrices are kept as plain numbers.
    """

    task: Task
    way: Way
    swapped: int
    footprint: Footprint
    card: Card
    plain: int = 0

    @property
    def plain_bytes(self) -> int:
        """On the device, of the matrices that are kept as plain numbers."""
        return sum(self.task.plain_bytes[: self.plain])

    @property
    def device_bytes(self) -> int:
        """The most that the device holds."""
        return self.weight_bytes + self.way.working_bytes

    @property
    def weight_bytes(self) -> int:
        """On the device, the slots of swapped blocks included."""
        return self.task.fixed_bytes + self.footprint.device_bytes

    @property
    def host_bytes(self) -> int:
        """RAM that is not given back under pressure."""
        kept = self.task.host_bytes + self.way.host_bytes
        return max(self.task.anonymous_bytes, self.footprint.pinned_bytes) + kept

    @property
    def copied_bytes(self) -> int:
        """Over the bus in one step."""
        return self.footprint.copied_bytes * -(-self.task.passes // self.way.number)

    @cached_property
    def copied_s(self) -> float:
        """Seconds that the copies of a step take by themselves."""
        back_s = self.way.host_bytes / self.card.bus_bytes
        if not self.copied_bytes:
            return back_s
        from_file = self.copied_bytes * min(1.0, self.footprint.file_bytes / self.footprint.copied_bytes)
        file_rate = min(FILE_BYTES, self.card.bus_bytes)
        return (self.copied_bytes - from_file) / self.card.bus_bytes + from_file / file_rate + back_s

    @property
    def copy_ratio(self) -> float:
        """Time of the copies of a step as a part of the time of its computation."""
        compute_s = self.task.flops * self.task.passes / self.card.flops
        return self.copied_s / compute_s if compute_s else 0.0

    @property
    def slowdown(self) -> float:
        """Expected part of the time that comes on top of that with everything on the device, 0 for none.

        Copies run beside the computation, so that only what takes longer than it costs time.
        """
        return max(1 + self.way.slowdown, self.copy_ratio) - 1


def plan(task: Task, limit_bytes: int, card: Card, *, pinned_bytes: int) -> Choice | None:
    """The cheapest way to run a task with at most so much of the device; None when there is none.

    Cheapest is what is expected to take the least time; of equals, what brings less over the bus.

    Args:
        pinned_bytes: cap on the host memory that blocks are swapped in from; those beyond come from their file.
    """
    fitting = [choice for choice in ways_to_run(task, card, pinned_bytes) if choice.device_bytes <= limit_bytes]
    return min(fitting, key=cost, default=None)


def smallest(task: Task, card: Card, *, pinned_bytes: int) -> Choice:
    """The way to run a task that takes the least of the device."""
    return min(ways_to_run(task, card, pinned_bytes), key=lambda choice: (choice.device_bytes, choice.slowdown))


def smallest_bytes(task: Task) -> int:
    """The least that a task takes of the device."""
    ways = min(way.working_bytes for way in task.ways)
    sizes = len(task.block_bytes)
    counts = range(sizes + 1) if len(set(task.block_bytes)) > 1 else (0, sizes)
    blocks = (_footprint(task, count, 0).device_bytes for count in counts)
    return task.fixed_bytes + ways + min(blocks)


def swap_exactly(task: Task, blocks: int, card: Card, *, pinned_bytes: int) -> Choice:
    """The task with so many blocks swapped, in its cheapest way."""
    count = min(blocks, len(task.block_bytes))
    footprint = _footprint(task, count, pinned_bytes)
    return min((Choice(task, way, count, footprint, card) for way in task.ways), key=cost)


def keep_plain(choice: Choice, limit_bytes: int) -> Choice:
    """The choice with what it leaves of so many bytes filled: with stored matrices that are kept as plain numbers.

    They are then made once in a run instead of in every pass, block by block from the first one on as far as the memory
    goes. Where blocks are swapped, there is none to fill.
    """
    if choice.swapped:
        return choice
    fitting = bisect_right(list(accumulate(choice.task.plain_bytes)), limit_bytes - choice.device_bytes)
    policy = Resident(fitting, sum(choice.task.plain_bytes[:fitting]))
    return replace(choice, plain=fitting, footprint=policy.footprint(choice.task.block_bytes, _DEVICE))


def ways_to_run(task: Task, card: Card, pinned_bytes: int) -> list[Choice]:
    """Every way worth considering that there is RAM for, those with fewer swapped blocks first."""
    counts = range(len(task.block_bytes) + 1)
    sizes = sorted({way.host_bytes for way in task.ways if way.host_bytes <= pinned_bytes})
    footprints = {(count, kept): _footprint(task, count, pinned_bytes - kept) for count in counts for kept in sizes}
    return [
        Choice(task, way, count, footprint, card)
        for (count, kept), footprint in footprints.items()
        for way in task.ways
        if way.host_bytes == kept
    ]


def fewest_swapped_of_each(
    task: Task, limit_bytes: float, card: Card, *, pinned_bytes: int, counts: Sequence[int]
) -> list[Choice]:
    """Each way with as few swapped blocks of these numbers as make it fit, or as take least where none does.

    Args:
        pinned_bytes: cap on host memory, of which the blocks get what the way itself leaves.
    """
    sizes = [(count, _footprint(task, count, 0).device_bytes) for count in counts]
    least, _ = min(sizes, key=lambda each: each[1])
    made = []
    for way in task.ways:
        room = limit_bytes - task.fixed_bytes - way.working_bytes
        count = next((count for count, size in sizes if size <= room), least)
        footprint = _footprint(task, count, max(0, pinned_bytes - way.host_bytes))
        made.append(Choice(task, way, count, footprint, card))
    return made


def cost(choice: Choice) -> tuple[float, int, int]:
    """What is to be small: expected time, and of equals what crosses the bus."""
    return choice.slowdown, choice.copied_bytes + 2 * choice.way.host_bytes, choice.way.number


def _footprint(task: Task, swapped: int, pinned_bytes: int) -> Footprint:
    return BlockSwap(swapped, 0 if task.runs_once else pinned_bytes).footprint(task.block_bytes, _DEVICE)
