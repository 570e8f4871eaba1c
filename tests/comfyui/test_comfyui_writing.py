"""Saving in a real ComfyUI: refused before anything runs, names filled in, what is kept is read by its own node."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .conftest import node
from .test_comfyui_server import refusal

FILE = {"fps": 8.0, "filename_prefix": "saving/clip", "format": "png frames", "quality": 80}


def graph(**file: Any) -> dict[str, Any]:
    """A latent of five frames, decoded into a file."""
    return {
        "vae": node("WanDirectorLoadVAE", vae_name="wan_director_tiny_demo_vae.safetensors", precision="fp32"),
        "size": node("WanDirectorEmptyLatent", vae=["vae", 0], width=64, height=64, frames=5, batch_size=1),
        "save": node("WanDirectorDecodeToVideo", vae=["vae", 0], latent=["size", 0], **{**FILE, **file}),
    }


def saved(server, prompt: dict[str, Any]) -> tuple[dict[str, Any], list[Path]]:
    """What the canvas is told, and the files."""
    record = server.run(prompt)
    assert record["status"]["status_str"] == "success", record["status"]["messages"]
    shown = record["outputs"]["save"]
    return shown, [server.folder / each["type"] / each["subfolder"] / each["filename"] for each in shown["images"]]


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("../clip", "leads out of the output folder"),
        ("x" * 300, "a name of 300 bytes"),
        ("a\0b", "holds the character U+0000"),
        ("a\ud83d", "holds the character U+D83D"),
    ],
)
def test_an_impossible_name_is_refused_when_it_is_queued(comfyui, prefix, words):
    prompt_id, answer = comfyui.queue(graph(filename_prefix=prefix))
    assert prompt_id is None
    assert words in answer["node_errors"]["save"]["errors"][0]["details"]
    assert words in refusal(comfyui, graph(filename_prefix=prefix))


def test_a_file_in_the_way_is_refused_when_it_is_queued(comfyui):
    (comfyui.folder / "output" / "obstacle").touch()
    assert "obstacle is no folder. Move that file away" in refusal(comfyui, graph(filename_prefix="obstacle/clip"))


def test_dates_and_values_of_nodes_are_filled_in_without_a_canvas(comfyui):
    prompt = graph(filename_prefix="%date:yyyy-MM-dd%/%WanDirectorEmptyLatent.frames%_%width%:%save it.fps%")
    prompt["save"]["_meta"] = {"title": "save it"}
    _, files = saved(comfyui, prompt)
    way = files[0].relative_to(comfyui.folder / "output").as_posix()
    assert re.fullmatch(r"20\d\d-\d\d-\d\d/5_64_8_00001_/00000\.png", way)


def test_numbers_go_on_where_those_of_native_nodes_end(comfyui):
    numbers = []
    for _ in range(2):
        record = comfyui.run({
            **graph(filename_prefix="both/clip", quality=len(numbers) + 1),
            "frames": node("WanDirectorDecode", vae=["vae", 0], latent=["size", 0]),
            "native": node("SaveImage", images=["frames", 0], filename_prefix="both/clip"),
        })  # fmt: skip
        numbers.append(record["status"]["status_str"])
    assert numbers == ["success"] * 2
    names = sorted(path.name for path in (comfyui.folder / "output" / "both").iterdir())
    taken = [re.match(r"clip_(\d+)_", name)[1] for name in names]
    assert len(set(taken)) == len(taken)


def test_the_canvas_gets_a_gif_as_a_picture(comfyui):
    shown, (file,) = saved(comfyui, graph(format="gif"))
    assert "animated" not in shown and file.suffix == ".gif" and Image.open(file).n_frames > 0
    shown, (file,) = saved(comfyui, graph(format="mp4-h264"))
    assert shown["animated"] == [True] and file.suffix == ".mp4"


def test_native_load_latent_reads_the_latent_that_was_kept(comfyui):
    """A name that comes over a wire is only known when all else is done."""
    prompt = graph(filename_prefix=["name", 0], fps=9.0) | {"name": node("PrimitiveString", value="../clip")}
    sentence = refusal(comfyui, prompt)
    assert "leads out of the output folder" in sentence and "load it with Load Latent" in sentence
    kept = Path(re.search(r"The latent is kept in ([^:]+): ", sentence)[1])
    assert kept.is_relative_to(comfyui.folder / "output")
    shutil.copy(kept, comfyui.folder / "input" / "kept.latent")
    again = graph(filename_prefix="kept/again") | {"size": node("LoadLatent", latent="kept.latent")}
    _, from_file = saved(comfyui, again)
    _, direct = saved(comfyui, graph(filename_prefix="kept/direct"))
    assert [path.read_bytes()[-4000:] for path in from_file[1:]] == [path.read_bytes()[-4000:] for path in direct[1:]]
    assert [Image.open(path).tobytes() for path in from_file] == [Image.open(path).tobytes() for path in direct]
