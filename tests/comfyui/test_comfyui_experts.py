"""Two experts in one sampler of ours against ComfyUI's way: two samplers, the noise handed over between them."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import finished_latent, node, save_random_dit

NAMES = {noise: f"wan22_{noise}_noise.safetensors" for noise in ("high", "low")}
STEPS, HIGH_STEPS, CFG, LOW_CFG = 5, 2, 4.0, 3.0


@pytest.fixture(scope="module")
def experts(odd_models):
    """The server with two random models."""
    for seed, name in enumerate(NAMES.values()):
        save_random_dit(odd_models.folder / "models" / "diffusion_models" / name, seed)
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


SIZE = {"size": node("WanDirectorEmptyLatent", vae=["vae", 0], width=64, height=64, frames=9, batch_size=1)}


def test_one_sampler_with_both_experts_equals_two_native_samplers(experts):
    expected = finished_latent(experts, SIZE | TWO_SAMPLERS, "experts/two")
    assert expected.shape == (1, 16, 3, 8, 8) and expected.std() > 0.1
    # Both compute in float32; the sums of five steps differ by its rounding.
    ours = finished_latent(experts, SIZE | ONE_SAMPLER, "experts/one")
    assert (ours - expected).abs().max() < 1e-4 * expected.abs().max()
