"""The interoperability table of docs/native.md: ComfyUI's own nodes and ours on the same small files, row by row.

One process of ComfyUI's own Python runs them all, see `rows/world.py`; each row is a test here.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROWS_FOLDER = Path(__file__).parent / "rows"
ROOT = Path(__file__).resolve().parents[2]
TRUE_WIDTH, SMALL_WIDTH = 96, 16
RUN_SECONDS = 1500

sys.path.insert(0, str(ROWS_FOLDER))  # they are scripts of ComfyUI's Python, which knows no package of tests
world: ModuleType = importlib.import_module("world")
ROWS = {
    name: row
    for family in world.FAMILIES
    if (ROWS_FOLDER / f"{family}.py").exists()
    for name, row in importlib.import_module(family).ROWS.items()
}
sys.path.remove(str(ROWS_FOLDER))


@pytest.fixture(scope="module")
def outcomes(comfyui_place: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    from .small_models import make_models

    comfyui, python = comfyui_place
    folder = tmp_path_factory.mktemp("interoperability")
    make_models(folder, SMALL_WIDTH if (comfyui / "comfy" / "ldm" / "wan" / "ar_model.py").exists() else TRUE_WIDTH)
    command = [python, "-B", str(ROWS_FOLDER / "world.py"), str(ROOT), str(comfyui), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    kept = os.environ.get("COMFYUI_OUTCOMES")  # for `rows/table.py`
    if kept:
        Path(kept).write_text(json.dumps(found), encoding="utf-8")
    return found


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str, outcomes: dict[str, dict[str, Any]]):
    row, found = ROWS[name], outcomes[name]
    if "lacking" in found:
        pytest.skip(f"this ComfyUI has no {', '.join(found['lacking'])}")
    assert "failed" not in found, found["failed"]
    if row.words:
        assert "sentence" in found, found
        assert [word for word in row.words if word not in found["sentence"]] == [], found["sentence"]
    else:
        assert "error" in found, found
        assert found["error"] <= row.limit
