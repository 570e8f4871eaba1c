"""Masks, ranges, combinations and batches: the same native nodes before ComfyUI's sampler and before ours."""

from __future__ import annotations

import pytest
import torch

from .conftest import finished_latent, node, save_random_dit

NAME = "wan21_masked.safetensors"
SETTINGS = {"seed": 1, "steps": 4, "cfg": 3.0}
TOLERANCE = 1e-5
"""Of the largest value: both compute in float32, in another order."""

PICTURES = {
    "picture": node("LoadImage", image="example.png"),
    "small": node("ImageScale", image=["picture", 0], upscale_method="area", width=64, height=64, crop="center"),
    "clip": node("RepeatImageBatch", image=["small", 0], amount=9),
    "encoded": node("VAEEncode", vae=["vae", 0], pixels=["clip", 0]),
    "empty": node("EmptyHunyuanLatentVideo", width=64, height=64, length=9, batch_size=1),
    "white": node("SolidMask", value=1.0, width=64, height=64),
    "black": node("SolidMask", value=0.0, width=24, height=64),
    "half": node("MaskComposite", destination=["white", 0], source=["black", 0], x=0, y=0, operation="multiply"),
    "other_half": node("InvertMask", mask=["half", 0]),
    "grey": node("ImageToMask", image=["clip", 0], channel="red"),
    "other": node("CLIPTextEncode", clip=["text", 0], text="a dog sleeps"),
}


def ranged(name: str, start: float, end: float) -> dict:
    return node("ConditioningSetTimestepRange", conditioning=[name, 0], start=start, end=end)


def masked(name: str, mask: str, strength: float) -> dict:
    return node(
        "ConditioningSetMask", conditioning=[name, 0], mask=[mask, 0], strength=strength, set_cond_area="default"
    )


def combined(first: str, second: str) -> dict:
    return node("ConditioningCombine", conditioning_1=[first, 0], conditioning_2=[second, 0])


CASES = {
    "mask": {"latent": node("SetLatentNoiseMask", samples=["encoded", 0], mask=["half", 0])},
    "a_grey_mask_for_each_frame": {"latent": node("SetLatentNoiseMask", samples=["encoded", 0], mask=["grey", 0])},
    "mask_at_denoise": {
        "latent": node("SetLatentNoiseMask", samples=["encoded", 0], mask=["half", 0]), "denoise": 0.6,
    },
    "batch": {
        "two": node("RepeatLatentBatch", samples=["empty", 0], amount=3),
        "latent": node("LatentFromBatch", samples=["two", 0], batch_index=2, length=1),
    },
    "ranges": {
        "early": ranged("positive", 0.0, 0.5), "late": ranged("other", 0.5, 1.0), "prompt": combined("early", "late"),
    },
    "masks": {
        "left": masked("positive", "half", 0.7), "right": masked("other", "other_half", 1.0),
        "prompt": combined("left", "right"),
    },
    "concat": {"prompt": node("ConditioningConcat", conditioning_to=["positive", 0], conditioning_from=["other", 0])},
    "average": {
        "prompt": node(
            "ConditioningAverage", conditioning_to=["positive", 0], conditioning_from=["other", 0],
            conditioning_to_strength=0.4,
        ),
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def server(odd_models):
    """The server with a random text-to-video model."""
    save_random_dit(odd_models.folder / "models" / "diffusion_models" / NAME, seed=2)
    return odd_models


def latent(server, case: str, sampler: str) -> torch.Tensor:
    nodes = dict(CASES[case])
    denoise = nodes.pop("denoise", 1.0)
    wires = {
        "model": ["model", 0],
        "positive": ["prompt" if "prompt" in nodes else "positive", 0],
        "negative": ["negative", 0],
    }
    source = ["latent" if "latent" in nodes else "empty", 0]
    if sampler == "native":
        own = {
            "unet": node("UNETLoader", unet_name=NAME, weight_dtype="default"),
            "model": node("ModelSamplingSD3", model=["unet", 0], shift=5.0),
            "sampler": node(
                "KSampler", **wires, **SETTINGS, denoise=denoise, latent_image=source, sampler_name="euler",
                scheduler="simple",
            ),
        }  # fmt: skip
    else:
        own = {
            "model": node("WanDirectorLoadModel", model_name=NAME, precision="fp32", attention="sdpa"),
            "sampler": node(
                "WanDirectorSampler", **wires, **SETTINGS, denoise=denoise, latent=source, shift=5.0, solver="euler",
                schedule="simple",
            ),
        }  # fmt: skip
    return finished_latent(server, {**PICTURES, **nodes, **own}, f"masks/{case}_{sampler}")


@pytest.mark.parametrize("case", CASES)
def test_native_nodes_steer_both_samplers_alike(server, case):
    expected, ours = latent(server, case, "native"), latent(server, case, "ours")
    assert expected.std() > 0.1
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE * float(expected.abs().max()))
