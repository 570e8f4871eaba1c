"""comfy-cli, the registry's own tool: it starts ComfyUI with the pack and runs a workflow of ours there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import ComfyServer, arguments_for, free_port, make_folder, wait_until_it_answers

ROOT = Path(__file__).resolve().parents[2]
COMFY = [sys.executable, "-m", "comfy_cli", "--skip-prompt", "--no-json"]


def settings(home: Path, python: str) -> dict[str, str]:
    """In it comfy-cli asks and reports nothing, keeps its settings apart and finds ComfyUI's Python."""
    quiet = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "DO_NOT_TRACK": "1", "COLUMNS": "300"}
    return os.environ | quiet | {"VIRTUAL_ENV": str(Path(python).parent.parent)}


@contextmanager
def launched(folder: Path, comfyui: Path, python: str) -> Iterator[ComfyServer]:
    """A server that `comfy launch` started, with its child, which is ended with it."""
    port = free_port()
    server = ComfyServer(f"http://127.0.0.1:{port}", folder, folder / "server.log", python)
    command = [*COMFY, f"--workspace={comfyui}", "launch", "--", *arguments_for(folder, port)]
    with server.log_file.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env=settings(folder, python),
        )  # fmt: skip
    try:
        wait_until_it_answers(server, process)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.mark.skipif(sys.platform == "win32", reason="ends the server by its process group")
def test_comfy_launches_the_pack_and_runs_a_workflow_of_it(comfyui_place, tmp_path):
    pytest.importorskip("comfy_cli")
    folder = tmp_path / "base"
    make_folder(folder)
    with launched(folder, *comfyui_place) as server:
        assert "custom_nodes/wan-director" in server.log and "IMPORT FAILED" not in server.log
        where = server.url.removeprefix("http://").split(":")
        command = [*COMFY, "run", "--workflow", str(ROOT / "workflows" / "api" / "tiny_t2v.json"), "--wait"]
        done = subprocess.run(
            [*command, "--where", "local", "--host", where[0], "--port", where[1], "--timeout", "300"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, env=settings(folder, comfyui_place[1]),
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (video,) = (folder / "output").rglob("*.mp4")
    assert video.name in done.stdout, done.stdout
