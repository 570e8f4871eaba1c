"""A queue with its real server and workers as processes of their own, which are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from wan_director.__main__ import main
from wan_director.cluster.client import QueueClient, Unreachable
from wan_director.cluster.folder import SharedFolder

PATIENCE_S = 240
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
GRAPH = Path(__file__).resolve().parents[2] / "workflows" / "api" / "tiny_t2v.json"
STEPS = 8
LONG = pytest.mark.slow
"""`pytest -m slow tests/cluster/test_kills.py` has more kills and jobs; test_on_ray.py has them on a real Ray."""
# Makes one video as a worker does, and writes each step that it has done to a file before it goes on.
TRACED = """
import math, sys
from pathlib import Path
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.cluster.folder import SharedFolder
from wan_director.cluster.jobs import Leased
from wan_director.engine.resuming.folder import StateFolder
from wan_director.engine.resuming.kept import RunsInFolder
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.serving.making import GraphMaker
from wan_director.nodes.headless.serving.told import WorkerRuntime
from wan_director.nodes.hosts.host import use_host
import json, os
folder, trace, output = map(Path, sys.argv[1:4])
class Report:
    def steps(self, reached):
        with open(trace, "a") as file:
            file.write(f"{os.getpid()} {reached}\\n")
    def words(self, said): pass
    def picture(self, jpeg): pass
runs = RunsInFolder(StateFolder(folder / "states"), every_s=0.0, keeps_ended=True, cost=math.inf)
classes = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
maker = GraphMaker(SharedFolder(folder), {}, classes, WorkerRuntime("cpu", kept_runs=runs), use_host)
maker.make(Leased("0" * 16, "l", "m", json.loads(Path(sys.argv[4]).read_text()), None, {}, 60.0), output, Report())
"""


def graph_of(seed: int, steps: int = STEPS) -> dict:
    graph = json.loads(GRAPH.read_text(encoding="utf-8"))
    graph["7"]["inputs"].update(seed=seed, steps=steps)
    return graph


def undisturbed(graph: dict, folder: Path, *more: str) -> bytes:
    """The video of the graph as `run` makes it."""
    folder.mkdir()
    (folder / "graph.json").write_text(json.dumps(graph), encoding="utf-8")
    words = ["run", str(folder / "graph.json"), "--device", "cpu", "--no-resume", "--quiet", "--output", str(folder)]
    words += more
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have
    try:
        assert main(words) == 0
    finally:
        torch.set_num_threads(threads)
    (video,) = (folder / "video").iterdir()
    return video.read_bytes()


@pytest.mark.parametrize(("kills", "steps"), [(1, 10), pytest.param(2, 30, marks=LONG)])
def test_a_killed_worker_costs_a_step_at_most(kills, steps, tmp_path):
    graph, trace, chance = graph_of(5, steps=steps), tmp_path / "trace", random.Random(3)
    (tmp_path / "graph.json").write_text(json.dumps(graph), encoding="utf-8")
    words = [str(tmp_path), str(trace), str(tmp_path / "out"), str(tmp_path / "graph.json")]

    def done() -> list[list[str]]:
        return [line.split() for line in trace.read_text().splitlines()] if trace.exists() else []

    for _ in range(kills):
        with subprocess.Popen([sys.executable, "-c", TRACED, *words], env=ENVIRONMENT) as process:
            wanted = len(done()) + chance.randint(2, steps // 4 + 1)
            while len(done()) < wanted and process.poll() is None:
                time.sleep(0.002)
            assert process.poll() is None, "it came to its end before it could be killed"
            process.kill()
    subprocess.run([sys.executable, "-c", TRACED, *words], env=ENVIRONMENT, check=True, timeout=PATIENCE_S)
    runs: dict[str, list[int]] = {}
    for process, step in done():
        runs.setdefault(process, []).append(int(step))
    assert len(runs) == kills + 1
    lost = [before[-1] - after[0] for before, after in zip(list(runs.values()), list(runs.values())[1:])]
    assert max(lost) <= 1, runs
    (video,) = (tmp_path / "out" / "video").iterdir()
    assert video.read_bytes() == undisturbed(graph, tmp_path / "plain")


def served(folder: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "wan_director", "serve", str(folder), "--port", "0", "--device", "cpu", "--quiet"]
    return subprocess.Popen(
        [*command, "--span", "30", "--tries", "5", *words], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )


def client_at(process: subprocess.Popen) -> QueueClient:
    assert process.stdout is not None
    url, _, token = process.stdout.readline().strip().partition("/#token=")
    return QueueClient(url, token)


def patiently(client: QueueClient, what):
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return what(client)
        except Unreachable:
            assert time.monotonic() < until_s
            time.sleep(0.2)


@pytest.fixture
def psutil() -> Iterator:
    yield pytest.importorskip("psutil")


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=LONG)])
def test_killed_workers_and_a_killed_server_change_no_result(jobs, tmp_path, psutil):
    folder = SharedFolder(tmp_path / "queue")
    server = served(folder.path, "--workers", "1")
    client = client_at(server)
    try:
        ids = [client.submit({"key": f"seed-{seed:04}", "prompt": graph_of(seed)}, {})["id"] for seed in range(jobs)]
        while not client.jobs("running")["jobs"]:
            time.sleep(0.1)
        (worker,) = psutil.Process(server.pid).children()
        worker.send_signal(signal.SIGKILL)
        while jobs > 1 and not client.jobs("done")["jobs"]:
            time.sleep(0.1)
        assert len(psutil.wait_procs([worker], 30)[0]) == 1
        while not psutil.Process(server.pid).children():  # which starts another one
            time.sleep(0.1)
        workers = psutil.Process(server.pid).children()
        server.kill()
        server.wait()
        assert psutil.wait_procs(workers, 30)[1] == [], "workers end with their server"
        server = served(folder.path, "--workers", "1")
        client = client_at(server)
        until_s = time.monotonic() + PATIENCE_S
        while client.jobs()["counts"].get("done", 0) < jobs:
            assert time.monotonic() < until_s, client.jobs()
            time.sleep(0.2)
        (result,) = client.job(ids[0])["results"]
        found = client.fetch(ids[0], result, tmp_path / "out")
        assert found.read_bytes() == undisturbed(graph_of(0), tmp_path / "plain")
        assert sorted(each.name for each in (folder.path / "results").iterdir() if each.name[0] != ".") == sorted(ids)
        server.send_signal(signal.SIGTERM)
        assert server.wait(40) == 143
    finally:
        server.kill()
        server.wait()
