"""The Fun family between ComfyUI's own nodes and ours: the conditioning of either in the sampler of either."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.dit.branches.camera import CameraBranch
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.reference import ReferenceBranch
from wan_director.media.edges import find_edges
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.text_encoder.clip_vision import ClipVisionConfig, ClipVisionEncoder
from wan_director.vae3d.config import VAEConfig
from wan_director.vae3d.vae import CausalVAE

from .conftest import ComfyServer, finished_latent, node, save_model, save_random_dit

OUTPUTS_48 = {"out_channels": 48}
MODELS = {
    "control_21": {"in_channels": 48, "branches": (ClipBranch(1280),)},
    "control_11": {"in_channels": 48, "branches": (ReferenceBranch(16),)},
    "control_22": {"in_channels": 52, "branches": (ReferenceBranch(16),)},
    "control_5b": {"in_channels": 148, "branches": (ReferenceBranch(48),), **OUTPUTS_48},
    "inp_5b": {"in_channels": 100, **OUTPUTS_48},
    "camera_21": {"in_channels": 32, "branches": (ClipBranch(1280), CameraBranch())},
    "camera_22": {"in_channels": 36, "branches": (CameraBranch(),)},
}
START, END, CONTROL, CLIP = ["small", 0], ["turned", 0], ["clip", 0], ["seen", 0]
SIDES = {"positive": ["positive", 0], "negative": ["negative", 0], "vae": ["vae", 0]}
SIZE = {"width": 64, "height": 64}
GIVEN = {
    "control_21": (
        "WanFunControlToVideo",
        {"control_video": CONTROL, "start_image": START, "clip_vision_output": CLIP},
    ),
    "control_11": ("Wan22FunControlToVideo", {"control_video": CONTROL, "ref_image": END}),
    "control_22": ("Wan22FunControlToVideo", {"control_video": CONTROL, "ref_image": END}),
    "control_5b": ("Wan22FunControlToVideo", {"control_video": CONTROL, "ref_image": END}),
    "inp_5b": ("WanFunInpaintToVideo", {"start_image": START, "end_image": END}),
    "camera_21": ("WanCameraImageToVideo", {"start_image": START, "clip_vision_output": CLIP}),
    "camera_22": ("WanCameraImageToVideo", {"start_image": START}),
}
"""Of each model ComfyUI's node and what it is given; the camera's path comes to it."""
OURS = {
    "control_11": {"control_video": CONTROL, "reference_image": END},
    "control_22": {"control_video": CONTROL, "reference_image": END},
    "control_5b": {"control_video": CONTROL, "reference_image": END},
    "inp_5b": {"start_image": START, "end_image": END},
    "camera_22": {"camera": ["path", 0]},
}
"""What our node is given for the same. Its start images stand on grey, as in training, and ComfyUI's on zeros."""
PATHS = {
    "native": node("WanCameraEmbedding", camera_pose="Pan Left", **SIZE, length=9, speed=1.3),
    "ours": node(
        "WanDirectorCameraPath", **SIZE, frames=9, move="pan left", speed=1.3, path="", fx=0.5, fy=0.5, cx=0.5, cy=0.5
    ),
}
SETTINGS = {"seed": 1, "steps": 3, "cfg": 3.0, "denoise": 1.0}
WIRES = {"model": ["model", 0], "positive": ["made", 0], "negative": ["made", 1]}


@pytest.fixture(scope="module")
def server(odd_models: ComfyServer) -> ComfyServer:
    """The server with random models of the family."""
    models = odd_models.folder / "models"
    for seed, (name, changes) in enumerate(MODELS.items()):
        save_random_dit(models / "diffusion_models" / f"fun_{name}.safetensors", seed, **changes)
    wan22 = VAEConfig(base_channels=8, residual_blocks=1, latent_channels=48, patch_size=2, level_shortcuts=True)
    save_model(models / "vae" / "fun_wan22_vae.safetensors", CausalVAE(wan22), {})
    clip = ClipVisionConfig(image_size=56, dim=1280, heads=16, layers=2, mlp_dim=64, embed_dim=32)
    save_model(models / "clip_vision" / "fun_clip.safetensors", ClipVisionEncoder(clip), {})
    return odd_models


def samplers(name: str) -> dict[str, dict[str, Any]]:
    file = f"fun_{name}.safetensors"
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


def latent(server: ComfyServer, name: str, made: dict[str, Any], sampler: str, path: str = "native") -> torch.Tensor:
    """The finished latent of a video that a node prepares."""
    nodes = {
        "picture": node("LoadImage", image="example.png"),
        "small": node("ImageScale", image=["picture", 0], upscale_method="area", **SIZE, crop="center"),
        "turned": node("ImageInvert", image=["small", 0]),
        "clip": node("RepeatImageBatch", image=["small", 0], amount=9),
        "clip_vision": node("WanDirectorLoadClipVision", clip_vision_name="fun_clip.safetensors", precision="fp32"),
        "seen": node("WanDirectorClipVisionEncode", clip_vision=["clip_vision", 0], image=["small", 0], crop="none"),
        "path": PATHS[path],
        "made": made,
        **samplers(name)[sampler],
    }
    if name.endswith("5b"):
        nodes["vae"] = node("WanDirectorLoadVAE", vae_name="fun_wan22_vae.safetensors", precision="fp32")
    return finished_latent(server, nodes, f"fun/{name}_{made['class_type']}_{sampler}")


def native_node(name: str) -> dict[str, Any]:
    class_type, given = GIVEN[name]
    camera = {"camera_conditions": ["path", 0]} if name.startswith("camera") else {}
    return node(class_type, **SIDES, **SIZE, length=9, batch_size=1, **given, **camera)


def assert_same(ours: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.std() > 0.1
    # Both compute in float32; the sums of three steps differ by its rounding.
    assert (ours - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", GIVEN)
def test_our_sampler_gives_what_comfyuis_gives(server, name):
    expected = latent(server, name, native_node(name), "native")
    assert_same(latent(server, name, native_node(name), "ours", path="ours"), expected)


@pytest.mark.parametrize("name", OURS)
def test_our_node_gives_what_comfyuis_gives(server, name):
    made = node("WanDirectorFunControl", **SIDES, **SIZE, frames=9, batch_size=1, fit="crop", **OURS[name])
    expected = native_node(name)
    if name == "camera_22":
        del expected["inputs"]["start_image"]
    expected = latent(server, name, expected, "native")
    for sampler in ("native", "ours"):
        assert_same(latent(server, name, made, sampler, path="ours"), expected)


NUMBERS = """
import sys
import comfy.options
comfy.options.enable_args_parsing()
import torch
from safetensors.torch import save_file
import nodes
from comfy_extras.nodes_camera_trajectory import WanCameraEmbedding
from comfy_extras.nodes_canny import Canny
found = {}
for pose in ("Static", "Pan Up", "Zoom In", "Zoom Out", "Anti Clockwise (ACW)", "ClockWise (CW)"):
    found[pose] = getattr(WanCameraEmbedding, "execute", None) and WanCameraEmbedding.execute(
        pose, 112, 64, 13, speed=1.7, fx=0.6, fy=0.8, cx=0.45, cy=0.55).args[0].contiguous()
pictures = torch.nn.functional.interpolate(
    torch.rand(3, 3, 7, 9, generator=torch.Generator().manual_seed(0)), size=(60, 84), mode="bicubic").clamp(0, 1)
found["pictures"] = pictures.movedim(1, -1).contiguous()
found["edges"] = Canny.execute(found["pictures"], 0.2, 0.4).args[0].contiguous()
save_file(found, OUT)
"""


@pytest.fixture(scope="module")
def numbers(comfyui_place: tuple[Path, str], server: ComfyServer, tmp_path_factory) -> dict[str, torch.Tensor]:
    """Rays and edges of ComfyUI's own nodes, made in its process."""
    if server.get_json("/system_stats")["system"]["comfyui_version"].startswith("0.3."):
        pytest.skip("this ComfyUI has these nodes in an older form")
    folder, python = comfyui_place
    out = tmp_path_factory.mktemp("numbers") / "numbers.safetensors"
    code = NUMBERS.replace("OUT", repr(str(out)))
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([python, "-c", code, "--cpu"], check=True, cwd=out.parent, env=environment, capture_output=True)
    return load_file(out)


@pytest.mark.parametrize("pose", ["Static", "Pan Up", "Zoom In", "Zoom Out", "Anti Clockwise (ACW)", "ClockWise (CW)"])
def test_rays_are_comfyuis(numbers, pose):
    lens = {"fx": 0.6, "fy": 0.8, "cx": 0.45, "cy": 0.55}
    size = {"width": 112, "height": 64}
    face = CORE_NODES["WanCameraEmbedding"].execute(camera_pose=pose, **size, length=13, speed=1.7, **lens).args[0]
    move = {"Anti Clockwise (ACW)": "roll left", "ClockWise (CW)": "roll right"}.get(pose, pose.lower())
    path = NODE_CLASS_MAPPINGS["WanDirectorCameraPath"]
    own = path.execute(**size, frames=13, move=move, speed=1.7, path="", **lens).args[0]
    assert torch.equal(face, own)
    torch.testing.assert_close(own, numbers[pose], rtol=0, atol=1e-6)


def test_edges_are_comfyuis(numbers):
    edges, expected = find_edges(numbers["pictures"], 0.2, 0.4), numbers["edges"][..., 0]
    assert 0.02 < expected.mean() < 0.5
    assert (edges != expected).float().mean() < 1e-3  # neighbours that are equal but for the rounding of the sums
