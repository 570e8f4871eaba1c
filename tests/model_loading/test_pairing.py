"""Files and inputs that do not belong together are refused in a sentence with both names and the right file."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from wan_director.common.errors import PairingError
from wan_director.common.families import TINY, WAN_2_1, WAN_2_2_5B
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.vace import VaceBranch
from wan_director.dit.presets import PRESETS
from wan_director.model_loading import kinds
from wan_director.model_loading.formats.plain import PLAIN
from wan_director.model_loading.pairing import check_experts, check_inputs, check_pair
from wan_director.model_loading.spec import AnyKind, ModelSpec
from wan_director.nodes.files.places import sentence
from wan_director.text_encoder.clip_vision import CLIP_VIT_H
from wan_director.text_encoder.umt5 import UMT5_XXL
from wan_director.vae3d.config import WAN_2_1_VAE, WAN_2_2_VAE


def _spec(kind: AnyKind, config: object, name: str, title: str, **changes: object) -> ModelSpec:
    values = {
        "path": Path("models") / name,
        "kind": kind,
        "family": WAN_2_1,
        "preset": None,
        "title": title,
        "naming": "official",
        "prefix": "",
        "weight_format": PLAIN,
        "file_dtype": "BF16",
        "config": config,
        "parameters": 1,
        "size_bytes": 2,
    }
    return ModelSpec(**{**values, **changes})


T2V = _spec(kinds.DIT, PRESETS["t2v-1.3B"], "t2v.safetensors", "Wan 2.1 T2V 1.3B")
I2V = _spec(kinds.DIT, PRESETS["i2v-14B"], "i2v.safetensors", "Wan 2.1 I2V 14B", start_image="required")
TINY_I2V = replace(
    I2V,
    family=TINY,
    config=replace(PRESETS["i2v-14B"], text_dim=128, branches=(ClipBranch(64),)),
    start_image="optional",
)
VAE = _spec(kinds.VAE, WAN_2_1_VAE, "vae.safetensors", "the Wan 2.1 VAE")
TEXT = _spec(kinds.TEXT_ENCODER, UMT5_XXL, "t5.safetensors", "UMT5-XXL")
CLIP = _spec(kinds.CLIP_VISION, CLIP_VIT_H, "clip.safetensors", "CLIP ViT-H")
TI2V = _spec(
    kinds.DIT, PRESETS["ti2v-5B"], "ti2v.safetensors", "Wan 2.2 TI2V 5B", family=WAN_2_2_5B, start_image="optional"
)
EXPERT = _spec(
    kinds.DIT, PRESETS["i2v-A14B"], "high.safetensors", "one expert of Wan 2.2 I2V A14B", start_image="required"
)
VACE = _spec(kinds.DIT, PRESETS["vace-14B"], "vace.safetensors", "Wan 2.1 VACE 14B")
T2V_14B = _spec(kinds.DIT, PRESETS["t2v-14B"], "t2v_14B.safetensors", "Wan 2.1 T2V 14B")
MODULE = _spec(kinds.VACE_MODULE, replace(PRESETS["vace-14B"], layers=8), "module.safetensors", "the VACE module 14B")
VAE_2_2 = _spec(kinds.VAE, WAN_2_2_VAE, "vae_2_2.safetensors", "the Wan 2.2 VAE", family=WAN_2_2_5B)
VAE_RULE = "of the Wan 2.2 models only TI2V-5B uses the Wan 2.2 VAE, the 14B ones use that of Wan 2.1"
RIGHT = {"latent_channels": 16, "text_width": 4096, "has_image": False}


@pytest.mark.parametrize(
    ("model", "partners"),
    [
        (T2V, (VAE, TEXT)),
        (I2V, (VAE, TEXT, CLIP)),
        (TI2V, (VAE_2_2, TEXT)),
        (EXPERT, (VAE, TEXT)),
        (VACE, (VAE, TEXT)),
        (T2V_14B, (MODULE,)),
    ],
)
def test_files_of_one_model_belong_together(model: ModelSpec, partners: tuple[ModelSpec, ...]) -> None:
    for partner in partners:
        check_pair(model, partner)


@pytest.mark.parametrize(
    ("model", "partner", "message"),
    [
        (
            T2V,
            replace(VAE, config=replace(WAN_2_1_VAE, latent_channels=48)),
            "vae.safetensors makes latents of 48 channels, but t2v.safetensors (Wan 2.1 T2V 1.3B) works on 16. "
            "Use wan_2.1_vae.safetensors.",
        ),
        (
            T2V,
            replace(VAE, family=TINY),
            "vae.safetensors belongs to the tiny demo model, but t2v.safetensors to Wan 2.1. "
            "Use wan_2.1_vae.safetensors.",
        ),
        (
            T2V,
            replace(TEXT, config=replace(UMT5_XXL, dim=128), family=TINY),
            "t5.safetensors (UMT5-XXL) gives text embeddings of width 128, but t2v.safetensors (Wan 2.1 T2V 1.3B) "
            "needs width 4096 of Wan 2.1. Use umt5_xxl_fp16.safetensors.",
        ),
        (
            T2V,
            CLIP,
            "t2v.safetensors (Wan 2.1 T2V 1.3B) takes no CLIP vision features, but clip.safetensors gives some. Remove "
            "the CLIP vision input: only Wan 2.1 image-to-video models use it.",
        ),
        (
            I2V,
            replace(CLIP, config=replace(CLIP_VIT_H, dim=1024)),
            "The CLIP vision features of clip.safetensors have the width 1024, but i2v.safetensors (Wan 2.1 I2V 14B) "
            "needs 1280. Encode the image with clip_vision_h.safetensors.",
        ),
        (
            EXPERT,
            VAE_2_2,
            "vae_2_2.safetensors makes latents of 48 channels, but high.safetensors (one expert of Wan 2.2 I2V A14B) "
            f"works on 16. Use wan_2.1_vae.safetensors: {VAE_RULE}.",
        ),
        (
            TI2V,
            VAE,
            "vae.safetensors makes latents of 16 channels, but ti2v.safetensors (Wan 2.2 TI2V 5B) works on 48. "
            f"Use wan2.2_vae.safetensors: {VAE_RULE}.",
        ),
        (
            EXPERT,
            CLIP,
            "high.safetensors (one expert of Wan 2.2 I2V A14B) takes no CLIP vision features, but clip.safetensors "
            "gives some. Remove the CLIP vision input: only Wan 2.1 image-to-video models use it.",
        ),
        (
            T2V,
            MODULE,
            "module.safetensors has VACE blocks of width 5120, but t2v.safetensors (Wan 2.1 T2V 1.3B) has 30 blocks of "
            "width 1536. Use Wan2_1-VACE_module_1_3B_bf16.safetensors.",
        ),
        (
            VACE,
            MODULE,
            "vace.safetensors (Wan 2.1 VACE 14B) has VACE blocks of its own and takes no module. Remove "
            "module.safetensors, or choose a text-to-video model.",
        ),
    ],
    ids=[
        "vae channels", "vae family", "text width", "clip on t2v", "clip width", "2.2 VAE on 14B", "2.1 VAE on 5B",
        "clip on 2.2 i2v", "module on 1.3B", "module on vace",
    ],
)  # fmt: skip
def test_wrong_partners_are_refused(model: ModelSpec, partner: ModelSpec, message: str) -> None:
    with pytest.raises(PairingError) as error:
        check_pair(model, partner)
    assert str(error.value) == message


def test_right_inputs_pass() -> None:
    check_inputs(T2V, **RIGHT)
    check_inputs(I2V, **{**RIGHT, "has_image": True}, steering={ClipBranch: 1280})
    check_inputs(TI2V, **{**RIGHT, "latent_channels": 48})
    check_inputs(VACE, **RIGHT, steering={VaceBranch: None})
    for has_image in (False, True):
        for steering in ({}, {ClipBranch: 64}):
            check_inputs(TINY_I2V, latent_channels=16, text_width=128, has_image=has_image, steering=steering)


@pytest.mark.parametrize(
    ("model", "changes", "says"),
    [
        (
            T2V,
            {"latent_channels": 48},
            "The latent has 48 channels, but t2v.safetensors",
        ),
        (T2V, {"text_width": 128}, "The text embedding has the width 128, but t2v.safetensors"),
        (T2V, {"has_image": True}, "is a text-to-video model and cannot take a start image. Choose an image-to-video"),
        (I2V, {}, "is an image-to-video model and needs a start image. Connect Wan Image To Video"),
        (T2V, {"steering": {ClipBranch: 1280}}, "takes no CLIP vision features. Remove the CLIP vision input"),
        (
            T2V,
            {"steering": {VaceBranch: None}},
            "has no VACE blocks and cannot follow a control video. Choose a VACE model such as",
        ),
        (I2V, {"has_image": True, "latent_channels": 48}, "works on 16. Make it with wan_2.1_vae.safetensors."),
        (TI2V, {"latent_channels": 48, "has_image": True}, "takes its start image inside the latent"),
        (
            I2V,
            {"has_image": True, "steering": {ClipBranch: 64}},
            "The CLIP vision features have the width 64, but i2v.safetensors",
        ),
    ],
)
def test_wrong_inputs_are_refused(model: ModelSpec, changes: dict, says: str) -> None:
    with pytest.raises(PairingError) as error:
        check_inputs(model, **{**RIGHT, **changes})
    assert says in sentence(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_clip_image_is_told_but_allowed(caplog) -> None:
    with caplog.at_level(logging.WARNING, "wan_director"):
        check_inputs(I2V, **{**RIGHT, "has_image": True})
    assert "without them results differ" in caplog.text


@pytest.mark.parametrize(
    ("model", "channels", "module"),
    [(T2V_14B, 16, "VACE_module_14B"), (T2V, 16, "VACE_module_1_3B"), (TI2V, 48, None), (I2V, 16, None)],
)
def test_a_vace_module_is_named_only_where_it_goes_with_the_model(model: ModelSpec, channels: int, module) -> None:
    """An image-to-video model is told of VACE, not that it lacks a start image."""
    with pytest.raises(PairingError, match="has no VACE blocks and cannot follow a control video") as error:
        check_inputs(model, **{**RIGHT, "latent_channels": channels}, steering={VaceBranch: None})
    assert ("VACE module" in str(error.value)) == (module is not None)
    assert module is None or module in str(error.value)


PAIRS = [
    ("wan2.2_t2v_high_noise_14B_fp16.safetensors", "wan2.2_t2v_low_noise_14B_fp16.safetensors"),
    ("HighNoise/Wan2.2-T2V-A14B-HighNoise-Q4_K_M.gguf", "LowNoise/Wan2.2-T2V-A14B-LowNoise-Q4_K_M.gguf"),
    ("Wan2_2-I2V-A14B-HIGH_fp8_e4m3fn_scaled_KJ.safetensors", "Wan2_2-I2V-A14B-LOW_fp8_e5m2_scaled_KJ.safetensors"),
    ("wan2.2_i2v_A14b_high_noise_int8_lightx2v_4step.safetensors", "wan2.2_i2v_A14b_low_noise_lightx2v.safetensors"),
    ("high_noise_model/diffusion_pytorch_model.safetensors", "low_noise_model/diffusion_pytorch_model.safetensors"),
    ("lownoise_tests/my high noise.safetensors", "high_noise_tests/my low noise.safetensors"),
    ("t2vHighNoise.gguf", "t2vLowNoise.gguf"),
    ("WAN22-HIGH-NOISE.safetensors", "WAN22_LOW_NOISE.safetensors"),
]


@pytest.mark.parametrize("names", PAIRS)
def test_experts_are_told_apart_by_their_published_names(names: tuple[str, str]) -> None:
    high, low = (replace(T2V_14B, path=Path("models") / name) for name in names)
    check_experts(high, low)
    with pytest.raises(PairingError) as refused:
        check_experts(low, high)
    assert str(refused.value) == (
        f"{low.path.name} is the low-noise expert by its name, but it is connected as high_noise. Connect it as "
        "low_noise, and the file of the high-noise expert here."
    )
    with pytest.raises(PairingError, match="is the high-noise expert by its name, but it is connected as low_noise"):
        check_experts(high, high)


@pytest.mark.parametrize(
    "name",
    ["mine.gguf", "slow_noise.gguf", "SLOW_NOISE.gguf", "high_low_noise_high_noise.gguf", "LOW VRAM/t2v_LOW_VRAM.gguf"],
)
def test_names_that_say_nothing_are_no_obstacle(name: str) -> None:
    model = replace(T2V_14B, path=Path("models") / name)
    check_experts(model, model)


@pytest.mark.parametrize("other", [T2V, EXPERT, TINY_I2V, TI2V])
def test_two_models_of_other_form_are_no_experts(other: ModelSpec) -> None:
    with pytest.raises(PairingError, match="t2v_14B.safetensors .* are not two experts of one model. Use the"):
        check_experts(T2V_14B, other)


def test_a_vace_module_goes_with_both_experts_or_none() -> None:
    with pytest.raises(PairingError, match="Only one has VACE: choose the same vace_module in both"):
        check_experts(T2V_14B, VACE)
    check_experts(VACE, VACE)
