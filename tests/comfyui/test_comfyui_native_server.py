"""Wan To Native Model in a running ComfyUI, under options for memory and cache, and after everything was freed."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from .conftest import ComfyServer, make_folder, node, running

OPTIONS = {
    "cache and memory": ("--cache-none", "--reserve-vram", "1"),
    "no smart memory": ("--disable-smart-memory", "--cache-lru", "2"),
}


def graph(seed: int) -> dict[str, Any]:
    """The bundled model in KSampler and in Wan Sampler."""
    demo = "wan_director_tiny_demo"
    run = {"seed": seed, "steps": 3, "cfg": 4.0, "denoise": 1.0}
    sides = {"positive": ["text", 0], "negative": ["text", 1]}
    return {
        "model": node(
            "WanDirectorLoadModel", model_name=f"{demo}_t2v.safetensors", precision="fp32", attention="auto"
        ),
        "vae": node("WanDirectorLoadVAE", vae_name=f"{demo}_vae.safetensors", precision="fp32"),
        "encoder": node(
            "WanDirectorLoadTextEncoder",
            text_encoder_name=f"{demo}_text_encoder.safetensors", precision="fp32", device="auto",
        ),
        "text": node("WanDirectorTextEncode", text_encoder=["encoder", 0], positive="a red ball", negative="blurry"),
        "latent": node("WanDirectorEmptyLatent", vae=["vae", 0], width=64, height=64, frames=9, batch_size=1),
        "native": node("WanDirectorToNativeModel", model=["model", 0]),
        "shift": node("ModelSamplingSD3", model=["native", 0], shift=5.0),
        "ksampler": node(
            "KSampler", model=["shift", 0], latent_image=["latent", 0], sampler_name="euler", scheduler="simple",
            **sides, **run,
        ),
        "sampler": node(
            "WanDirectorSampler", model=["model", 0], latent=["latent", 0], shift=5.0, solver="euler",
            schedule="simple", **sides, **run,
        ),
        "save native": node("SaveLatent", samples=["ksampler", 0], filename_prefix="native"),
        "save own": node("SaveLatent", samples=["sampler", 0], filename_prefix="own"),
    }  # fmt: skip


def latents(server: ComfyServer, seed: int) -> dict[str, torch.Tensor]:
    record = server.run(graph(seed))
    assert record["status"]["status_str"] == "success", record["status"]["messages"]
    saved = {name: record["outputs"][f"save {name}"]["latents"][0] for name in ("native", "own")}
    folder = server.folder / "output"
    return {
        name: load_file(folder / file["subfolder"] / file["filename"])["latent_tensor"] for name, file in saved.items()
    }


def free(server: ComfyServer) -> None:
    """What the button that unloads models does."""
    data = json.dumps({"unload_models": True, "free_memory": True}).encode()
    request = urllib.request.Request(server.url + "/free", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.status == 200


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("options", OPTIONS)
def test_the_bridged_model_makes_the_latent_of_wan_sampler(tmp_path, comfyui_place, options):
    make_folder(tmp_path / "base")
    with running(tmp_path / "base", *comfyui_place, *OPTIONS[options]) as server:
        first, second = latents(server, 7), latents(server, 8)
        for made in (first, second):
            assert (made["native"] - made["own"]).abs().max() <= 1e-5 * made["own"].abs().max()
        assert not torch.equal(first["native"], second["native"])
        free(server)
        again = latents(server, 7)
        assert all(torch.equal(again[name], first[name]) for name in first)
