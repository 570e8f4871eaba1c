"""SCAIL and SCAIL-2 between ComfyUI's own nodes and ours: the conditioning of either in the sampler of either."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.scail import ScailBranch
from wan_director.text_encoder.clip_vision import ClipVisionConfig, ClipVisionEncoder

from .conftest import ComfyServer, finished_latent, node, save_model, save_random_dit

MODELS = {"scail1": 0, "scail2": 28}
"""Name -> channels of masks."""
SIZE = {"width": 64, "height": 64}
SIDES = {"positive": ["positive", 0], "negative": ["negative", 0], "vae": ["vae", 0]}
POSES, PICTURES, CLIP = {"pose_video": ["clip", 0]}, {"reference_image": ["pictures", 0]}, ["seen", 0]
MASKS = {"pose_video_mask": ["masks", 0], "reference_image_mask": ["masks", 1]}
GIVEN: dict[str, dict[str, Any]] = {
    "scail1": {**POSES, **PICTURES},
    "animation": {**POSES, **PICTURES, **MASKS},
    "replacement": {**POSES, **PICTURES, **MASKS, "replacement_mode": True},
    "part": {**POSES, **PICTURES, **MASKS, "previous_frames": ["turned_clip", 0], "pose_strength": 0.7},
    "range": {**POSES, **PICTURES, **MASKS, "pose_start": 0.25, "pose_end": 0.65},
    "references alone": {**PICTURES, "reference_image_mask": ["masks", 1]},
    "poses alone": {**POSES, "pose_video_mask": ["masks", 0], "replacement_mode": True},
}
"""What ComfyUI's node is given; the features of CLIP come to it."""
NATIVE = {"length": 9, "batch_size": 1, "pose_strength": 1.0, "pose_start": 0.0, "pose_end": 1.0}
OURS = {"frames": 9, "batch_size": 1, "fit": "crop", "pose_strength": 1.0, "replacement_mode": False}
OURS |= {"pose_start_percent": 0.0, "pose_end_percent": 1.0}
PART = {"video_frame_offset": 0, "previous_frame_count": 5}
NAMES = {"pose_start": "pose_start_percent", "pose_end": "pose_end_percent"}
SETTINGS = {"seed": 1, "steps": 5, "cfg": 3.0, "denoise": 1.0}
WIRES = {"model": ["model", 0], "positive": ["made", 0], "negative": ["made", 1]}


@pytest.fixture(scope="module")
def server(odd_models: ComfyServer, node_information: dict) -> ComfyServer:
    """The server with random models of both versions."""
    if "WanSCAILToVideo" not in node_information:
        pytest.skip("this ComfyUI has no SCAIL")
    models = odd_models.folder / "models"
    for seed, (name, masks) in enumerate(MODELS.items()):
        branches = (ClipBranch(1280), ScailBranch(mask_channels=masks))
        path = models / "diffusion_models" / f"{name}.safetensors"
        save_random_dit(path, seed, in_channels=20, branches=branches)
    clip = ClipVisionConfig(image_size=56, dim=1280, heads=16, layers=2, mlp_dim=64, embed_dim=32)
    save_model(models / "clip_vision" / "scail_clip.safetensors", ClipVisionEncoder(clip), {})
    return odd_models


def samplers(name: str) -> dict[str, dict[str, Any]]:
    file = "scail1.safetensors" if name == "scail1" else "scail2.safetensors"
    return {
        "native": {
            "unet": node("UNETLoader", unet_name=file, weight_dtype="default"),
            "model": node("ModelSamplingSD3", model=["unet", 0], shift=5.0),
            "sampler": node(
                "KSampler", **WIRES, **SETTINGS, latent_image=["made", 2], sampler_name="euler", scheduler="simple"
            ),
        },
        "ours": {
            "model": node("WanDirectorLoadModel", model_name=file, precision="fp32", attention="sdpa"),
            "sampler": node(
                "WanDirectorSampler", **WIRES, **SETTINGS, latent=["made", 2], shift=5.0, solver="euler",
                schedule="simple",
            ),
        },
    }  # fmt: skip


def prepared(name: str, who: str) -> dict[str, Any]:
    """The node that prepares the video."""
    given = GIVEN[name]
    if who == "native":
        return node(
            "WanSCAILToVideo", **SIDES, **SIZE, **{**NATIVE, **PART, "replacement_mode": False, **given},
            clip_vision_output=CLIP,
        )  # fmt: skip
    own = {NAMES.get(key, key): value for key, value in given.items()}
    return node("WanDirectorScail", **SIDES, **SIZE, **{**OURS, **PART, **own}, clip_vision=CLIP)


def latent(server: ComfyServer, name: str, who: str, sampler: str) -> torch.Tensor:
    """The finished latent of a video that a node prepares."""
    nodes = {
        "picture": node("LoadImage", image="example.png"),
        "small": node("ImageScale", image=["picture", 0], upscale_method="area", **SIZE, crop="center"),
        "turned": node("ImageInvert", image=["small", 0]),
        "clip": node("RepeatImageBatch", image=["small", 0], amount=9),
        "turned_clip": node("RepeatImageBatch", image=["turned", 0], amount=7),
        "pictures": node("ImageBatch", image1=["turned", 0], image2=["small", 0]),
        "in_video": node("ImageToMask", image=["clip", 0], channel="red"),
        "in_pictures": node("ImageToMask", image=["pictures", 0], channel="blue"),
        "masks": node(
            "WanDirectorColouredMasks", colour="red", replacement_mode=GIVEN[name].get("replacement_mode", False),
            sort_by="none", persons="", pose_mask=["in_video", 0], reference_mask=["in_pictures", 0],
        ),
        "clip_vision": node("WanDirectorLoadClipVision", clip_vision_name="scail_clip.safetensors", precision="fp32"),
        "seen": node("WanDirectorClipVisionEncode", clip_vision=["clip_vision", 0], image=["small", 0], crop="none"),
        "made": prepared(name, who),
        **samplers(name)[sampler],
    }  # fmt: skip
    return finished_latent(server, nodes, f"scail/{name.replace(' ', '_')}_{who}_{sampler}")


@pytest.mark.parametrize("name", GIVEN)
def test_either_node_and_sampler_give_what_comfyuis_give(server, name):
    expected = latent(server, name, "native", "native")
    assert expected.std() > 0.1
    for who, sampler in (("native", "ours"), ("ours", "native"), ("ours", "ours")):
        found = latent(server, name, who, sampler)
        # Both compute in float32; the sums of five steps differ by its rounding.
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max(), (who, sampler)
