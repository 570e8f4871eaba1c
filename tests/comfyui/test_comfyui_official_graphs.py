"""Graphs of ComfyUI's own nodes give the same frames in a real ComfyUI and on the command line.

There they run ComfyUI's model, VAE and samplers, here ours, on the same small files. Only the text encoder, and the VAE
of TI2V-5B, are ours in both: the sizes of ComfyUI's are fixed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.dit.branches.camera import CameraBranch
from wan_director.dit.branches.reference import ReferenceBranch
from wan_director.dit.branches.vace import VaceBranch
from wan_director.engine.local import LocalRuntime
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.model_paths import models_in
from wan_director.nodes.headless.runner import run_graph
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import hosted_by
from wan_director.vae3d.config import VAEConfig
from wan_director.vae3d.vae import CausalVAE

from .conftest import ComfyServer, save_model, save_random_dit
from .official_graphs import GRAPHS

FUN_CONTROL = {"in_channels": 52, "branches": (ReferenceBranch(16),)}
FUN_CAMERA = {"in_channels": 36, "branches": (CameraBranch(),)}


@pytest.fixture(scope="session")
def files(odd_models: ComfyServer) -> ComfyServer:
    """The server, with models that ComfyUI's own loaders take too, and a picture."""
    if odd_models.get_json("/system_stats")["system"]["comfyui_version"].startswith("0.3."):
        pytest.skip("this ComfyUI loads a VAE of the full width only")
    models = odd_models.folder / "models"
    forms = {
        "t2v": {},
        "i2v_high": {"in_channels": 36},
        "i2v_low": {"in_channels": 36},
        "vace": {"branches": (VaceBranch(2),)},
        "ti2v": {"in_channels": 48, "out_channels": 48},
        "fun_control_high": FUN_CONTROL,
        "fun_control_low": FUN_CONTROL,
        "fun_camera_high": FUN_CAMERA,
        "fun_camera_low": FUN_CAMERA,
    }
    for seed, (name, changes) in enumerate(forms.items()):
        save_random_dit(models / "diffusion_models" / f"official_{name}.safetensors", seed, **changes)
    generator = torch.Generator().manual_seed(9)
    network = CausalVAE(VAEConfig(base_channels=16))
    weights = {
        name: torch.randn(value.shape, generator=generator) * 0.05 + float("gamma" in name)
        for name, value in network.state_dict().items()
    }
    save_file(weights, models / "vae" / "official_vae.safetensors")
    wan22 = VAEConfig(base_channels=8, residual_blocks=1, latent_channels=48, patch_size=2, level_shortcuts=True)
    save_model(models / "vae" / "official_wan22_vae.safetensors", CausalVAE(wan22), {})
    (models / "loras").mkdir(exist_ok=True)
    layer = "diffusion_model.blocks.0.self_attn.q.lora_"
    shapes = {f"{layer}down.weight": (4, 128), f"{layer}up.weight": (128, 4)}
    factors = {name: torch.randn(shape, generator=generator) * 0.6 for name, shape in shapes.items()}
    save_file(factors, models / "loras" / "official_lora.safetensors")
    pixels = torch.randint(0, 256, (80, 96, 3), generator=generator, dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(odd_models.folder / "input" / "official.png")
    return odd_models


def pictures(folder: Path, shown: list[dict[str, Any]]) -> np.ndarray:
    """[F, H, W, 3]."""
    return np.stack([np.asarray(Image.open(folder / each["subfolder"] / each["filename"])) for each in shown])


@pytest.mark.parametrize("name", GRAPHS)
def test_a_native_graph_gives_the_same_frames_on_both_hosts(name, files, tmp_path):
    record = files.run(GRAPHS[name])
    failed = [each for each in record["status"]["messages"] if each[0] == "execution_error"]
    assert record["status"]["status_str"] == "success", [each[1].get("exception_message") for each in failed]
    there = pictures(files.folder / "output", record["outputs"]["save"]["images"])
    folder = files.folder
    ours = HeadlessHost(
        folders=models_in(folder / "models"),
        inputs=(folder / "input",),
        output=tmp_path,
        runtime=LocalRuntime("cpu"),
    )
    classes = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
    with hosted_by(ours):
        (shown,) = run_graph(parse_graph(GRAPHS[name], classes), classes)
    here = pictures(tmp_path, shown["images"])
    assert here.shape == there.shape and there.std() > 1
    # A number on the border of two levels of a picture may fall to either side.
    assert np.abs(here.astype(int) - there.astype(int)).max() <= 1
