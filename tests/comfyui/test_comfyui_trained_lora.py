"""A LoRA of `wan-director train` in a real ComfyUI: its own loader and ours do the same to the same model."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from ..tuning.taught import taught_file, trigger_text
from .test_comfyui_native_model import report

LIMIT = 1e-5
"""Of the largest value of a latent after four steps, float32: the matrices are summed there, added beside them here."""


@pytest.mark.timeout(1200)
def test_a_trained_file_does_the_same_in_comfyuis_own_loader(comfyui_place, tmp_path):
    taught_file(tmp_path / "taught.safetensors")
    save_file({"text": trigger_text()}, tmp_path / "text.safetensors")
    made = report("trained_lora.py", comfyui_place, Path(tmp_path))
    assert made["effect"] > 0.01, "the LoRA does nothing"
    assert made["base"] <= LIMIT and made["LoRA"] <= LIMIT, made
    assert made["strength 0 is the base"]
