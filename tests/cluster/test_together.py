"""Jobs that several processes of one worker make together, with members as `run --gpus` has them, on the CPU."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.__main__ import main
from wan_director.cluster.folder import SharedFolder
from wan_director.cluster.jobs import Leased
from wan_director.cluster.worker import NoLonger
from wan_director.common.errors import SharingError
from wan_director.engine.resuming.folder import StateFolder
from wan_director.engine.resuming.kept import RunsInFolder
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.serving.making import GraphMaker
from wan_director.nodes.headless.serving.told import WorkerRuntime
from wan_director.nodes.hosts.host import has_host, host, use_host

GRAPHS = Path(__file__).resolve().parents[2] / "workflows" / "api"
CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}


def graph_of(name: str, steps: int) -> dict:
    graph = json.loads((GRAPHS / f"{name}.json").read_text(encoding="utf-8"))
    for node in graph.values():
        if node["class_type"] == "WanDirectorSampler":
            node["inputs"]["steps"] = steps
    return graph


class Acting:
    """A report that does something when so many steps are done, once."""

    def __init__(self, at: float = math.inf, act: Callable[[], None] = lambda: None) -> None:
        self.at, self.act, self.reached = at, act, []

    def steps(self, reached: int) -> None:
        self.reached.append(reached)
        if reached >= self.at:
            self.at = math.inf
            self.act()

    def words(self, said: str) -> None: ...

    def picture(self, jpeg: bytes) -> None: ...


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[GraphMaker]:
    earlier, threads = host() if has_host() else None, torch.get_num_threads()
    torch.set_num_threads(1)  # as all processes of these tests have
    folder = SharedFolder(tmp_path / "shared")
    runs = RunsInFolder(StateFolder(folder.states), every_s=0.0, keeps_ended=True, cost=math.inf)
    made = GraphMaker(folder, {}, CLASSES, WorkerRuntime("cpu", kept_runs=runs), use_host)
    yield made
    made.runtime.crews.end()
    torch.set_num_threads(threads)
    if earlier is not None:
        use_host(earlier)


def made(maker: GraphMaker, graph: dict, output: Path, report: Acting | None = None, gpus: int = 2) -> bytes:
    maker.make(Leased("0" * 16, "lease", "m", graph, None, {}, 60.0, gpus), output, report or Acting())
    maker.made()
    (video,) = (output / "video").iterdir()
    return video.read_bytes()


def by_run(graph: dict, folder: Path, *words: str) -> bytes:
    """The video as `run` makes it."""
    folder.mkdir()
    (folder / "graph.json").write_text(json.dumps(graph), encoding="utf-8")
    plain = ("--device", "cpu", "--no-resume", "--quiet", "--output", str(folder))
    assert main(["run", str(folder / "graph.json"), *plain, *words]) == 0
    (video,) = (folder / "video").iterdir()
    return video.read_bytes()


def members(maker: GraphMaker) -> list[int]:
    crew = maker.runtime.crews._crew
    return [] if crew is None else [member._process.pid for member in crew._members]


def test_the_video_is_that_of_run_with_as_many_gpus_and_the_members_stay(maker, tmp_path):
    graph = graph_of("tiny_i2v", 2)  # which encodes its picture, too
    first = made(maker, graph, tmp_path / "first")
    there = members(maker)
    assert len(there) == 1 and maker.runtime.sharing.devices == 1
    assert made(maker, graph, tmp_path / "second") == first and members(maker) == there
    assert first == by_run(graph, tmp_path / "run", "--gpus", "2")


def test_a_job_whose_graph_wants_two_gpus_is_what_run_makes_of_it(maker, tmp_path):
    graph = graph_of("tiny_low_memory", 2)
    (memory,) = (node for node in graph.values() if node["class_type"] == "WanDirectorMemory")
    memory["inputs"]["gpus"] = 2
    video = made(maker, graph, tmp_path / "job", gpus=1)
    assert len(members(maker)) == 1 and video == by_run(graph, tmp_path / "run")


def test_a_cancelled_job_leaves_its_members_for_the_next(maker, tmp_path):
    with pytest.raises(NoLonger):
        made(maker, graph_of("tiny_t2v", 500), tmp_path / "never", Acting(2, maker.stop))
    there = members(maker)
    made(maker, graph_of("tiny_t2v", 2), tmp_path / "next")
    assert members(maker) == there and there and not (tmp_path / "never").exists()


def test_a_member_that_is_killed_costs_a_step_at_most(maker, tmp_path):
    graph = graph_of("tiny_t2v", 8)
    report = Acting(4, lambda: os.kill(members(maker)[0], signal.SIGKILL))
    with pytest.raises(SharingError, match="Device 1 of 2 has ended: with exit code -9"):
        made(maker, graph, tmp_path / "broken", report)
    assert members(maker) == []
    again = Acting()
    video = made(maker, graph, tmp_path / "again", again)
    assert again.reached[0] >= max(report.reached) - 1
    assert video == by_run(graph, tmp_path / "run", "--gpus", "2")
