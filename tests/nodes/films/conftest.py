"""Small films of tiny models with random weights, and their nodes."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
import wan_director
from wan_director.engine.films.kept import FilmsInFolder
from wan_director.engine.resuming.folder import StateFolder
from wan_director.engine.resuming.kept import RunsInFolder

from ..conftest import call, load, load_vae, picture

NODE = wan_director.NODE_CLASS_MAPPINGS["WanDirectorLongVideo"]
SAMPLER = {"seed": 7, "steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple"}
FILE = {"fps": 8.0, "filename_prefix": "films/test", "format": "png frames", "quality": 80}
FILM = {
    "prompts": "a red ball\na blue box",
    "negative": "bad",
    "width": 64,
    "height": 48,
    "clip_frames": 9,
    "clips": 3,
    "overlap": 5,
    **SAMPLER,
    **FILE,
}


@pytest.fixture(autouse=True)
def on_the_tiny_host(tiny_host):
    with torch.inference_mode():
        yield


@pytest.fixture
def kept(tiny_host, tmp_path):
    """Films and runs of the host are kept from now on: after every step."""
    runtime = tiny_host.runtime
    runtime.kept_runs = RunsInFolder(StateFolder(tmp_path / "runs"), every_s=0.0, keeps_ended=True, clock=lambda: 0.0)
    runtime.kept_films = FilmsInFolder(StateFolder(tmp_path / "runs" / "films", title="film clip"))
    return runtime.kept_films.folder


def encoder(name: str = "text.safetensors"):
    return call("LoadTextEncoder", text_encoder_name=name, precision="auto", device="auto")


def film(model: Any = None, **changed: Any) -> Any:
    """Runs the node; gives what it shows."""
    changed.setdefault("start_image", picture(height=48, width=64))
    if "vae" not in changed:
        changed["vae"] = load_vae("vae.safetensors")
    if "text_encoder" not in changed:
        changed["text_encoder"] = encoder()
    return NODE.execute(model=model or load("i2v.safetensors"), **{**FILM, **changed}).ui


def saved(host) -> dict[str, str]:
    """The files in the output folder, unfinished ones too: names without their film's number, and what is in them."""
    files = sorted(file for file in host.output.rglob("*") if file.is_file())
    return {str(file.relative_to(host.output)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def frames_of(host, number: int = 1) -> list[bytes]:
    """The pictures of a film."""
    folder = host.output / "films" / f"test_{number:05}_"
    return [file.read_bytes() for file in sorted(folder.iterdir())]
