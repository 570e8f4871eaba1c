"""Two experts in one sampler of ours against ComfyUI's way: two samplers, the noise handed over between them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT

NAMES = {noise: f"wan22_{noise}_noise.safetensors" for noise in ("high", "low")}
STEPS, HIGH_STEPS, CFG, LOW_CFG = 5, 2, 4.0, 3.0


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


@pytest.fixture(scope="module")
def experts(odd_models):
    """The server with two random models that ComfyUI's own loader takes too: their heads are 128 wide."""
    config = DiTConfig(dim=128, ffn_dim=128, heads=1, layers=2, text_dim=4096, freq_dim=256)
    for seed, name in enumerate(NAMES.values()):
        generator = torch.Generator().manual_seed(seed)
        weights = {
            key: torch.randn(value.shape, generator=generator) * 0.05 + float("norm" in key and "weight" in key)
            for key, value in WanDiT(config).state_dict().items()
        }
        save_file(weights, odd_models.folder / "models" / "diffusion_models" / name)
    return odd_models


def native(noise: str) -> dict[str, Any]:
    return {
        f"{noise}_unet": node("UNETLoader", unet_name=NAMES[noise], weight_dtype="default"),
        noise: node("ModelSamplingSD3", model=[f"{noise}_unet", 0], shift=5.0),
    }


SIDES = {"positive": ["positive", 0], "negative": ["negative", 0]}
COMMON = {**SIDES, "noise_seed": 1, "steps": STEPS, "sampler_name": "euler", "scheduler": "simple"}
TWO_SAMPLERS = {
    **native("high"),
    **native("low"),
    "first": node(
        "KSamplerAdvanced", **COMMON, model=["high", 0], latent_image=["size", 0], add_noise="enable", cfg=CFG,
        start_at_step=0, end_at_step=HIGH_STEPS, return_with_leftover_noise="enable",
    ),
    "sampler": node(
        "KSamplerAdvanced", **COMMON, model=["low", 0], latent_image=["first", 0], add_noise="disable", cfg=LOW_CFG,
        start_at_step=HIGH_STEPS, end_at_step=STEPS, return_with_leftover_noise="disable",
    ),
}  # fmt: skip
ONE_SAMPLER = {
    **{
        noise: node("WanDirectorLoadModel", model_name=NAMES[noise], precision="fp32", attention="sdpa")
        for noise in NAMES
    },
    "pair": node(
        "WanDirectorExperts", high_noise=["high", 0], low_noise=["low", 0], low_noise_cfg=LOW_CFG,
        high_noise_steps=HIGH_STEPS,
    ),
    "sampler": node(
        "WanDirectorSampler", **SIDES, model=["pair", 0], latent=["size", 0], seed=1, steps=STEPS, cfg=CFG, shift=5.0,
        solver="euler", schedule="simple", denoise=1.0,
    ),
}  # fmt: skip


def latent(server, name: str, sampling: dict[str, Any]) -> torch.Tensor:
    prompt = {
        "clip": node(
            "WanDirectorLoadTextEncoder", text_encoder_name="wan21_text.safetensors", precision="fp32", device="cpu"
        ),
        "vae": node("WanDirectorLoadVAE", vae_name="wan21_vae.safetensors", precision="fp32"),
        "positive": node("CLIPTextEncode", clip=["clip", 0], text="a cat dances"),
        "negative": node("CLIPTextEncode", clip=["clip", 0], text="blurry"),
        "size": node("WanDirectorEmptyLatent", vae=["vae", 0], width=64, height=64, frames=9, batch_size=1),
        **sampling,
        "save": node("SaveLatent", samples=["sampler", 0], filename_prefix=f"experts/{name}"),
    }
    record = server.run(prompt)
    assert record["status"]["status_str"] == "success", record["status"]["messages"]
    (saved,) = record["outputs"]["save"]["latents"]
    return load_file(server.folder / "output" / saved["subfolder"] / saved["filename"])["latent_tensor"]


def test_one_sampler_with_both_experts_equals_two_native_samplers(experts):
    expected = latent(experts, "two", TWO_SAMPLERS)
    assert expected.shape == (1, 16, 3, 8, 8) and expected.std() > 0.1
    # Both compute in float32; the sums of five steps differ by its rounding.
    assert (latent(experts, "one", ONE_SAMPLER) - expected).abs().max() < 1e-4 * expected.abs().max()
