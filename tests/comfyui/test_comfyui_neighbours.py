"""The pack in a ComfyUI beside others: odd folder names, a second copy, foreign settings, a folder kept as it is."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from wan_director.__main__ import main

from .conftest import ComfyServer, make_folder, running

ROOT = Path(__file__).resolve().parents[2]
SPACED, DOTTED = "ComfyUI-Wan Director v1.0", "wan-director-0.1.0"
OWN_ROOMS = ("common", "media", "engine", "memory", "sampling", "weights", "models", "dit", "transformers", "diffusers")
NEIGHBOUR = """
import os, sys
import torch
sys.path.insert(0, os.path.dirname(__file__))
import common, media, engine, memory, sampling, weights, models
torch.set_default_dtype(torch.float64)
torch.manual_seed(99)
torch.use_deterministic_algorithms(True, warn_only=True)
NODE_CLASS_MAPPINGS = {}
"""


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory, comfyui_place: tuple[Path, str]) -> Iterator[ComfyServer]:
    folder = tmp_path_factory.mktemp("crowded") / "base"
    make_folder(folder)
    packs = folder / "custom_nodes"
    (packs / "wan-director").rename(packs / SPACED)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/images/")):
            (packs / DOTTED / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, packs / DOTTED / name)
    for path in [*(packs / DOTTED).rglob("*"), packs / DOTTED]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    (packs / "neighbour").mkdir()
    (packs / "neighbour" / "__init__.py").write_text(NEIGHBOUR)
    for name in (*OWN_ROOMS, "nodes"):
        (packs / "neighbour" / f"{name}.py").write_text("__version__ = '0.0.1'\n")
    with running(folder, *comfyui_place) as server:
        yield server
    for path in [packs / DOTTED, *(packs / DOTTED).rglob("*")]:
        path.chmod(0o755)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_second_copy_is_told_with_both_folders(crowded):
    (line,) = [line for line in crowded.log.splitlines() if "installed twice" in line]
    assert f"custom_nodes.{SPACED}" in line and f"custom_nodes.{DOTTED}" in line
    module = crowded.get_json("/object_info/WanDirectorSampler")["WanDirectorSampler"]["python_module"]
    assert f"and as {module}. ComfyUI uses the second" in line
    assert "IMPORT FAILED" not in crowded.log and "Traceback" not in crowded.log


def test_help_pages_are_found_under_the_name_that_the_canvas_asks_for(crowded):
    """It asks for the part of the folder's name before the first dot."""
    assert crowded.get("/extensions/wan-director-0/docs/WanDirectorSampler.md").startswith(b"# ")
    (line,) = [line for line in crowded.log.splitlines() if "help pages" in line]
    assert SPACED in line and "Rename it to wan-director" in line


def test_frames_are_the_command_lines_beside_a_pack_that_changes_torch(crowded, tmp_path):
    pack = crowded.folder / "custom_nodes" / DOTTED
    before = contents(pack)
    prompt: dict[str, Any] = json.loads((ROOT / "workflows" / "api" / "tiny_t2v.json").read_text(encoding="utf-8"))
    for node in prompt.values():
        if node["class_type"] == "WanDirectorSaveVideo":
            node["inputs"]["format"] = "png frames"
    record = crowded.run(prompt)
    assert record["status"]["status_str"] == "success", record["status"]["messages"]
    graph = tmp_path / "graph.json"
    graph.write_text(json.dumps(prompt), encoding="utf-8")
    assert main(["run", str(graph), f"--output={tmp_path}", "--device=cpu", "--quiet"]) == 0
    theirs, ours = (
        [Image.open(path).tobytes() for path in sorted(folder.rglob("*.png"))]
        for folder in (crowded.folder / "output", tmp_path)
    )
    assert theirs == ours and len(ours) == 17
    assert contents(pack) == before
