"""A run shared by processes that ComfyUI's sampler starts: warm, stopped, freed, and ended with the server."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .conftest import ComfyServer, arguments_for, free_port, make_folder, node, wait_until_it_answers
from .test_comfyui_resuming import frames_of, post, video

psutil = pytest.importorskip("psutil")


def shared(gpus: int, **changes: Any) -> dict[str, Any]:
    made = video()
    made["memory"] = node(
        "WanDirectorMemory", mode="auto", budget="leave free", gigabytes=1.0, blocks_to_swap=0, pinned_ram=0.0,
        text_encoder="auto", vae="auto", vae_strips=0, feed_forward_tokens=0, gpus=gpus,
    )  # fmt: skip
    made["sampling"]["inputs"].update(memory=["memory", 0], steps=3, **changes)
    return made


@contextmanager
def served(folder: Path, place: tuple[Path, str], **variables: str) -> Iterator[tuple[ComfyServer, subprocess.Popen]]:
    comfyui, python = place
    port = free_port()
    server = ComfyServer(f"http://127.0.0.1:{port}", folder, folder / f"{port}.log", python)
    with server.log_file.open("wb") as log:
        process = subprocess.Popen(
            [python, "main.py", *arguments_for(folder, port)],
            cwd=comfyui,
            env={**os.environ, "WAN_DIRECTOR_RESUME": "off", **variables},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_it_answers(server, process)
        yield server, process
    finally:
        process.kill()
        process.wait(30)


def members(process: subprocess.Popen) -> list[Any]:
    return [each for each in psutil.Process(process.pid).children() if "member" in each.cmdline()]


def test_a_run_is_shared_by_processes_that_stay_until_they_are_freed(comfyui_place, tmp_path):
    folder = tmp_path / "base"
    make_folder(folder)
    with served(folder, comfyui_place, WAN_DIRECTOR_CPU_RANKS="1") as (server, process):
        alone = frames_of(server.run(shared(1)), folder)
        assert members(process) == []
        assert frames_of(server.run(shared(2)), folder) == alone
        (warm,) = members(process)
        frames_of(server.run(shared(2, seed=2)), folder)
        assert members(process) == [warm]

        stopped = shared(2, seed=3)
        stopped["sampling"]["inputs"]["steps"] = 1000
        prompt_id, _ = server.queue(stopped)
        time.sleep(3)
        assert not server.get_json(f"/history/{prompt_id}")
        begun = time.monotonic()
        post(server, "/interrupt")
        kinds = [kind for kind, _ in server.wait_for(prompt_id)["status"]["messages"]]
        assert "execution_interrupted" in kinds and time.monotonic() - begun < 15
        assert frames_of(server.run(shared(2, seed=1)), folder) == alone and members(process) == [warm]

        post(server, "/free", unload_models=True, free_memory=True)
        assert psutil.wait_procs([warm], 30)[1] == []
        assert frames_of(server.run(shared(2, seed=1)), folder) == alone
        (another,) = members(process)
        process.kill()
        assert psutil.wait_procs([another], 30)[1] == []


def test_more_than_there_are_is_refused_in_a_sentence(comfyui_place, tmp_path):
    folder = tmp_path / "base"
    make_folder(folder)
    with served(folder, comfyui_place) as (server, process):
        messages = server.run(shared(2))["status"]["messages"]
        (said,) = [what["exception_message"] for kind, what in messages if kind == "execution_error"]
        assert said.strip() == "2 GPUs are wanted, and this run is on cpu. Choose 1."
        assert members(process) == []
