"""Who is given which GPUs of a cluster: by cases, and in clusters that are acted out with the queue itself."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from wan_director.cluster.jobs import ONE_SEAT, Request, Seats
from wan_director.cluster.queue import JobQueue, Rules
from wan_director.cluster.seats import Cluster, Demand, Moves, WorkerSeat, moves

ONES = (WorkerSeat("a0", 1, "a"), WorkerSeat("a1", 1, "a"), WorkerSeat("b0", 1, "b"))
ROOMS = {"a": 2, "b": 1}


def demand(front: int, *busy: str, awaited: tuple[int, ...] = ()) -> Demand:
    return Demand(frozenset(busy), front, frozenset(awaited or {front} - {0}))


def test_every_gpu_has_a_worker_where_no_job_wants_more():
    assert moves(Cluster(ROOMS), demand(0)).made == (1, 1, 1)
    assert moves(Cluster(ROOMS, ONES[:2]), demand(1)).made == (1,)
    assert moves(Cluster(ROOMS, ONES), demand(1)) == Moves()
    assert moves(Cluster(ROOMS), demand(0), wanted=2).made == (1, 1)
    assert moves(Cluster(ROOMS, (WorkerSeat("x", 1),)), demand(0)).made == (1, 1), "one of them waits for its room"


def test_a_machine_is_cleared_for_the_job_whose_turn_it_is():
    assert moves(Cluster(ROOMS, ONES), demand(2, "a1")) == Moves((2,), frozenset({"a0", "a1"}))
    waits = (*ONES, WorkerSeat("large", 2))
    assert moves(Cluster(ROOMS, waits), demand(2, "a1")) == Moves((), frozenset({"a0", "a1"}))
    assert moves(Cluster(ROOMS, waits[1:]), demand(2, "a1")) == Moves((), frozenset({"a1"})), "nobody takes its place"
    sits = (WorkerSeat("b0", 1, "b"), WorkerSeat("large", 2, "a"))
    assert moves(Cluster(ROOMS, sits), demand(2)) == Moves()


def test_the_machine_is_cleared_whose_workers_are_the_most_idle():
    seats = tuple(WorkerSeat(f"{machine}{each}", 1, machine) for machine in "abc" for each in range(2))
    rooms = {"a": 2, "b": 2, "c": 2}
    assert moves(Cluster(rooms, seats), demand(2, "a0", "b0", "b1", "c0", "c1")).leaving == {"a0", "a1"}


@pytest.mark.parametrize("front", [0, 1, 4, 3])
def test_a_seat_that_nobody_waits_for_is_left(front):
    seats = (WorkerSeat("b0", 1, "b"), WorkerSeat("large", 2, "a"), WorkerSeat("unseated", 2))
    assert moves(Cluster(ROOMS, seats), demand(front)).leaving == {"large", "unseated"}
    assert moves(Cluster(ROOMS, seats), demand(front, "large")).leaving == {"unseated"}


def test_a_seat_whose_worker_does_nothing_is_left_in_time():
    seats, large = (WorkerSeat("large", 2, "a"),), {"large"}
    still = demand(1, awaited=(1, 2))
    for idle_s, has_worked, leaves in [(5, True, False), (11, True, True), (100, False, False), (200, False, True)]:
        cluster = Cluster(ROOMS, seats, {"large": idle_s}, frozenset(large if has_worked else ()))
        assert moves(cluster, still).leaving == (large if leaves else set())


class ActedOut:
    """A cluster second by second: who has a seat takes jobs, which last a while; who waits for room gets it."""

    def __init__(self, folder: Path, rooms: dict[str, int], seed: int = 0) -> None:
        self.now_s = 0.0
        self.rooms, self.chance, self.names = rooms, random.Random(seed), itertools.count()
        self.queue = JobQueue(folder / "queue.sqlite", Rules(span_s=1e9, patience_s=60.0), lambda: self.now_s)
        self.seats: list[WorkerSeat] = []
        self.works: dict[str, tuple[float, object]] = {}
        self.leaving: frozenset[str] = frozenset()
        self.idle_s: dict[str, float] = {}
        self.has_worked: set[str] = set()

    def submit(self, seat: int = 1, priority: int = 0) -> str:
        asked = Request(f"{next(self.names)}", {}, priority=priority, gpus=seat, seat=seat)
        return self.queue.submit(asked).id

    def second(self) -> None:
        self.now_s += 1
        for name in [name for name, (until_s, _) in self.works.items() if until_s <= self.now_s]:
            job = self.works.pop(name)[1]
            assert self.queue.done(job.id, job.lease, [])
        self.keep()
        for seat in self.chance.sample(self.seats, len(self.seats)):
            if seat.machine and seat.name not in self.works and seat.name not in self.leaving:
                kind = Seats(seat.gpus, is_kept=True) if seat.gpus > 1 else ONE_SEAT
                job = self.queue.lease(seat.name, "", kind)
                if job is not None:
                    self.works[seat.name] = self.now_s + self.chance.randint(5, 20), job
                    self.has_worked.add(seat.name)

    def keep(self) -> None:
        """As the keeper of the places does."""
        said = Demand(
            frozenset(self.works), self.queue.front(max(self.rooms.values())), frozenset(self.queue.awaited())
        )
        self.seats = [seat for seat in self.seats if seat.name not in self.leaving or seat.name in self.works]
        idle = {seat.name for seat in self.seats if seat.machine and seat.name not in self.works}
        self.idle_s = {name: self.idle_s.get(name, -1.0) + 1.0 for name in idle}
        cluster = Cluster(self.rooms, tuple(self.seats), self.idle_s, frozenset(self.has_worked))
        made, self.leaving = moves(cluster, said)
        self.seats += [WorkerSeat(f"w{next(self.names)}", gpus) for gpus in made]
        for index, seat in enumerate(self.seats):
            free = Cluster(self.rooms, tuple(self.seats)).free()
            room = next((machine for machine, left in free.items() if left >= seat.gpus), None)
            if not seat.machine and room is not None:
                self.seats[index] = seat._replace(machine=room)
        assert min(Cluster(self.rooms, tuple(self.seats)).free().values()) >= 0

    def begun_s(self, id: str, within_s: int, feed) -> float:
        """When a job begins, while something else goes on."""
        for _ in range(within_s):
            feed()
            self.second()
            if self.queue.job(id).attempts:
                return self.now_s
        raise AssertionError(f"not within {within_s} s")


@pytest.mark.parametrize("seed", range(5))
def test_a_stream_of_small_jobs_does_not_hold_up_a_large_one(tmp_path, seed):
    acted = ActedOut(tmp_path, {"a": 2, "b": 2}, seed)
    before = [acted.submit() for _ in range(12)]
    large = acted.submit(2)
    acted.begun_s(before[-1], 200, acted.submit)
    turn_s = acted.now_s
    done = acted.queue.counts()["done"]
    assert acted.begun_s(large, 200, acted.submit) - turn_s <= 20 + 3, "those at work on its machine end first"
    while acted.queue.job(large).state == "running":
        acted.second()
    assert acted.queue.counts()["done"] > done + 1, "the other machine went on"
    acted.queue.close()


@pytest.mark.parametrize("seed", range(5))
def test_a_stream_of_large_jobs_does_not_hold_up_a_small_one(tmp_path, seed):
    acted = ActedOut(tmp_path, {"a": 2}, seed)
    acted.submit(2)
    for _ in range(10):
        acted.second()
    small = acted.submit()

    def feed() -> None:
        if acted.queue.counts()["queued"] < 5:
            acted.submit(2)

    assert acted.begun_s(small, 300, feed) <= 10 + 60 + 2 * 20 + 15
    acted.queue.close()


@pytest.mark.parametrize("seed", range(10))
def test_all_jobs_are_made_and_every_gpu_has_a_worker_again(tmp_path, seed):
    acted = ActedOut(tmp_path, {"a": 4, "b": 2, "c": 1}, seed)
    chance = random.Random(seed)
    for _ in range(40):
        acted.submit(chance.choice([1, 1, 1, 2, 3, 4]), chance.randint(-1, 1))
    for second in itertools.count():
        acted.second()
        if acted.queue.counts()["done"] == 40:
            break
        assert second < 2000, acted.queue.counts()
    for _ in range(30):
        acted.second()
    assert sorted((seat.gpus, seat.machine) for seat in acted.seats) == [(1, machine) for machine in "aaaabbc"]
    acted.queue.close()
