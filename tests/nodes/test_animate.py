"""Wan-Animate through the nodes, on a tiny random model whose encoder of faces takes pictures of the published size."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.common.families import WAN_2_1
from wan_director.nodes.conditioning.entries import prompts_of

from .conftest import ANIMATE, FACE, HEADS, call, dit, encode, load, load_vae, picture, save_model

pytestmark = pytest.mark.usefixtures("inference", "animate_model")
SIZE = {"width": 64, "height": 48, "frames": 9, "batch_size": 1, "fit": "crop"}
PARTS = {"continue_motion_max_frames": 5, "video_frame_offset": 0}
SETTINGS = {"seed": 3, "steps": 2, "cfg": 1.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}
MEMORY = {
    "mode": "manual", "budget": "leave free", "gigabytes": 1.0, "blocks_to_swap": 7, "pinned_ram": 0.0,
    "text_encoder": "auto", "vae": "auto", "vae_strips": 0, "feed_forward_tokens": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def animate_model(models: Path) -> None:
    branches = (*ANIMATE[:2], replace(FACE, blocks=2))
    module = dit(text_dim=4096, in_channels=36, layers=10, branches=branches)
    path = save_model(models / "diffusion_models" / "animate.safetensors", module, HEADS)
    weights = load_file(path)
    for name in weights:  # the layers that look at a face scale their weights themselves
        if name.startswith("motion_encoder") and name.endswith("weight"):
            weights[name] *= 20
    save_file(weights, path, HEADS)


@pytest.fixture
def prompts(inference):
    return encode("wan21_text.safetensors")


def vae(name: str = "wan21_vae"):
    return load_vae(f"{name}.safetensors")


def prepared(prompts, encoder=None, **given):
    inputs = {"reference_image": picture(1), **SIZE, **PARTS, **given}
    return call("Animate", positive=prompts[0], negative=prompts[1], vae=encoder or vae(), **inputs)


def sampled(made, model=None, **more):
    positive, negative, latent = made[:3]
    inputs = {
        "positive": positive,
        "negative": negative,
        "latent": latent,
        "model": model or load("animate.safetensors"),
    }
    return call("Sampler", **{**inputs, **SETTINGS, **more})


def inputs_for(made, side: int = 0):
    """What the model is given in a step of a side."""
    latent = made[2]
    sides = prompts_of(load("animate.safetensors"), made[side], latent, "positive", 5.0)
    return sides.inputs(0, torch.zeros_like(latent["samples"]), torch.zeros(len(latent["samples"])))


FOLLOWED = {"pose_video": 9, "face_video": 9}
SCENE = {"background_video": picture(9), "character_mask": torch.ones(9, 48, 64)}


def test_each_thing_that_is_given_counts(prompts):
    given = {name: picture(frames) for name, frames in FOLLOWED.items()}
    plain = sampled(prepared(prompts, **given))["samples"]
    assert plain.shape == (1, 16, 4, 6, 8) and plain.isfinite().all()
    others = {
        **{name: {name: clip.flip(2)} for name, clip in given.items()},
        "reference_image": {"reference_image": picture(1).flip(2)},
        "background_video": SCENE,
        "continue_motion": {"continue_motion": picture(5), "video_frame_offset": 5},
    }
    for name, changes in others.items():
        other = sampled(prepared(prompts, **{**given, **changes}))["samples"]
        assert (other - plain).abs().max() > 1e-5 * plain.abs().max(), name


def test_the_video_is_decoded_without_the_reference(prompts):
    made = prepared(prompts, pose_video=picture(9))
    assert made[3:] == (1, 0, 9)
    frames = call("Decode", vae=vae(), latent=sampled(made))
    assert len(frames) == 9


def test_the_channels_hold_the_reference_and_the_grey_video(prompts):
    encoder = vae()
    inputs = inputs_for(prepared(prompts, encoder, pose_video=picture(9), face_video=picture(9)))
    normalize, grey = WAN_2_1.normalize, torch.full((9, 48, 64, 3), 0.5)
    expected = torch.cat([encoder.encode(picture(1)), encoder.encode(grey)], dim=2)
    torch.testing.assert_close(inputs.image_channels[:, 4:], normalize(expected))
    assert inputs.image_channels[0, :4, :, 2, 3].T.tolist() == [[1] * 4, [0] * 4, [0] * 4, [0] * 4]
    poses, face = inputs.steering
    torch.testing.assert_close(poses.latent, normalize(encoder.encode(picture(9))))
    assert face.pixels.shape == (1, 3, 9, 512, 512) and face.frames == 4
    assert -1 <= face.pixels.min() < -0.5 and 0.5 < face.pixels.max() <= 1
    torch.testing.assert_close(face.pixels[0, :, 4].mean((1, 2)), picture(9)[4].mean((0, 1)) * 2 - 1, atol=0.1, rtol=0)


def test_the_negative_prompt_sees_a_black_face_and_the_same_poses(prompts):
    made = prepared(prompts, pose_video=picture(9), face_video=picture(9))
    (poses, face), (same, black) = inputs_for(made).steering, inputs_for(made, 1).steering
    assert torch.equal(poses.latent, same.latent)
    assert black.pixels.shape == face.pixels.shape and (black.pixels == -1).all()


def test_a_mask_says_where_the_person_is_put(prompts):
    """Each frame of the mask is one of the four channels of its latent frame; the first is four times there."""
    masks = torch.zeros(7, 48, 64)
    masks[:, :, 32:] = 1
    masks[3] = 1
    channels = inputs_for(prepared(prompts, background_video=picture(7), character_mask=masks)).image_channels
    given = channels[0, :4]  # [4, T, h, w]
    assert given[:, 0].eq(1).all() and given[:, 1, :, :4].eq(1).all() and not given[:, 1, :, 4:].any()
    assert given[:, 2, 0, 0].tolist() == [1, 1, 0, 1] and given[:, 3, 0, 0].tolist() == [1, 1, 0, 0]
    encoder = vae()
    clip = torch.cat([picture(7), torch.full((2, 48, 64, 3), 0.5)])
    torch.testing.assert_close(channels[:, 4:, 1:], WAN_2_1.normalize(encoder.encode(clip)))
    one = inputs_for(prepared(prompts, background_video=picture(7), character_mask=masks[0])).image_channels
    assert one[0, :4, 3, 0, 0].tolist() == [1] * 4  # one mask serves all frames


def test_a_part_goes_on_from_the_one_before(prompts, caplog):
    """Its first frames are the last of the part before, and all videos go on behind what has been made."""
    encoder, whole, before = vae(), picture(30), picture(9, 24, 32)
    given = {
        "pose_video": whole,
        "face_video": whole,
        "background_video": whole,
        "character_mask": torch.ones(30, 48, 64),
    }
    made = prepared(prompts, encoder, **given, continue_motion=before, video_frame_offset=9)
    assert made[3:] == (1, 5, 13)
    channels = inputs_for(made).image_channels
    assert channels[0, :4, :, 2, 3].T.tolist() == [[1] * 4, [1] * 4, [1] * 4, [0] * 4]
    poses, face = inputs_for(made).steering
    torch.testing.assert_close(poses.latent, WAN_2_1.normalize(encoder.encode(whole[4:13])))
    assert torch.equal(face.pixels, inputs_for(prepared(prompts, encoder, face_video=whole[4:])).steering[0].pixels)
    decoded = inputs_for(prepared(prompts, encoder, **given, continue_motion=before[:3], video_frame_offset=9))
    assert decoded.image_channels[0, :4, :, 2, 3].T.tolist()[1:] == [[1] * 4, [0] * 4, [0] * 4]
    with caplog.at_level(logging.INFO, "wan_director"):
        shorter = {"pose_video": whole[:14], "face_video": whole[:4], "video_frame_offset": 9}
        last = prepared(prompts, encoder, **shorter, continue_motion=before)
    assert "face_video ends before frame 4, where this part begins" in caplog.text
    assert "pose_video" not in caplog.text and last[5] == 13
    with caplog.at_level(logging.INFO, "wan_director"):
        prepared(prompts, encoder, pose_video=whole[:7])
    assert "pose_video ends 2 frames before this part: its last pose stands on" in caplog.text


def test_swapped_blocks_and_two_prompts_give_the_same(prompts, caplog):
    made = prepared(prompts, pose_video=picture(9), face_video=picture(9))
    plain = sampled(made, cfg=2.0)["samples"]
    memory = call("Memory", **MEMORY)
    with caplog.at_level(logging.INFO, "wan_director"):
        assert torch.equal(sampled(made, cfg=2.0, memory=memory)["samples"], plain)
    assert "7 of 12 blocks are swapped in" in caplog.text
    assert (plain - sampled(made)["samples"]).abs().max() > 0


def test_a_batch_shares_what_it_follows(prompts):
    made = prepared(prompts, batch_size=2, pose_video=picture(9), face_video=picture(9))
    assert sampled(made)["samples"].shape == (2, 16, 4, 6, 8)


def test_windows_keep_the_reference_before_each(prompts):
    made = prepared(prompts, frames=17, pose_video=picture(17), face_video=picture(17))
    windows = call(
        "Windows", model=load("animate.safetensors"), frames=9, overlap=4, schedule="static", blend="linear",
        noise="fresh", from_sigma=1.0, keep_first_frame=False, frame_before=False,
    )  # fmt: skip
    result = sampled(made, windows)["samples"]
    assert result.shape == (1, 16, 6, 6, 8) and result.isfinite().all()
    native = {
        key: value for key, value in made[2].items() if key == "samples"
    }  # as of WanAnimateToVideo, without our mark
    assert torch.equal(sampled((made[0], made[1], native), windows)["samples"], result)


def test_a_model_without_poses_says_so(prompts, caplog):
    with caplog.at_level(logging.WARNING, "wan_director"):
        sampled(prepared(prompts, face_video=picture(9)))
    assert "was trained with poses, and none are connected" in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Nothing is given to follow. Connect one of pose_video, face_video, background_video"),
        ({"background_video": picture(9)}, "only one of the two is connected. Connect both"),
        ({"pose_video": picture(9), "character_mask": torch.ones(1, 48, 64)}, "only one of the two is connected"),
        ({"pose_video": picture(9), "video_frame_offset": 9}, "begins at frame 9 of videos that have 9 at most"),
        ({"pose_video": torch.zeros(4)}, "pose_video must be pictures"),
        ({"face_video": torch.full((1, 8, 8, 3), float("nan"))}, "face_video holds 192 values that are NaN"),
        ({"pose_video": picture(9), "reference_image": "me"}, "reference_image must be pictures .* got a text"),
        ({**SCENE, "character_mask": torch.ones(1)}, "character_mask must be masks"),
        ({"pose_video": picture(9), "continue_motion": torch.zeros(4)}, "continue_motion must be pictures"),
        (
            {"pose_video": picture(9), "continue_motion": picture(1), "continue_motion_max_frames": 0},
            "at least 1, got 0",
        ),
        ({"pose_video": picture(9), "video_frame_offset": -1}, "0 or more, got -1"),
        (
            {"pose_video": picture(9), "video_frame_offset": 2.5},
            "must be a whole number, 0 or more, got 2.5. The first",
        ),
        ({"pose_video": picture(9), "frames": 10}, r"1 \+ 4k frames, got 10"),
        ({"pose_video": picture(9), "fit": "fill"}, "fit"),
    ],
)
def test_what_cannot_be_followed_is_refused(changes, words, prompts):
    with pytest.raises(InvalidInputError, match=words):
        prepared(prompts, **changes)


def test_the_vae_of_another_model_is_refused(prompts):
    with pytest.raises(InvalidInputError, match="works on latents of the Wan 2.1 VAE, and this VAE is that of TI2V-5B"):
        prepared(prompts, vae("wan22_vae"), pose_video=picture(9))


def test_what_was_given_before_is_not_replaced_in_silence(prompts):
    made = prepared(prompts, pose_video=picture(9), face_video=picture(9))
    with pytest.raises(InvalidInputError, match="has a picture or .* already .*concat.*Give all to one node"):
        prepared(made[:2], pose_video=picture(9))


def test_another_model_takes_no_poses(prompts):
    made = prepared(prompts, pose_video=picture(9))
    with pytest.raises(InvalidInputError, match="carries poses .'pose_video_latent', from Wan Animate.*Load the"):
        sampled(made, load("wan21_i2v.safetensors"))


def test_a_wan_animate_model_needs_a_reference(prompts):
    size = {key: SIZE[key] for key in ("width", "height", "frames", "batch_size")}
    with pytest.raises(PairingError, match="needs a reference picture. Connect Wan Animate between"):
        sampled((*prompts, call("EmptyLatent", vae=vae(), **size)))


def test_a_wan_animate_model_takes_no_plain_start_image(prompts):
    sides = dict(zip(("positive", "negative"), prompts))
    started = call("ImageToVideo", **sides, vae=vae(), start_image=picture(1), **SIZE)
    with pytest.raises(PairingError, match="carries a start image, which it would take for .* Connect Wan Animate in"):
        sampled(started)
    scene = prepared(prompts, **SCENE)  # neither poses nor a face, but a reference
    assert sampled(scene)["samples"].isfinite().all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"pose_video_latent": torch.zeros(16, 1, 6, 8)}, "pose video .* must be finite numbers of 5 dimensions"),
        ({"pose_video_latent": "left"}, "pose video of the positive conditioning must be numbers"),
        ({"pose_video_latent": torch.zeros(1, 16, 4, 6, 8)}, "prepared for a latent of .*4 latent frames"),
        ({"face_video_pixels": torch.zeros(1, 3, 9, 256, 256)}, r"takes \[1, 3, frames, 512, 512\]"),
        ({"face_video_pixels": torch.full((1, 3, 1, 512, 512), float("inf"))}, "must be finite numbers"),
    ],
)
def test_native_values_that_cannot_be_are_refused(values, words, prompts):
    positive, negative, latent, *_ = prepared(prompts, pose_video=picture(9))
    changed = [[[embedding, {**entry, **values}] for embedding, entry in side] for side in (positive, negative)]
    with pytest.raises((InvalidInputError, PairingError), match=words):
        sampled((*changed, latent))
