"""Values that other packs, linked widgets and hand-written graphs may bring: each is refused in a sentence."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch
import wan_director
from wan_director.common.errors import InvalidInputError, PairingError, WanDirectorError
from wan_director.engine.memory import AUTOMATIC

from .conftest import call, encode, load, load_vae, picture

pytestmark = pytest.mark.usefixtures("inference")
SAMPLER = {"seed": 3, "steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}
SIZE = {"width": 64, "height": 64, "frames": 9, "batch_size": 1}
LATENT = {"samples": torch.zeros(1, 16, 3, 6, 8)}


def sample(**changes):
    positive, negative = encode("text.safetensors")
    inputs = {"model": load("t2v.safetensors"), "positive": positive, "negative": negative, "latent": LATENT}
    return call("Sampler", **{**inputs, **SAMPLER, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 16_000_000}, "width must be at most 8192 pixels, got 16000000. Make the video smaller"),
        ({"height": 10**30}, "height must be at most 8192 pixels"),
        ({"frames": 4 * 10**18 + 1}, "length must be at most 8193 frames.*in parts"),
        ({"width": 1e308}, r"width must be a whole number of pixels, got 1e\+308"),
        ({"width": 832.0}, "width must be a whole number"),
        ({"frames": "9"}, "length must be a whole number of frames, got '9'"),
        ({"frames": True}, "length must be a whole number"),
        ({"frames": -3}, r"A clip has 1 \+ 4k frames, got -3"),
        ({"width": -64}, "width must be at least 32"),
        ({"batch_size": 65}, "batch_size must be at most 64 videos"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"width": 8192, "height": 8192, "frames": 8193}, "32.0 times what any model could sample"),
    ],
)
def test_sizes_beyond_reason_are_refused(changes, words):
    vae, (positive, negative) = load_vae("vae.safetensors"), encode("text.safetensors")
    size = {**SIZE, **changes}
    with pytest.raises(InvalidInputError, match=words):
        call("EmptyLatent", vae=vae, **size)
    with pytest.raises(InvalidInputError, match=words):
        call("ImageToVideo", positive=positive, negative=negative, vae=vae, fit="crop", **size)
    with pytest.raises(InvalidInputError, match=words):
        call("Vace", positive=positive, negative=negative, vae=vae, strength=1.0, **size)


@pytest.mark.parametrize("size", [(16_000_000, 64, 9), (64, 64, 4 * 10**18 + 1), (1e308, 64, 9), (64, "64", 9)])
def test_sizes_beyond_reason_are_refused_before_a_run(size):
    for name in ("EmptyLatent", "ImageToVideo", "Vace"):
        with pytest.raises(InvalidInputError, match="must be"):
            wan_director.NODE_CLASS_MAPPINGS[f"WanDirector{name}"].validate_inputs(*size)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": SimpleNamespace()}, "model must be the model of Load Wan Model, got an object of the type Simple"),
        ({"latent": [LATENT]}, "A latent must be a dict with 'samples', got a list"),
        ({"latent": {}}, "got a dict without them"),
        ({"latent": {"samples": [1.0]}}, "A video latent must be a tensor of 5 dimensions, got a list"),
        ({"latent": {"samples": torch.zeros(1, 16, 0, 6, 8)}}, r"5 dimensions .* got \[1, 16, 0, 6, 8\]"),
        ({"latent": {"samples": torch.zeros(1, 16, 3, 6, 8).to_sparse()}}, "plain numbers, got a sparse"),
        ({"latent": {"samples": torch.zeros(1, 16, 3, 6, 8, dtype=torch.cfloat)}}, "got a complex tensor"),
        ({"latent": {"samples": torch.full((1, 16, 3, 6, 8), float("nan"))}}, "latent holds .* NaN"),
        ({"latent": {**LATENT, "downscale_ratio_spacial": 16}}, "made for a model with 16 pixels to a latent pixel"),
        ({"sigmas": [1.0, 0.0]}, "sigmas must be a list of noise levels, got a list. Connect BasicScheduler"),
        ({"sigmas": torch.zeros(2, 3)}, r"list of numbers, got a tensor of shape \[2, 3\]"),
        ({"sigmas": torch.tensor(1.0)}, r"got a tensor of shape \[\]"),
        ({"sigmas": torch.tensor([1.0, float("nan"), 0.0])}, "between 1 and 0"),
        ({"sigmas": torch.tensor([0.5, 0.7, 0.0])}, "must fall from step to step"),
        ({"sigmas": torch.tensor([14.6, 7.0, 0.0])}, "between 1 and 0"),
        ({"cfg": "high"}, "cfg must be a number, got a text"),
        ({"shift": None}, "shift must be a number, got nothing"),
        ({"steps": 2.5}, "Steps must be a whole number"),
        ({"steps": 0}, "Steps must be a whole number from 1 to 1000, got 0"),
        ({"denoise": float("nan")}, "Denoise must be from 0"),
        ({"memory": 3}, "memory must be the settings of Wan Memory, got a number"),
    ],
)
def test_the_sampler_refuses_what_is_not_for_its_sockets(changes, words):
    with pytest.raises(WanDirectorError, match=words):
        sample(**changes)


def test_the_ratio_of_an_empty_latent_is_taken_away_as_native_samplers_do():
    sampled = sample(latent={**LATENT, "downscale_ratio_spacial": 8, "another": 1})
    assert "downscale_ratio_spacial" not in sampled and sampled["another"] == 1


@pytest.mark.parametrize(
    ("vae", "words"),
    [
        (None, "VAE must be one for Wan, got nothing. Connect Load Wan VAE"),
        (SimpleNamespace(latent_channels=4, latent_dim=2), "4 channels for another kind of model"),
        (SimpleNamespace(latent_channels=16, latent_dim=2), "16 channels for another kind of model"),
        (SimpleNamespace(latent_channels=128, latent_dim=3), "Load wan_2.1_vae.safetensors, or wan2.2_vae"),
    ],
)
def test_what_is_no_vae_of_wan_is_refused(vae, words):
    with pytest.raises((InvalidInputError, PairingError), match=words):
        call("EmptyLatent", vae=vae, **SIZE)
    with pytest.raises((InvalidInputError, PairingError), match=words):
        call("Encode", vae=vae, images=picture(9))
    with pytest.raises((InvalidInputError, PairingError), match=words):
        call("Decode", vae=vae, latent=LATENT)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("LoadModel", {"model_name": "t2v.safetensors", "attention": "auto"}),
        ("LoadVAE", {"vae_name": "vae.safetensors"}),
        ("LoadTextEncoder", {"text_encoder_name": "text.safetensors", "device": "auto"}),
    ],
)
def test_a_precision_that_there_is_not_is_refused(name, inputs):
    with pytest.raises(InvalidInputError, match="The precision is one of auto, bf16, fp16, fp32, .*, got 'int3'"):
        call(name, precision="int3", **inputs)


def test_a_fit_that_there_is_not_is_refused_and_does_not_stretch():
    vae, (positive, negative) = load_vae("vae.safetensors"), encode("text.safetensors")
    with pytest.raises(InvalidInputError, match="The fit is one of crop, pad, stretch, got 'zoom'"):
        call("ImageToVideo", positive=positive, negative=negative, vae=vae, fit="zoom", **SIZE)


def test_pictures_and_masks_of_other_kinds_are_refused():
    vae, (positive, negative) = load_vae("vae.safetensors"), encode("text.safetensors")
    size = {"positive": positive, "negative": negative, "vae": vae, "width": 64, "height": 48, "frames": 9}
    for wrong in ([picture(1)], "a file", None):
        with pytest.raises(InvalidInputError, match="images must be pictures"):
            call("Encode", vae=vae, images=wrong)
    with pytest.raises(InvalidInputError, match="control_masks must be masks"):
        call("Vace", **size, batch_size=1, strength=1.0, control_video=picture(9), control_masks=[0, 1])
    with pytest.raises(InvalidInputError, match="keyframe 0 must be pictures"):
        call("Keyframe", image=[picture(1)], frame=0)
    with pytest.raises(InvalidInputError, match="text encoder must be one with UMT5, got a number"):
        call("TextEncode", text_encoder=3, positive="", negative="")
    with pytest.raises(InvalidInputError, match="CLIP vision must be an encoder, got nothing"):
        call("ClipVisionEncode", clip_vision=None, image=picture(1))
    with pytest.raises(InvalidInputError, match="CLIP vision output must have finite features"):
        call("ImageToVideo", **size, batch_size=1, fit="crop", start_image=picture(1), clip_vision_start=3)


def test_masks_beyond_0_to_1_are_cut_and_the_log_says_so(caplog):
    vae, (positive, negative) = load_vae("vae.safetensors"), encode("text.safetensors")
    inputs = {"positive": positive, "negative": negative, "vae": vae, "width": 64, "height": 48, "frames": 9}
    with caplog.at_level(logging.INFO, "wan_director"):
        wide = call("Vace", **inputs, batch_size=1, strength=1.0, control_masks=torch.full((1, 48, 64), 255.0))
    assert "control_masks has values from 255 to 255; they are cut to 0..1" in caplog.text
    assert wide[0][0][1]["vace_mask"][0].max() == 1


def test_memory_settings_for_a_native_model_are_not_dropped_in_silence(caplog):
    with caplog.at_level(logging.WARNING, "wan_director"), pytest.raises(InvalidInputError):
        call("Encode", vae=SimpleNamespace(), images=picture(9), memory=AUTOMATIC)
    assert "Wan Memory has no effect on models that ComfyUI loaded" in caplog.text
