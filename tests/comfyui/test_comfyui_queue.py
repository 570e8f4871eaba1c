"""Wan Submit and Wan Fetch in ComfyUI's server, with a queue and a worker of two GPUs beside it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from wan_director.cluster.client import TOKEN, URL, QueueClient

from .conftest import ROOT, make_folder, node
from .test_comfyui_gpus import members, served, shared
from .test_comfyui_resuming import frames_of

FILE = {"fps": 8.0, "filename_prefix": "video", "format": "png frames", "quality": 80}


@contextmanager
def queue_of(folder: Path, python: str) -> Iterator[dict[str, str]]:
    """A queue with a worker of two GPUs; the variables that let ComfyUI ask it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def started(*words: str) -> subprocess.Popen[str]:
        command = [python, str(ROOT), *words, "--device", "cpu", "--quiet"]
        return stack.enter_context(ended(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)))

    with ExitStack() as stack:
        server = started("serve", str(folder), "--port", "0")
        assert server.stdout is not None
        url, _, token = server.stdout.readline().strip().partition("/#token=")
        started("work", str(folder), "--gpus", "2")
        yield {URL: url, TOKEN: token, "OMP_NUM_THREADS": "1"}


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    with process:
        try:
            yield process
        finally:
            process.terminate()


def sent(gpus: int) -> dict[str, Any]:
    """The graph by way of the queue."""
    made = shared(gpus)
    made["sending"] = node("WanDirectorSubmit", images=["decoding", 0], address="", title="A", priority=0, **FILE)
    made["fetching"] = node("WanDirectorFetch", job_id=["sending", 0], address="", wait=True)
    made["saving"]["inputs"]["images"] = ["fetching", 0]
    return made


def test_a_graph_that_is_sent_comes_back_as_the_frames_that_it_makes_here(comfyui_place, tmp_path):
    folder = tmp_path / "base"
    make_folder(folder)
    with (
        queue_of(tmp_path / "queue", comfyui_place[1]) as variables,
        served(folder, comfyui_place, **variables) as (server, process),
    ):
        here = frames_of(server.run(shared(1)), folder)
        assert frames_of(server.run(sent(1)), folder) == here
        assert frames_of(server.run(sent(2)), folder) == here
        assert members(process) == [], "the worker has them"
        jobs = QueueClient(variables[URL], variables[TOKEN]).jobs()["jobs"]
        assert [(job["state"], job["seat"]) for job in jobs] == [("done", 2), ("done", 1)]
        messages = server.run(sent(3))["status"]["messages"]
        (said,) = [what["exception_message"] for kind, what in messages if kind == "execution_error"]
        assert said.startswith("The job wants 3 GPUs of one machine, and the largest machine of the queue has 2.")
