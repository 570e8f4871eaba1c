"""Other packs change torch's settings for the whole process; what ours compute does not follow them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from wan_director.__main__ import main

SAMPLERS = {"tiny_t2v": ["Wan Sampler"], "tiny_i2v": ["9", "15"]}
"""Workflow -> names of its samplers."""


@pytest.fixture
def default_dtype_stays() -> Iterator[None]:
    kept = torch.get_default_dtype()
    yield
    torch.set_default_dtype(kept)


def frames(workflow: str, folder: Path) -> list[bytes]:
    words = ["--output", str(folder), "--quiet", "--device", "cpu", "--set", "Wan Save Video.format=png frames"]
    few = [word for name in SAMPLERS[workflow] for word in ("--set", f"{name}.steps=1")]
    assert main(["run", workflow, *words, *few]) == 0
    return [Image.open(path).tobytes() for path in sorted(folder.rglob("*.png"))]


@pytest.mark.parametrize("workflow", SAMPLERS)
def test_another_default_dtype_changes_no_frame(workflow, tmp_path, default_dtype_stays):
    wanted = frames(workflow, tmp_path / "plain")
    assert len(wanted) == 17
    for dtype in (torch.float64, torch.bfloat16):
        torch.set_default_dtype(dtype)
        assert frames(workflow, tmp_path / str(dtype)) == wanted, dtype
