"""Phantom through the nodes: pictures of subjects behind the video, and guidance by them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.common.families import WAN_2_1
from wan_director.nodes.conditioning.entries import prompts_of
from wan_director.nodes.conditioning.families.subjects import BLANK

from .conftest import call, encode, load, load_vae, picture
from .headless.conftest import core

pytestmark = pytest.mark.usefixtures("inference", "phantom")
SIZE = {"width": 64, "height": 48, "frames": 9, "batch_size": 1, "fit": "pad"}
SETTINGS = {"seed": 3, "steps": 2, "cfg": 7.5, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}
GUIDANCE = {
    "formula": "phantom", "cfg_course": "", "cfg_start": 0.0, "cfg_end": 1.0, "zero_steps": 0, "apg_parallel": 0.0,
    "apg_longest": 0.0, "skip_blocks": "", "skip_scale": 2.0, "skip_start": 0.0, "skip_end": 0.5, "nag_scale": 1.0,
    "nag_alpha": 0.25, "nag_tau": 2.5, "nag_end": 1.0, "staged_references": 5.0,
}  # fmt: skip
NATIVE = {"width": 64, "height": 48, "length": 9, "batch_size": 1}


@pytest.fixture(scope="module")
def phantom(models: Path) -> None:
    folder = models / "diffusion_models"
    shutil.copy(folder / "wan21_t2v.safetensors", folder / "Phantom-Wan-tiny.safetensors")


@pytest.fixture
def prompts(inference):
    return encode("wan21_text.safetensors")


def vae(name: str = "wan21_vae"):
    return load_vae(f"{name}.safetensors")


def prepared(prompts, encoder=None, **given):
    return call("Phantom", positive=prompts[0], negative=prompts[1], vae=encoder or vae(), **{**SIZE, **given})


def guided(model, **more):
    return call("Guidance", model=model, **{**GUIDANCE, **more})


def sampled(made, model=None, **more):
    positive, negative, latent = made[:3]
    model = model or guided(load("Phantom-Wan-tiny.safetensors"))
    inputs = {"positive": positive, "negative": negative, "latent": latent, "model": model}
    return call("Sampler", **{**inputs, **SETTINGS, **more})["samples"]


def clips_of(made, side: int = 0):
    prompt = prompts_of(load("Phantom-Wan-tiny.safetensors"), made[side], made[2], "positive", 5.0)
    return prompt.parts[0].conditioning.in_context


def test_pictures_stand_behind_the_video_whole_and_on_white(prompts):
    encoder, wide, tall = vae(), picture(2, 24, 64), picture(1, 48, 24)
    made = prepared(prompts, encoder, reference_image_1=wide, reference_image_3=tall)
    clips = clips_of(made)
    assert [(clip.behind, clip.is_source) for clip in clips] == [(n, False) for n in range(3)]
    padded = F.pad(wide[1], (0, 0, 0, 0, 12, 12), value=1.0)[None]
    torch.testing.assert_close(clips[1].latent, WAN_2_1.normalize(encoder.encode(padded)))
    padded = F.pad(tall[0], (0, 0, 20, 20), value=1.0)[None]
    torch.testing.assert_close(clips[2].latent, WAN_2_1.normalize(encoder.encode(padded)))
    same = clips_of(made, 1)
    assert all(torch.equal(one.latent, other.latent) for one, other in zip(clips, same))
    assert made[2]["samples"].shape == (1, 16, 3, 6, 8)


def test_each_picture_and_both_scales_count(prompts):
    given = {"reference_image_1": picture(1), "reference_image_2": picture(1, 30, 30)}
    plain = sampled(prepared(prompts, **given))
    assert plain.shape == (1, 16, 3, 6, 8) and plain.isfinite().all()
    model = load("Phantom-Wan-tiny.safetensors")
    others = {
        "one of two": sampled(prepared(prompts, reference_image_1=picture(1))),
        "turned": sampled(prepared(prompts, **{**given, "reference_image_2": picture(1, 30, 30).flip(2)})),
        "cfg": sampled(prepared(prompts, **given), cfg=4.0),
        "pictures": sampled(prepared(prompts, **given), guided(model, staged_references=2.0)),
        "plain": sampled(prepared(prompts, **given), model),
    }
    for name, other in others.items():
        assert (other - plain).abs().max() > 1e-4 * plain.abs().max(), name
    one = sampled(prepared(prompts, **given), guided(model, staged_references=1.0))
    assert torch.equal(one, others["plain"])


def test_a_batch_and_windows_share_the_pictures(prompts):
    made = prepared(prompts, batch_size=2, frames=17, reference_image_1=picture(1))
    windows = call(
        "Windows", model=guided(load("Phantom-Wan-tiny.safetensors")), frames=9, overlap=4, schedule="static",
        blend="linear", noise="fresh", from_sigma=1.0, keep_first_frame=False, frame_before=False,
    )  # fmt: skip
    assert sampled(made, windows).shape == (2, 16, 5, 6, 8)


def test_native_prompts_are_led_as_ours(prompts):
    """Dual CFG Guider with the three prompts of WanPhantomSubjectToVideo is the formula phantom."""
    encoder, shown = vae(), picture(2)
    *sides, latent = core(
        "WanPhantomSubjectToVideo", positive=prompts[0], negative=prompts[1], vae=encoder, **NATIVE, images=shown
    )
    ours = prepared(prompts, encoder, reference_image_1=shown)
    for native, own in zip(sides, (ours[0], ours[1], ours[3])):
        assert torch.equal(native[0][1]["time_dim_concat"], own[0][1]["time_dim_concat"])
    assert WAN_2_1.normalize(sides[2][0][1]["time_dim_concat"]).abs().max() < 1e-6 and sides[2][0][1][BLANK]
    model = core("UNETLoader", unet_name="Phantom-Wan-tiny.safetensors", weight_dtype="default")
    levels = core("ManualSigmas", sigmas="1.0, 0.8, 0.0")
    run = {"sampler": core("KSamplerSelect", sampler_name="euler"), "sigmas": levels, "latent_image": latent}
    results = {}
    for style, cfg in (("regular", 7.5), ("nested", 1.5)):
        guider = core(
            "DualCFGGuider", model=model, cond1=sides[0], cond2=sides[1], negative=sides[2], cfg_conds=cfg,
            cfg_cond2_negative=5.0, style=style,
        )  # fmt: skip
        results[style] = core("SamplerCustomAdvanced", noise=core("RandomNoise", noise_seed=3), guider=guider, **run)[0]
    expected = sampled(ours, sigmas=levels)
    torch.testing.assert_close(results["regular"]["samples"], expected)
    torch.testing.assert_close(results["nested"]["samples"], expected)  # 5 x 1.5 for the words
    with pytest.raises(InvalidInputError, match="with the prompts of WanPhantomSubjectToVideo alone"):
        core(
            "DualCFGGuider", model=model, cond1=sides[0], cond2=sides[1], negative=sides[1], cfg_conds=7.5,
            cfg_cond2_negative=5.0, style="regular",
        )  # fmt: skip


def test_what_has_no_effect_is_told(prompts, caplog):
    made, model = prepared(prompts, reference_image_1=picture(1)), load("Phantom-Wan-tiny.safetensors")
    with caplog.at_level(logging.WARNING, "wan_director"):
        sampled(made, guided(model, formula="staged", staged_video=2.0, staged_references=3.0))
        assert "the pictures are those of Phantom. Choose the formula phantom" in caplog.text
        caplog.clear()
        guided(model, staged_references=4.0)
        assert "does nothing here" not in caplog.text
        sampled((*prompts, made[2]))
        assert "there is no source video and no reference in the negative prompt" in caplog.text
        caplog.clear()
        sampled(made, guided(load("wan21_t2v.safetensors")))
        assert "gets pictures of subjects, but is not Phantom by its name" in caplog.text


def test_more_pictures_than_in_the_training_are_told(prompts, caplog):
    with caplog.at_level(logging.INFO, "wan_director"):
        prepared(prompts, reference_image_1=picture(5))
    assert "5 pictures of subjects: Phantom was trained with up to 4" in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "No picture is given. Connect a reference_image"),
        ({"reference_image_2": torch.zeros(3)}, "reference_image_2 must be pictures"),
        ({"reference_image_1": "me"}, "reference_image_1 must be pictures .* got a text"),
        ({"reference_image_1": picture(1), "frames": 10}, r"1 \+ 4k frames, got 10"),
    ],
)
def test_what_cannot_be_shown_is_refused(changes, words, prompts):
    with pytest.raises(InvalidInputError, match=words):
        prepared(prompts, **changes)


def test_pictures_go_with_their_model_and_size(prompts):
    made = prepared(prompts, reference_image_1=picture(1))
    with pytest.raises(InvalidInputError, match="pictures of subjects for Phantom .*Load a Phantom model"):
        sampled(made, load("wan21_i2v.safetensors"))
    with pytest.raises(InvalidInputError, match="this VAE is that of TI2V-5B"):
        prepared(prompts, vae("wan22_vae"), height=64, reference_image_1=picture(1))
    with pytest.raises(InvalidInputError, match="has pictures of subjects already"):
        prepared((made[0], made[1]), reference_image_1=picture(1))
    larger = call("EmptyLatent", vae=vae(), width=96, height=48, frames=9, batch_size=1)
    with pytest.raises(
        PairingError, match="were prepared for a latent of .*8 x 6, but the latent to sample has .*12 x 6"
    ):
        sampled((made[0], made[1], larger))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("left", "pictures of subjects of the positive conditioning must be a latent"),
        (torch.zeros(16, 1, 6, 8), "must be a latent of 5 dimensions and finite numbers"),
        (torch.zeros(1, 48, 1, 6, 8), "A picture of a subject for Phantom is 1 latents of 48 channels"),
        (torch.full((1, 16, 1, 6, 8), float("nan")), "finite numbers"),
    ],
)
def test_native_values_that_cannot_be_are_refused(value, words, prompts):
    positive, negative, latent, _ = prepared(prompts, reference_image_1=picture(1))
    changed = [[[text, {**entry, "time_dim_concat": value}] for text, entry in side] for side in (positive, negative)]
    with pytest.raises((InvalidInputError, PairingError), match=words):
        sampled((*changed, latent))
