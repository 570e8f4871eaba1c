"""Wan To Native Model in a real ComfyUI: the latents of its own loader, sampler by sampler."""

from __future__ import annotations

import json
import os
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).parent / "native_model"
KINDS = {"t2v", "i2v", "flf", "i2v-2.2", "5b", "vace"}
LIMIT = 1e-5
UNI_PC_LIMIT = 4e-5
"""Native's uni_pc computes in float32 with log(1 - x) of an x near 1; see tests/sampling/test_native_samplers.py."""


def report(script: str, place: tuple[Path, str], folder: Path, *arguments: str) -> dict[str, Any]:
    """What a script in `native_model/` prints last, run by ComfyUI's Python."""
    comfyui, python = place
    command = [python, "-B", str(SCRIPTS / script), str(ROOT), str(comfyui), str(folder), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.timeout(3100)
def test_every_sampler_gives_the_latent_of_the_native_model(comfyui_place, tmp_path, record_property):
    made = report("same_bits.py", comfyui_place, tmp_path)
    errors: dict[str, dict[str, float]] = defaultdict(dict)
    for row, case, error in made["rows"]:
        errors[row][case] = error
    for row, cases in errors.items():
        worst = max(cases, key=lambda case: cases[case])
        print(f"{row}: {len(cases)} cases, worst {cases[worst]:.1e} ({worst})")
        record_property(row, cases[worst])
    assert set(errors) == {f"{who} {kind}" for who in ("bridged", "Wan Sampler") for kind in {*KINDS, "experts"}}
    assert len(made["samplers"]) >= 38 and len(made["schedulers"]) >= 9
    for kind in KINDS:
        assert set(made["samplers"]) <= set(errors[f"bridged {kind}"])
    assert {f"euler, {name}" for name in made["schedulers"]} <= set(errors["bridged t2v"])
    for row, cases in errors.items():
        for case, error in cases.items():
            limit = UNI_PC_LIMIT if row.startswith("Wan Sampler") and case.startswith("uni_pc") else LIMIT
            assert error <= limit, (row, case)
