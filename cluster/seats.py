"""Who is given which GPUs of a cluster: workers of one each, and for a job of many so many of one machine.

The rule: places go by the order of the queue. When it is the turn of a job of many GPUs, the machine that has them
soonest is cleared for it: its workers end what they make and are given nothing more, while those of other machines
go on. So no stream of small jobs keeps a large one waiting; and whoever is there for large jobs gives way when another
has waited for `queue.Rules.patience_s`, so no stream of large ones keeps a small one waiting either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import field
from typing import NamedTuple

from ..common.records import record

_AFTER_WORK_S = 10.0
"""So long a seat stays after its job: the next one of its kind may have to wait for a moment."""
_BEFORE_WORK_S = 180.0
"""So long a worker may take to start."""


class WorkerSeat(NamedTuple):
    """The place of a worker.

    Attributes:
        name: of the worker.
        gpus: all of one machine.
        machine: which one; "" as long as it waits for room.
    """

    name: str
    gpus: int
    machine: str = ""


@record
class Demand:
    """What the queue says.

    Attributes:
        busy: the workers that have a job.
        front: how many GPUs the job has to have whose turn it is; 0 where none waits.
        awaited: how many those need that wait, each number once.
    """

    busy: frozenset[str] = frozenset()
    front: int = 0
    awaited: frozenset[int] = frozenset()


@record
class Cluster:
    """What there is.

    Attributes:
        rooms: machine -> how many GPUs workers can have there.
        seats: that are taken or waited for.
        idle_s: of workers without a job: for how long.
        has_worked: those that have had one.
    """

    rooms: Mapping[str, int]
    seats: tuple[WorkerSeat, ...] = ()
    idle_s: Mapping[str, float] = field(default_factory=dict)
    has_worked: frozenset[str] = frozenset()

    @property
    def largest(self) -> int:
        """How many GPUs the largest machine has."""
        return max(self.rooms.values(), default=0)

    def free(self) -> dict[str, int]:
        """Machine -> how many GPUs nobody has."""
        held = Counter[str]()
        for seat in self.seats:
            held[seat.machine] += seat.gpus
        return {machine: room - held[machine] for machine, room in self.rooms.items()}


class Moves(NamedTuple):
    """What is to be done.

    Attributes:
        made: new seats, each by its number of GPUs.
        leaving: workers that are given no more jobs, and whose seats go as soon as they have none.
    """

    made: tuple[int, ...] = ()
    leaving: frozenset[str] = frozenset()


def moves(cluster: Cluster, demand: Demand, wanted: int = 0) -> Moves:
    """See the module.

    Args:
        wanted: workers of one GPU; 0 for as many as there is room for.
    """
    large = [seat for seat in cluster.seats if seat.gpus > 1 and seat.name not in demand.busy]
    useless = frozenset(seat.name for seat in large if _is_useless(seat, cluster, demand))
    if demand.front <= 1 or demand.front > cluster.largest:
        return Moves(_ones(cluster, wanted), useless)
    waiting = [seat for seat in large if seat.gpus == demand.front and seat.name not in useless]
    if any(seat.machine for seat in waiting):  # its worker is about to take the job
        return Moves(_ones(cluster, wanted), useless)
    return Moves(() if waiting else (demand.front,), useless | _cleared(cluster, demand))


def _is_useless(seat: WorkerSeat, cluster: Cluster, demand: Demand) -> bool:
    if seat.gpus not in demand.awaited or (not seat.machine and demand.front != seat.gpus):
        return True
    patience_s = _AFTER_WORK_S if seat.name in cluster.has_worked else _BEFORE_WORK_S
    return bool(seat.machine) and cluster.idle_s.get(seat.name, 0.0) > patience_s


def _ones(cluster: Cluster, wanted: int) -> tuple[int, ...]:
    """Workers of one GPU for the room that there is, beside those that wait for some."""
    ones = [seat for seat in cluster.seats if seat.gpus == 1]
    free = sum(cluster.free().values()) - sum(not seat.machine for seat in cluster.seats)
    return (1,) * max(0, min(free, wanted - len(ones) if wanted else free))


def _cleared(cluster: Cluster, demand: Demand) -> frozenset[str]:
    """The workers of one GPU that are to leave, so that a machine has room: where the fewest are at work."""
    free, ways = cluster.free(), []
    for machine in sorted(cluster.rooms):
        ones = [seat.name for seat in cluster.seats if seat.machine == machine and seat.gpus == 1]
        missing = max(0, demand.front - free[machine])
        leaving = sorted(ones, key=lambda name: (name in demand.busy, name))[:missing]
        if len(leaving) == missing:
            ways.append((sum(name in demand.busy for name in leaving), missing, machine, leaving))
    without_room = {seat.name for seat in cluster.seats if seat.gpus == 1 and not seat.machine}
    return frozenset(without_room.union(min(ways)[3] if ways else ()))
