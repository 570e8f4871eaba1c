"""The edit rate of Wan Keyframe: a noise mask for TI2V-5B, nothing at 0, refused elsewhere."""

from __future__ import annotations

import pytest
import torch
from wan_director.common.errors import InvalidInputError

from ..conftest import call, load, load_vae, picture

pytestmark = pytest.mark.usefixtures("inference")
SIZE = {"width": 64, "height": 64, "frames": 9, "batch_size": 1, "fit": "crop"}
SAMPLER = {"seed": 3, "steps": 3, "cfg": 1.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}


def prepared(vae: str = "wan22_vae.safetensors", text: str = "wan21_text.safetensors", **given):
    encoder = call("LoadTextEncoder", text_encoder_name=text, precision="auto", device="auto")
    positive, negative = call("TextEncode", text_encoder=encoder, positive="a red ball", negative="bad")
    return call("ImageToVideo", positive=positive, negative=negative, vae=load_vae(vae), **{**SIZE, **given})


def keyframe(rate: float, frame: int = 0):
    return call("Keyframe", image=picture(1, 64, 64), frame=frame, edit_rate=rate)


def sampled(prepared_: tuple) -> torch.Tensor:
    positive, negative, latent = prepared_
    model = load("ti2v.safetensors")
    return call("Sampler", model=model, positive=positive, negative=negative, latent=latent, **SAMPLER)["samples"]


def test_the_rate_is_the_noise_mask_of_the_frame():
    *_, latent = prepared(keyframes=keyframe(0.4))
    assert latent["noise_mask"][:, :, 0].eq(0.4).all()
    assert latent["noise_mask"][:, :, 1:].eq(1).all()


def test_four_frames_of_one_latent_frame_take_the_highest_of_their_rates():
    keyframes = ()
    for frame, rate in enumerate((0.0, 0.2, 0.6, 0.0, 0.0)):
        keyframes = call("Keyframe", image=picture(1, 64, 64), frame=frame, keyframes=keyframes, edit_rate=rate)
    *_, latent = prepared(keyframes=keyframes)
    assert torch.allclose(latent["noise_mask"].mean(dim=(0, 1, 3, 4)), torch.tensor([0.0, 0.6, 1.0]))


def test_at_0_the_frame_is_a_start_image_to_the_bit_and_at_1_it_is_not_given():
    start = sampled(prepared(start_image=picture(1, 64, 64)))
    kept, free = sampled(prepared(keyframes=keyframe(0.0))), sampled(prepared(keyframes=keyframe(1.0)))
    assert torch.equal(kept, start)
    assert (free - sampled(prepared())).abs().max() < 1e-5
    part = sampled(prepared(keyframes=keyframe(0.5)))
    distance = [(each[:, :, 0] - start[:, :, 0]).abs().mean() for each in (kept, part, free)]
    assert distance[0] == 0 < distance[1] < distance[2]


def test_models_with_one_time_for_all_frames_refuse_it():
    inputs = {"vae": "vae.safetensors", "text": "text.safetensors"}
    with pytest.raises(
        InvalidInputError, match=r"at frame 4 has the edit_rate 0.5.*Set edit_rate to 0, or use TI2V-5B"
    ):
        prepared(**inputs, keyframes=keyframe(0.5, 4))
    prepared(**inputs, keyframes=keyframe(0.0, 4))


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), "half"])
def test_no_rate_is_refused(rate):
    with pytest.raises(InvalidInputError, match="edit_rate"):
        keyframe(rate)
