"""A small text-to-video graph in the server's format, on the tiny random models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def node(class_type: str, title: str | None = None, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs, **({"_meta": {"title": title}} if title else {})}


@pytest.fixture
def prompt() -> dict:
    """Nodes by id; 64x48, 5 frames, 2 steps."""
    return {
        "1": node("WanDirectorLoadModel", model_name="t2v.safetensors", precision="auto", attention="auto"),
        "2": node("WanDirectorLoadVAE", vae_name="vae.safetensors", precision="auto"),
        "3": node("WanDirectorLoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="auto"),
        "4": node("WanDirectorTextEncode", text_encoder=["3", 0], positive="a red ball", negative="bad"),
        "5": node("WanDirectorEmptyLatent", "Size", vae=["2", 0], width=64, height=48, frames=5, batch_size=1),
        "6": node(
            "WanDirectorSampler", "Sampler", model=["1", 0], positive=["4", 0], negative=["4", 1], latent=["5", 0],
            seed=1, steps=2, cfg=4.0, shift=5.0, solver="euler", schedule="simple", denoise=1.0,
        ),
        "7": node("WanDirectorDecode", vae=["2", 0], latent=["6", 0]),
        "8": node(
            "WanDirectorSaveVideo", "Save", images=["7", 0], fps=8.0, filename_prefix="video/test", format="mp4-h264",
            quality=50,
        ),
    }  # fmt: skip


@pytest.fixture
def write(tmp_path: Path):
    """Writes JSON to a file and gives its path."""

    def write(data: object, name: str = "graph.json") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(data), encoding="utf-8")
        return path

    return write
