"""A small text-to-video graph in the server's format, on the tiny random models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.sockets.native_model import NativeModel

SIZE = {"width": 64, "height": 48, "length": 9, "batch_size": 1}
"""Of a small video, for ComfyUI's nodes."""


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


def core(name: str, **inputs):
    """The outputs of a core node; the output itself when there is one."""
    results = CORE_NODES[name].execute(**inputs).args
    return results[0] if len(results) == 1 else results


def unet(name: str = "t2v.safetensors", weight_dtype: str = "default") -> NativeModel:
    return core("UNETLoader", unet_name=name, weight_dtype=weight_dtype)


def vae(name: str = "vae.safetensors"):
    return core("VAELoader", vae_name=name)


@pytest.fixture
def prompts(inference) -> dict:
    """positive and negative."""
    clip = core("CLIPLoader", clip_name="text.safetensors", type="wan")
    texts = {"positive": "a red ball", "negative": "bad"}
    return {side: core("CLIPTextEncode", text=text, clip=clip) for side, text in texts.items()}


@pytest.fixture
def wan21_prompts(inference) -> dict:
    """As `prompts`, for models of the families of Wan."""
    clip = core("CLIPLoader", clip_name="wan21_text.safetensors", type="wan")
    return {side: core("CLIPTextEncode", text=side, clip=clip) for side in ("positive", "negative")}
