"""VACE between ComfyUI's own nodes and ours: the conditioning of either in the sampler of either."""

from __future__ import annotations

import pytest
import torch
from wan_director.dit.branches.vace import VaceBranch

from .conftest import finished_latent, node, save_random_dit

NAME = "wan21_vace.safetensors"
SIZE = {"vae": ["vae", 0], "width": 64, "height": 64, "batch_size": 1, "strength": 0.8}
SIDES = {"positive": ["positive", 0], "negative": ["negative", 0]}
PICTURES = {"control_video": ["clip", 0], "reference_image": ["small", 0]}


@pytest.fixture(scope="module")
def vace_server(odd_models):
    """The server with a random VACE model."""
    save_random_dit(odd_models.folder / "models" / "diffusion_models" / NAME, seed=0, branches=(VaceBranch(2),))
    return odd_models


CONDITIONING = {
    "native": node("WanVaceToVideo", **SIDES, **SIZE, **PICTURES, length=9),
    "ours": node("WanDirectorVace", **SIDES, **SIZE, **PICTURES, frames=9),
}
WIRES = {"model": ["model", 0], "positive": ["vace", 0], "negative": ["vace", 1]}
SETTINGS = {"seed": 1, "steps": 3, "cfg": 3.0, "denoise": 1.0}
SAMPLERS = {
    "native": {
        "unet": node("UNETLoader", unet_name=NAME, weight_dtype="default"),
        "model": node("ModelSamplingSD3", model=["unet", 0], shift=5.0),
        "sampler": node(
            "KSampler", **WIRES, **SETTINGS, latent_image=["vace", 2], sampler_name="euler", scheduler="simple"
        ),
    },
    "ours": {
        "model": node("WanDirectorLoadModel", model_name=NAME, precision="fp32", attention="sdpa"),
        "sampler": node(
            "WanDirectorSampler", **WIRES, **SETTINGS, latent=["vace", 2], shift=5.0, solver="euler", schedule="simple"
        ),
    },
}


def latent(server, conditioning: str, sampler: str) -> torch.Tensor:
    """The finished latent [1, 16, 1 + 3, 8, 8], the reference's frame first."""
    nodes = {
        "picture": node("LoadImage", image="example.png"),
        "small": node("ImageScale", image=["picture", 0], upscale_method="area", width=64, height=64, crop="center"),
        "clip": node("RepeatImageBatch", image=["small", 0], amount=9),
        "vace": CONDITIONING[conditioning],
        **SAMPLERS[sampler],
    }
    return finished_latent(server, nodes, f"vace/{conditioning}_{sampler}")


def test_either_conditioning_gives_the_same_in_either_sampler(vace_server):
    expected = latent(vace_server, "native", "native")
    assert expected.shape == (1, 16, 4, 8, 8) and expected.std() > 0.1
    # Both compute in float32; the sums of three steps differ by its rounding.
    for conditioning, sampler in (("native", "ours"), ("ours", "native"), ("ours", "ours")):
        ours = latent(vace_server, conditioning, sampler)
        assert (ours - expected).abs().max() < 1e-4 * expected.abs().max(), (conditioning, sampler)
