"""What ranks hand to each other: parts of tensors, of any size each."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from math import prod
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from ..common.errors import GivenUp
from ..common.memory.out_of_memory import is_out_of_memory
from ..common.ranks import OneRank, Ranks


class Group(Ranks, Protocol):
    """Ranks that work on one thing together."""

    def largest(self, own: int) -> int:
        """The largest of what the ranks say; all ask at the same time."""
        ...

    def team(self, ranks: Sequence[int]) -> Group:
        """Some of the ranks, this one among them; all ranks have to ask for their teams in the same order."""
        ...


FINE, NO_MEMORY, STOPPED = range(3)
"""What a rank says before an exchange."""


def agree(group: Group, own: int = FINE) -> None:
    """Waits for all ranks.

    Raises:
        GivenUp: one of them cannot go on.
    """
    worst = group.largest(own)
    if worst != FINE:
        raise GivenUp(is_memory=worst == NO_MEMORY)


def tell(group: Group, error: BaseException) -> None:
    """Tells the ranks of a group, wherever they wait, that this one does not come."""
    with contextlib.suppress(RuntimeError):  # who has ended need not be told
        agree(group, NO_MEMORY if is_out_of_memory(error) else STOPPED)


class CountingGroup:
    """One of `size` ranks without the others: what they would send has no values, and what is sent is counted.

    With tensors on the meta device a rank's work and exchanges can be counted at any size.

    Attributes:
        sent: bytes that went to other ranks.
    """

    def __init__(self, size: int, rank: int = 0) -> None:
        self.size = size
        self.rank = rank
        self.sent = 0

    def swap(self, parts: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> list[Tensor]:
        """See `Group.swap`; it takes the memory that it takes with the others."""
        self.sent += sum(part.nbytes for rank, part in enumerate(parts) if rank != self.rank)
        sent = torch.cat([part.reshape(-1) for part in parts])
        return _cut(sent.new_empty(sum(map(prod, shapes))), shapes)

    def gather(self, part: Tensor, sizes: Sequence[int]) -> Tensor:
        """See `Group.gather`."""
        self.sent += part.nbytes * (self.size - 1)
        return part.new_empty(sum(sizes))

    def largest(self, own: int) -> int:
        """See `Group.largest`."""
        return own

    def team(self, ranks: Sequence[int]) -> Group:
        """See `Group.team`; what a team sends is not counted in the whole group."""
        return self if len(ranks) == self.size else CountingGroup(len(ranks), list(ranks).index(self.rank))


class DistributedGroup:
    """Ranks of torch.distributed: gloo on the CPU, NCCL on GPUs.

    Of the collectives for parts of unequal sizes gloo has this one only, and takes no fp8, which goes as bytes
    (torch 2.13.0).

    Args:
        ranks: of the whole world, in order; None for all.
    """

    def __init__(self, ranks: Sequence[int] | None = None) -> None:
        world = range(dist.get_world_size()) if ranks is None else ranks
        self._world = tuple(world)
        self._group = None if ranks is None else _subgroup(self._world)
        self.rank = self._world.index(dist.get_rank())
        self.size = len(self._world)
        self._teams: dict[tuple[int, ...], Group] = {}

    def swap(self, parts: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> list[Tensor]:
        """See `Group.swap`."""
        sent = torch.cat([part.reshape(-1) for part in parts])
        sizes = [prod(shape) for shape in shapes]
        received = sent.new_empty(sum(sizes))
        numbers = [part.numel() for part in parts]
        agree(self)
        dist.all_to_all_single(_carried(received), _carried(sent), sizes, numbers, group=self._group)
        return _cut(received, shapes)

    def gather(self, part: Tensor, sizes: Sequence[int]) -> Tensor:
        """See `Group.gather`."""
        received = part.new_empty(sum(sizes))
        parts = received.split([*sizes])
        parts[self.rank].copy_(part.reshape(-1))
        agree(self)
        for rank, each in zip(self._world, parts):
            if each.numel():
                dist.broadcast(_carried(each), rank, group=self._group)
        return received

    def largest(self, own: int) -> int:
        """See `Group.largest`."""
        said = torch.tensor([own])
        dist.all_reduce(said, dist.ReduceOp.MAX, group=self._group)
        return int(said)

    def team(self, ranks: Sequence[int]) -> Group:
        """See `Group.team`."""
        chosen = tuple(ranks)
        if len(chosen) == self.size:
            return self
        if chosen not in self._teams:
            self._teams[chosen] = OneRank() if len(chosen) == 1 else DistributedGroup([self._world[r] for r in chosen])
        return self._teams[chosen]

    def leave(self) -> None:
        """Forgets what torch knows it and its teams by, at the end of all.

        Whoever still holds it must not keep those alive: torch (2.14.1) takes them down where Python collects its
        garbage, in whatever thread, and waits there for ever.
        """
        self._group = None
        for team in self._teams.values():
            if isinstance(team, DistributedGroup):
                team.leave()
        self._teams.clear()


def _cut(values: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Numbers that lie one behind the other, as tensors of these shapes."""
    return [each.view(*shape) for each, shape in zip(values.split([*map(prod, shapes)]), shapes, strict=True)]


def _carried(values: Tensor) -> Tensor:
    """The same memory in a dtype that gloo takes."""
    return values.view(torch.uint8) if values.dtype.is_floating_point and values.itemsize == 1 else values


def _subgroup(ranks: tuple[int, ...]) -> dist.ProcessGroup:
    group = dist.new_group(list(ranks), use_local_synchronization=True)
    assert isinstance(group, dist.ProcessGroup), "this rank is one of them"
    return group
