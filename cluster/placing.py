"""Workers of a queue in a Ray cluster: each in a placement group on one machine, made and removed as `seats` says."""

from __future__ import annotations

import contextlib
import importlib
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common.errors import WanDirectorError
from ..common.log import logger
from ..common.records import record
from .client import QueueClient
from .folder import SharedFolder
from .keeping import KeptCommand
from .seats import Cluster, Demand, WorkerSeat, moves

NAMESPACE, KEEPER = "wan-director", "wan-director-keeper"
ALWAYS = {"lifetime": "detached", "max_restarts": -1, "get_if_exists": True, "namespace": NAMESPACE}
_SEAT = "wan-director-seat-"
_EVERY_S = 1.0


@record
class Places:
    """What workers are given of the cluster, and what they do there.

    Attributes:
        folder: the queue's.
        words: the command of a worker, but for its name and its number of GPUs.
        count: of workers of one GPU, some of which may wait for room; 0 for one for each GPU.
        gpus: of each; 0 where workers compute on the CPU: then processors stand for GPUs.
    """

    folder: str
    words: tuple[str, ...]
    count: int
    gpus: float

    def needs(self, gpus: int) -> dict[str, float]:
        """What Ray is asked for, for a worker of so many GPUs."""
        return {"CPU": float(gpus), **({"GPU": self.gpus * gpus} if self.gpus else {})}

    def command(self, seat: WorkerSeat) -> list[str]:
        """Of the worker that has a seat."""
        large = ["--gpus", str(seat.gpus), "--only"] if seat.gpus > 1 else []
        return [*self.words, "--name", seat.name, *large]


class PlaceKeeper:
    """Looks every second at what the queue has and what the cluster has; an actor of Ray.

    All that it has to know when it is started anew is in the names of the groups: `wan-director-seat-GPUS-NAME`.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._idle_since_s: dict[str, float] = {}
        self._has_worked: set[str] = set()
        self._leaving: frozenset[str] = frozenset()
        self._was_told = False
        threading.Thread(target=self._keep, daemon=True).start()

    def is_there(self) -> bool:
        """It is."""
        return True

    def _keep(self) -> None:
        ray = importlib.import_module("ray")
        while True:
            try:
                self._look(ray)
            except Exception:  # a border: what Ray or the queue does not answer now they do later
                logger.exception("The places of the workers could not be looked after.")
            time.sleep(_EVERY_S)

    def _look(self, ray: Any) -> None:
        rooms, seats = _rooms(ray, self._places.needs(1)), tuple(_seats())
        demand = self._demand(Cluster(rooms).largest)
        if demand is None:
            if not self._was_told:  # the first workers need no queue to be there
                self._make(ray, moves(Cluster(rooms, seats), Demand(), self._places.count).made, seats)
            return
        self._was_told = True
        gone = {seat for seat in seats if seat.name in self._leaving and seat.name not in demand.busy}
        for seat in gone:
            _remove(ray, seat)
        seats = tuple(seat for seat in seats if seat not in gone)
        made, self._leaving = moves(self._noted(Cluster(rooms, seats), demand), demand, self._places.count)
        self._make(ray, made, seats)

    def _demand(self, largest: int) -> Demand | None:
        """What the queue says, which is told who is to leave; None where it does not answer."""
        folder = SharedFolder(Path(self._places.folder))
        try:
            address = (folder.path / "address").read_text(encoding="utf-8").strip()
            client = QueueClient(address, folder.tokens().working, timeout_s=10.0)
            said = client.ask("/worker/places", {"largest": largest, "leaving": sorted(self._leaving)})
        except (OSError, WanDirectorError):
            return None
        return Demand(frozenset(said["busy"]), said["front"], frozenset(said["awaited"]))

    def _noted(self, cluster: Cluster, demand: Demand) -> Cluster:
        """The cluster with what is remembered of its workers."""
        now_s = time.monotonic()
        names = {seat.name for seat in cluster.seats if seat.machine}
        self._has_worked = (self._has_worked | demand.busy) & names
        since_s = {name: self._idle_since_s.get(name, now_s) for name in names - demand.busy}
        self._idle_since_s = since_s
        idle_s = {name: now_s - since_s[name] for name in since_s}
        return Cluster(cluster.rooms, cluster.seats, idle_s, frozenset(self._has_worked))

    def _make(self, ray: Any, made: Sequence[int], seats: Sequence[WorkerSeat]) -> None:
        """Makes new seats, and seats workers where they are missing."""
        there = {each["name"] for each in ray.util.list_named_actors(all_namespaces=True)}
        new = [WorkerSeat(_new_name(gpus), gpus) for gpus in made]
        for seat in (*new, *(seat for seat in seats if _called(seat) not in there)):
            _seat_worker(ray, self._places, seat)


def remove_places(ray: Any) -> None:
    """Removes all of them, with those who have them."""
    for seat in _seats():
        _remove(ray, seat)


def _rooms(ray: Any, one: Mapping[str, float]) -> dict[str, int]:
    """Machine -> how many workers that need `one` it has room for, were it empty."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    return {
        node["NodeID"]: int(min(node["Resources"].get(kind, 0) / amount for kind, amount in one.items()))
        for node in nodes
    }


def _seats() -> Iterator[WorkerSeat]:
    groups = importlib.import_module("ray.util.placement_group")
    for group in groups.placement_group_table().values():
        if group["name"].startswith(_SEAT) and group["state"] != "REMOVED":
            gpus, _, name = group["name"].removeprefix(_SEAT).partition("-")
            machine = group["bundles_to_node_id"].get(0, "") if group["state"] == "CREATED" else ""
            yield WorkerSeat(name, int(gpus), machine)


def _seat_worker(ray: Any, places: Places, seat: WorkerSeat) -> None:
    groups = importlib.import_module("ray.util.placement_group")
    strategies = importlib.import_module("ray.util.scheduling_strategies")
    called, needs = _called(seat), places.needs(seat.gpus)
    try:
        group = groups.get_placement_group(called)
    except ValueError:
        # A video is never spread over machines: its parts are sent to and fro in every block.
        group = groups.placement_group([needs], strategy="STRICT_PACK", lifetime="detached", name=called)
    place = strategies.PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
    options = {**ALWAYS, "num_cpus": needs["CPU"], "num_gpus": needs.get("GPU", 0), "scheduling_strategy": place}
    ray.remote(KeptCommand).options(name=called, **options).remote(places.command(seat))


def _remove(ray: Any, seat: WorkerSeat) -> None:
    groups = importlib.import_module("ray.util.placement_group")
    with contextlib.suppress(ValueError):  # it has gone
        ray.kill(ray.get_actor(_called(seat), namespace=NAMESPACE), no_restart=True)
    with contextlib.suppress(ValueError):
        groups.remove_placement_group(groups.get_placement_group(_called(seat)))


def _called(seat: WorkerSeat) -> str:
    return f"{_SEAT}{seat.gpus}-{seat.name}"


def _new_name(gpus: int) -> str:
    return f"ray-{f'{gpus}-gpus-' if gpus > 1 else ''}{secrets.token_hex(3)}"
