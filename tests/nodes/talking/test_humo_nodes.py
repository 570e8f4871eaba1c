"""HuMo through the nodes: the sound, the picture, and what native nodes give."""

from __future__ import annotations

import logging

import pytest
import torch
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.common.families import WAN_2_1
from wan_director.dit.branches.audio.humo import HumoBranch, HumoInput
from wan_director.dit.conditioning.audio.humo import moment_features, nothing_given
from wan_director.nodes.conditioning.entries import prompts_of, with_values
from wan_director.nodes.headless.core_nodes import CORE_NODES

from ..conftest import call, encode, load, load_vae, picture

pytestmark = pytest.mark.usefixtures("inference")
SIZE = {"width": 64, "height": 80, "frames": 9, "batch_size": 1, "fit": "crop"}
SETTINGS = {"seed": 3, "steps": 2, "cfg": 3.0, "shift": 8.0, "solver": "unipc", "schedule": "simple", "denoise": 1.0}
WIDTH = 8


@pytest.fixture
def prompts(inference):
    return encode("wan21_text.safetensors")


@pytest.fixture
def vae(inference):
    return load_vae("wan21_vae.safetensors")


@pytest.fixture
def heard(inference):
    """What whisper makes of a sound, in the form of the socket; the encoder itself is tested by itself."""
    generator = torch.Generator().manual_seed(3)
    layers = tuple(torch.randn(1, 1500, WIDTH, generator=generator) for _ in range(33))
    return {"encoded_audio": layers[-1], "encoded_audio_all_layers": layers, "audio_samples": 5000}


def prepared(prompts, vae, **given):
    return call("Humo", positive=prompts[0], negative=prompts[1], vae=vae, **{**SIZE, **given})


def sampled(made, **more) -> torch.Tensor:
    positive, negative, latent = made
    inputs = {"positive": positive, "negative": negative, "latent": latent, "model": load("humo.safetensors")}
    return call("Sampler", **{**inputs, **SETTINGS, **more})["samples"]


def steering_of(made, side: int = 0) -> tuple[HumoInput, torch.Tensor]:
    """What steers the model in a step, and what stands beside the latent."""
    name, latent = ("positive", "negative")[side], made[2]
    prompts = prompts_of(load("humo.safetensors"), made[side], latent, name, 5.0)
    inputs = prompts.inputs(0, torch.zeros_like(latent["samples"]), torch.zeros(len(latent["samples"])))
    (steering,) = inputs.steering
    return steering, inputs.image_channels


def core(name: str, **inputs):
    return CORE_NODES[name].execute(**inputs).args


def test_sound_and_picture_steer_the_video(prompts, vae, heard):
    plain = sampled(prepared(prompts, vae, audio=heard, reference_image=picture(1)))
    assert plain.shape == (1, 16, 3, 10, 8) and plain.isfinite().all()
    louder = {**heard, "encoded_audio_all_layers": tuple(3 * layer for layer in heard["encoded_audio_all_layers"])}
    for given in ({"audio": louder, "reference_image": picture(1)}, {"audio": heard, "reference_image": picture(2)}):
        other = sampled(prepared(prompts, vae, **given))
        assert (other - plain).abs().max() > 2e-6 * plain.abs().max()


def test_each_side_hears_and_sees_its_own(prompts, vae, heard):
    made = prepared(prompts, vae, audio=heard, reference_image=picture(1, 80, 64))
    (positive, beside), (negative, _) = (steering_of(made, side) for side in (0, 1))
    torch.testing.assert_close(positive.features, moment_features(heard["encoded_audio_all_layers"], 5000, 3))
    torch.testing.assert_close(positive.picture, WAN_2_1.normalize(vae.encode(picture(1, 80, 64))))
    assert not negative.features.any()
    torch.testing.assert_close(negative.picture, WAN_2_1.normalize(torch.zeros(1, 16, 1, 10, 8)))
    assert torch.equal(beside, nothing_given(made[2]["samples"]))


@pytest.mark.parametrize("shown", [True, False])
def test_comfyuis_node_prepares_the_same(prompts, vae, heard, shown):
    """Of a picture that has the size of the video already."""
    still = picture(1, 80, 64) if shown else None
    ours = prepared(prompts, vae, audio=heard, reference_image=still)
    theirs = core(
        "WanHuMoImageToVideo", positive=prompts[0], negative=prompts[1], vae=vae, width=64, height=80, length=9,
        batch_size=1, audio_encoder_output=heard, ref_image=still,
    )  # fmt: skip
    for side in (0, 1):
        (found, _), (expected, _) = steering_of(ours, side), steering_of(theirs, side)
        assert torch.equal(found.features, expected.features)
        torch.testing.assert_close(found.picture, expected.picture, rtol=0, atol=1e-5)


def test_a_silent_video_of_the_native_node_is_read(prompts, vae, heard):
    """It is silent for a latent frame more than there are."""
    made = prepared(prompts, vae, audio=heard)
    values = {"audio_embed": torch.zeros(1, 4, 8, 5, WIDTH)}
    found, _ = steering_of((with_values(made[0], values), *made[1:]))
    assert found.features.shape == (1, 3, 8, 5, WIDTH) and not found.features.any()
    loud = {"audio_embed": torch.ones(1, 4, 8, 5, WIDTH)}
    with pytest.raises(PairingError, match="prepared for 4 latent frames, but the video has 3"):
        steering_of((with_values(made[0], loud), *made[1:]))


def test_a_sound_that_ends_before_the_video_is_told(prompts, vae, heard, caplog):
    with caplog.at_level(logging.INFO):
        prepared(prompts, vae, audio=heard)  # 5,000 samples are 7 frames
    assert not caplog.text
    with caplog.at_level(logging.INFO):
        prepared(prompts, vae, audio=heard, frames=13)
    assert "The sound ends after 7 of 13 frames: the rest is silent." in caplog.text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"audio": 3}, "audio must be the features of a sound, got a number"),
        ({"audio": {"encoded_audio_all_layers": [torch.zeros(1, 9, 8)] * 25}}, "25 layers, and HuMo hears 33. Encode"),
        ({"frames": 10}, "1 \\+ 4k frames, got 10"),
        ({"fit": "bend"}, "The fit is one of crop, pad, stretch"),
    ],
)
def test_bad_input_gets_a_sentence(prompts, vae, heard, given, words):
    with pytest.raises(InvalidInputError, match=words):
        prepared(prompts, vae, **{"reference_image": picture(1), **given})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"audio_embed": None}, "The sound of the positive conditioning must be numbers of 5 dimensions, got nothing"),
        ({"audio_embed": torch.full((1, 3, 8, 5, 8), torch.nan)}, "finite numbers of 5 dimensions"),
        ({"reference_latents": 3}, "picture of who is seen in the positive conditioning must be a list"),
    ],
)
def test_values_of_another_node_that_are_none_get_a_sentence(prompts, vae, heard, values, words):
    made = prepared(prompts, vae, audio=heard)
    with pytest.raises(InvalidInputError, match=words):
        steering_of((with_values(made[0], values), *made[1:]))


def test_what_was_given_before_is_not_replaced_in_silence(prompts, vae, heard):
    made = prepared(prompts, vae, audio=heard)
    with pytest.raises(InvalidInputError, match="positive conditioning has a sound or a picture already"):
        prepared(made[:2], vae, reference_image=picture(1))
    with pytest.raises(InvalidInputError, match="negative conditioning has a sound or a picture already"):
        prepared((prompts[0], made[1]), vae, reference_image=picture(1))


def test_what_is_meant_for_another_model_is_refused(prompts, vae, heard):
    made = prepared(prompts, vae, audio=heard)
    with pytest.raises(
        InvalidInputError, match="carries .*, from .*Wan HuMo.*Load a Wan S2V, a HuMo or a Wan-Dancer model"
    ):
        prompts_of(load("wan21_t2v.safetensors"), made[0], made[2], "positive", 5.0)
    with pytest.raises(PairingError, match="is a HuMo model, and nothing is prepared for it. Connect Wan HuMo"):
        sampled((*prompts, made[2]))
    start = call("ImageToVideo", positive=prompts[0], negative=prompts[1], vae=vae, **SIZE, start_image=picture(1))
    with pytest.raises(PairingError, match="is a HuMo model and takes no start image .* reference of Wan HuMo"):
        sampled(start)


def test_windows_swap_and_a_batch_go_with_it(prompts, vae, heard):
    made = prepared(prompts, vae, audio=heard, reference_image=picture(1), batch_size=2, frames=17)
    whole = sampled(made)
    memory = call(
        "Memory", mode="manual", budget="leave free", gigabytes=1.0, blocks_to_swap=2, pinned_ram=0.0,
        text_encoder="auto", vae="auto", vae_strips=0, feed_forward_tokens=0,
    )  # fmt: skip
    torch.testing.assert_close(sampled(made, memory=memory), whole, rtol=0, atol=1e-5)
    windows = call(
        "Windows", model=load("humo.safetensors"), frames=9, overlap=4, schedule="static", blend="linear",
        noise="fresh", from_sigma=1.0, keep_first_frame=False, frame_before=False,
    )  # fmt: skip
    parts = sampled(made, model=windows)
    assert parts.shape == whole.shape and parts.isfinite().all() and not torch.equal(parts, whole)


def test_the_file_is_what_it_says(inference):
    spec = load("humo.safetensors").spec
    assert spec.config.branch(HumoBranch) == HumoBranch(WIDTH) and spec.start_image == "none"
    assert "whisper_large_v3_fp16.safetensors" in spec.goes_with


def test_the_vae_of_another_model_is_refused(prompts):
    with pytest.raises(InvalidInputError, match="HuMo works on latents of the Wan 2.1 VAE, .* is that of TI2V-5B"):
        prepared(prompts, load_vae("wan22_vae.safetensors"))
