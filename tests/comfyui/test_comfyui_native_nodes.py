"""ComfyUI's own nodes beside ours: their text, latent, picture and decoding nodes feed ours, and ours feed theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from .conftest import node

TINY = "wan_director_tiny_demo_"
Prompt = dict[str, dict[str, Any]]


def graph(model: str, **changes: Any) -> Prompt:
    """Native text, latent and decoding nodes around our loaders and sampler, saved as pictures."""
    nodes = {
        "model": node(
            "WanDirectorLoadModel", model_name=f"{TINY}{model}.safetensors", precision="fp32", attention="sdpa"
        ),
        "vae": node("WanDirectorLoadVAE", vae_name=f"{TINY}vae.safetensors", precision="fp32"),
        "clip": node(
            "WanDirectorLoadTextEncoder",
            text_encoder_name=f"{TINY}text_encoder.safetensors",
            precision="fp32",
            device="cpu",
        ),
        "positive": node("CLIPTextEncode", clip=["clip", 0], text="a (red:1.1) circle moves right on blue"),
        "negative": node("CLIPTextEncode", clip=["clip", 0], text=""),
        "latent": node("EmptyHunyuanLatentVideo", width=64, height=64, length=9, batch_size=1),
        "sampler": node(
            "WanDirectorSampler", model=["model", 0], positive=["positive", 0], negative=["negative", 0],
            latent=["latent", 0], seed=1, steps=2, cfg=3.0, shift=5.0, solver="euler", schedule="simple", denoise=1.0,
        ),
        "frames": node("VAEDecode", vae=["vae", 0], samples=["sampler", 0]),
        "save": node(
            "WanDirectorSaveVideo", images=["frames", 0], fps=8.0, filename_prefix="native/frames", format="png frames",
            quality=80,
        ),
    }  # fmt: skip
    return {**nodes, **changes}


def frames(comfyui, prompt: Prompt) -> np.ndarray:
    """The pictures that the node `save` saved: [F, H, W, 3]."""
    record = comfyui.run(prompt)
    assert record["status"]["status_str"] == "success", record["status"]["messages"]
    shown = record["outputs"]["save"]["images"]
    folder = comfyui.folder / "output"
    return np.stack([np.array(Image.open(folder / each["subfolder"] / each["filename"])) for each in shown])


def test_native_text_and_latent_nodes_equal_ours(comfyui):
    native = frames(comfyui, graph("t2v"))
    text = node("WanDirectorTextEncode", text_encoder=["clip", 0], negative="")
    text["inputs"]["positive"] = graph("t2v")["positive"]["inputs"]["text"]
    ours = graph(
        "t2v",
        positive=text,
        latent=node("WanDirectorEmptyLatent", vae=["vae", 0], width=64, height=64, frames=9, batch_size=1),
        frames=node("WanDirectorDecode", vae=["vae", 0], latent=["sampler", 0]),
    )
    ours["sampler"]["inputs"]["negative"] = ["positive", 1]
    assert native.shape == (9, 64, 64, 3) and np.array_equal(native, frames(comfyui, ours))


def test_native_tiled_decoding_takes_our_vae(comfyui):
    tiled = node(
        "VAEDecodeTiled", vae=["vae", 0], samples=["sampler", 0], tile_size=64, overlap=16, temporal_size=64,
        temporal_overlap=8,
    )  # fmt: skip
    assert np.array_equal(frames(comfyui, graph("t2v", frames=tiled)), frames(comfyui, graph("t2v")))


def test_native_encoding_feeds_video_to_video(comfyui):
    prompt = graph(
        "t2v",
        picture=node("LoadImage", image="example.png"),
        small=node("ImageScale", image=["picture", 0], upscale_method="area", width=64, height=64, crop="center"),
        latent=node("VAEEncode", vae=["vae", 0], pixels=["small", 0]),
    )
    prompt["sampler"]["inputs"]["denoise"] = 0.0
    kept = frames(comfyui, prompt)
    assert kept.shape == (1, 64, 64, 3) and kept.std() > 10  # the picture, not noise or grey


@pytest.mark.parametrize("native_class", ["WanImageToVideo", "WanFirstLastFrameToVideo"])
def test_native_picture_conditioning_feeds_our_sampler(comfyui, native_class: str):
    shared = {
        "vae": ["vae", 0], "width": 64, "height": 64, "length": 9, "batch_size": 1, "start_image": ["picture", 0],
        "positive": ["positive", 0], "negative": ["negative", 0],
    }  # fmt: skip
    clip = node("WanDirectorLoadClipVision", clip_vision_name=f"{TINY}clip_vision.safetensors")
    if native_class == "WanImageToVideo":
        more = {"clip_vision_output": ["features", 0]}
    else:
        more = {"end_image": ["picture", 0], "clip_vision_start_image": ["features", 0]}
    prompt = graph(
        "i2v",
        picture=node("LoadImage", image="example.png"),
        vision=clip,
        features=node("CLIPVisionEncode", clip_vision=["vision", 0], image=["picture", 0], crop="none"),
        given=node(native_class, **shared, **more),
    )
    prompt["sampler"]["inputs"] |= {"positive": ["given", 0], "negative": ["given", 1], "latent": ["given", 2]}
    assert frames(comfyui, prompt).shape == (9, 64, 64, 3)
