"""Stopped in ComfyUI, then killed with the server, then run again after a restart: the frames of an undisturbed run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from .conftest import ComfyServer, arguments_for, free_port, make_folder, node, wait_until_it_answers
from .test_comfyui_progress import canvas_of

STEPS = 40
DEMO = "wan_director_tiny_demo_{}.safetensors"


def video() -> dict[str, Any]:
    return {
        "model": node("WanDirectorLoadModel", model_name=DEMO.format("t2v"), precision="fp32", attention="auto"),
        "vae": node("WanDirectorLoadVAE", vae_name=DEMO.format("vae"), precision="fp32"),
        "text": node(
            "WanDirectorLoadTextEncoder", text_encoder_name=DEMO.format("text_encoder"), precision="fp32", device="cpu"
        ),
        "prompts": node("WanDirectorTextEncode", text_encoder=["text", 0], positive="a red circle", negative=""),
        "size": node("WanDirectorEmptyLatent", vae=["vae", 0], width=128, height=128, frames=17, batch_size=1),
        "sampling": node(
            "WanDirectorSampler", model=["model", 0], positive=["prompts", 0], negative=["prompts", 1],
            latent=["size", 0], seed=1, steps=STEPS, cfg=3.0, solver="dpmpp_2m_sde", schedule="simple", shift=5.0,
            denoise=1.0,
        ),
        "decoding": node("WanDirectorDecode", vae=["vae", 0], latent=["sampling", 0]),
        "saving": node(
            "WanDirectorSaveVideo", images=["decoding", 0], format="png frames", filename_prefix="video", quality=80,
            fps=8,
        ),
    }  # fmt: skip


@contextmanager
def killable(folder: Path, place: tuple[Path, str]) -> Iterator[tuple[ComfyServer, subprocess.Popen]]:
    """A server that saves the state of a run as often as its time allows, and that may be gone before the end."""
    comfyui, python = place
    port = free_port()
    server = ComfyServer(f"http://127.0.0.1:{port}", folder, folder / f"{port}.log", python)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WAN_DIRECTOR")}
    with server.log_file.open("wb") as log:
        process = subprocess.Popen(
            [python, "main.py", *arguments_for(folder, port)],
            cwd=comfyui,
            env={**environment, "WAN_DIRECTOR_RESUME_SECONDS": "0"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_it_answers(server, process)
        yield server, process
    finally:
        process.kill()
        process.wait(30)


def files(folder: Path) -> list[Path]:
    return sorted((folder / "user" / "__wan_director" / "runs").glob("*"))


def wait_for_a_state(folder: Path, newer_than_ns: int = 0) -> Path:
    end = time.monotonic() + 300
    while time.monotonic() < end:
        found = [file for file in files(folder) if file.suffix == ".safetensors" and file.name.startswith("run-")]
        if found and found[0].stat().st_mtime_ns > newer_than_ns:
            return found[0]
        time.sleep(0.01)
    raise TimeoutError("no state was saved")


def post(server: ComfyServer, path: str, **data: Any) -> None:
    body = json.dumps(data).encode()
    request = urllib.request.Request(server.url + path, body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=60).close()


def frames_of(record: dict[str, Any], folder: Path) -> list[bytes]:
    """The pixels of the newest frames; the files carry the graph, too."""
    assert record["status"]["status_str"] == "success", record["status"]["messages"]
    saved = max((folder / "output").glob("video_*"), key=lambda each: each.stat().st_mtime)
    return [Image.open(file).tobytes() for file in sorted(saved.glob("*.png"))]


def goes_on(server: ComfyServer) -> list[int]:
    return [int(step) for step in re.findall(rf"goes on after step (\d+) of {STEPS}", server.log)]


def test_stopped_and_killed_and_run_again(comfyui_place, tmp_path):
    folder = tmp_path / "base"
    make_folder(folder)
    with killable(folder, comfyui_place) as (server, process):
        stopped, _ = server.queue(video())
        wait_for_a_state(folder)
        post(server, "/interrupt")
        kinds = [kind for kind, _ in server.wait_for(stopped)["status"]["messages"]]
        assert "execution_interrupted" in kinds
        (state,) = files(folder)
        server.queue(video())
        wait_for_a_state(folder, state.stat().st_mtime_ns)
        process.kill()
        process.wait(30)
        assert len(goes_on(server)) == 1
    assert len([file for file in files(folder) if file.name.startswith("run-")]) == 1
    with killable(folder, comfyui_place) as (again, _):
        with canvas_of(again) as canvas:
            prompt_id = canvas.start(video())
            told = [what for kind, where, what in canvas.hear() if (kind, where) == ("progress", "sampling")]
        frames = frames_of(again.wait_for(prompt_id), folder)
        (step,) = goes_on(again)
        assert step > goes_on(server)[0] and told[0] == step and told[-1] == STEPS
        assert [file for file in files(folder) if file.name.startswith("run-")] == []
        post(again, "/free", unload_models=True, free_memory=True)
        undisturbed = frames_of(again.run(video()), folder)
        assert len([*(folder / "output").glob("video_*")]) == 2 and goes_on(again) == [step]
        assert len(undisturbed) == 17 and frames == undisturbed
