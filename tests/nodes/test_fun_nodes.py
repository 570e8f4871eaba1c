"""The Fun family through the nodes, on tiny random models of its forms."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.common.families import WAN_2_1
from wan_director.dit.branches.camera import CameraBranch
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.reference import ReferenceBranch
from wan_director.nodes.conditioning.entries import prompts_of
from wan_director.nodes.conditioning.fun import with_reference

from .conftest import HEADS, call, dit, encode, load, load_vae, picture, save_model

pytestmark = pytest.mark.usefixtures("inference", "fun_models")
SIZE = {"width": 64, "height": 48, "frames": 9, "batch_size": 1, "fit": "crop"}
SETTINGS = {"seed": 3, "steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}
MODELS = {
    "control": {"in_channels": 48},
    "control_11": {"in_channels": 48, "branches": (ReferenceBranch(16),)},
    "control_22": {"in_channels": 52, "branches": (ReferenceBranch(16),)},
    "control_5b": {"in_channels": 148, "out_channels": 48, "branches": (ReferenceBranch(48),)},
    "inp_5b": {"in_channels": 100, "out_channels": 48},
    "camera": {"in_channels": 32, "branches": (ClipBranch(64), CameraBranch())},
    "camera_22": {"in_channels": 36, "branches": (CameraBranch(),)},
}
MEMORY = {
    "mode": "auto", "budget": "leave free", "gigabytes": 1.0, "blocks_to_swap": 0, "pinned_ram": 0.0,
    "text_encoder": "auto", "vae": "auto", "vae_strips": 0, "feed_forward_tokens": 0,
}  # fmt: skip
RAYS = {"width": 64, "height": 48, "frames": 9}
PATH = {"move": "zoom in", "speed": 1.0, "path": "", "fx": 0.5, "fy": 0.5, "cx": 0.5, "cy": 0.5}


@pytest.fixture(scope="module")
def fun_models(models):
    for name, changes in MODELS.items():
        save_model(models / "diffusion_models" / f"fun_{name}.safetensors", dit(text_dim=4096, **changes), HEADS)


@pytest.fixture
def prompts(inference):
    return encode("wan21_text.safetensors")


def vae(name: str = "wan21_vae"):
    return load_vae(f"{name}.safetensors")


def prepared(prompts, encoder=None, **given):
    return call("FunControl", positive=prompts[0], negative=prompts[1], vae=encoder or vae(), **{**SIZE, **given})


def sampled(name: str, made, **more) -> torch.Tensor:
    positive, negative, latent = made
    inputs = {"positive": positive, "negative": negative, "latent": latent, "model": load(f"fun_{name}.safetensors")}
    return call("Sampler", **{**inputs, **SETTINGS, **more})["samples"]


def inputs_for(name: str, made):
    """What the model is given in a step of the positive side."""
    positive, _, latent = made
    sides = prompts_of(load(f"fun_{name}.safetensors"), positive, latent, "positive", 5.0)
    return sides.inputs(0, torch.zeros_like(latent["samples"]), torch.zeros(len(latent["samples"])))


def path(**changes):
    return call("CameraPath", **{**RAYS, **PATH, **changes})


@pytest.mark.parametrize("name", ["control", "control_11", "control_22", "control_5b", "inp_5b", "camera", "camera_22"])
def test_each_model_follows_what_it_is_given(name, prompts):
    of_5b = name.endswith("5b")
    encoder = vae("wan22_vae") if of_5b else vae()
    size = {"height": 64} if of_5b else {}
    given = {"start_image": picture(1)}
    if name.startswith("control"):
        given["control_video"] = picture(9)
    if name.startswith("camera"):
        given["camera"] = path()[0]
    plain = sampled(name, prepared(prompts, encoder, **size, **given))
    assert plain.shape == ((1, 48, 3, 4, 4) if of_5b else (1, 16, 3, 6, 8)) and plain.isfinite().all()
    others = {
        "start_image": picture(1).flip(2),
        "control_video": picture(9).flip(2),
        "camera": path(move="roll left")[0],
    }
    for key in given:
        other = sampled(name, prepared(prompts, encoder, **size, **{**given, key: others[key]}))
        assert (other - plain).abs().max() > 1e-4 * plain.abs().max(), key


@pytest.mark.parametrize("name", ["control_11", "control_22"])
def test_a_reference_picture_is_shown(name, prompts):
    given = {"control_video": picture(9), "start_image": picture(1)}
    plain = sampled(name, prepared(prompts, **given))
    shown = sampled(name, prepared(prompts, **given, reference_image=picture(2)))
    assert shown.shape == plain.shape and (shown - plain).abs().max() > 1e-4 * plain.abs().max()
    assert inputs_for(name, prepared(prompts, **given)).steering == ()


def test_the_channels_stand_in_the_models_order(prompts):
    encoder, control, start = vae(), picture(9), picture(1)
    made = prepared(prompts, encoder, control_video=control, start_image=start)
    channels = inputs_for("control_22", made).image_channels
    normalize = WAN_2_1.normalize
    clip = torch.cat([start, torch.full((8, 48, 64, 3), 0.5)])
    torch.testing.assert_close(channels[:, :16], normalize(encoder.encode(control)))
    assert channels[0, 16:20, :, 2, 3].T.tolist() == [[1] * 4, [0] * 4, [0] * 4]
    torch.testing.assert_close(channels[:, 20:], normalize(encoder.encode(clip)))
    # A model without a mask was trained on zeros where nothing is given.
    without = inputs_for("control", made).image_channels
    torch.testing.assert_close(without[:, :16], channels[:, :16])
    torch.testing.assert_close(without[:, 16:, :1], channels[:, 20:, :1])
    assert without.shape[1] == 32 and not without[:, 16:, 1:].any()


def test_what_is_not_given_is_zero_for_the_model(prompts):
    made = prepared(prompts, control_video=picture(3))
    channels = inputs_for("control", made).image_channels
    assert channels[:, :16, :2].any() and not channels[:, :16, 2].abs().max() > 1e-6
    assert channels[:, 16:].abs().max() < 1e-6
    start_only = inputs_for("control", prepared(prompts, start_image=picture(1))).image_channels
    assert not start_only[:, :16].any() and start_only[:, 16:, :1].any()


def test_a_control_video_is_cut_and_its_last_picture_stands(prompts, caplog):
    encoder, control = vae(), picture(12)
    with caplog.at_level(logging.INFO, "wan_director"):
        positive, *_ = prepared(prompts, encoder, control_video=control)
    assert "control_video has 12 frames; the first 9 are used" in caplog.text
    assert torch.equal(positive[0][1]["concat_latent_image"][:, :16], encoder.encode(control[:9]))
    positive, *_ = prepared(prompts, encoder, control_video=control[:3])
    still = torch.cat([control[:3], control[2:3], control[2:3]])
    assert torch.equal(positive[0][1]["concat_latent_image"][:, :16, :2], encoder.encode(still))


@pytest.mark.parametrize("name", ["control_22", "camera_22"])
def test_two_experts_and_swapped_blocks_follow_to_the_bit(name, prompts, caplog):
    of_control = {"reference_image": picture(2), "control_video": picture(9)}
    given = {"camera": path()[0]} if name == "camera_22" else of_control
    made = prepared(prompts, **given, start_image=picture(1))
    plain, model = sampled(name, made), load(f"fun_{name}.safetensors")
    experts = call("Experts", high_noise=model, low_noise=model, low_noise_cfg=0.0, high_noise_steps=1)
    assert torch.equal(sampled(name, made, model=experts), plain)
    swapped = call("Memory", **{**MEMORY, "mode": "manual", "blocks_to_swap": 2})
    with caplog.at_level(logging.INFO, "wan_director"):
        assert torch.equal(sampled(name, made, memory=swapped), plain)
    assert "2 of 2 blocks are swapped in" in caplog.text


def test_a_batch_shares_what_it_follows(prompts):
    made = prepared(prompts, batch_size=2, control_video=picture(9), reference_image=picture(1))
    assert sampled("control_22", made).shape == (2, 16, 3, 6, 8)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("control", {"control_video": 1, "reference_image": 1}, "a reference picture .'reference_latents'.*1.1 or of"),
        ("control_22", {"control_video": 1, "camera": 1}, "a camera's path .'camera_conditions'.*Load a Fun-Camera"),
        ("camera", {"control_video": 1, "camera": 1}, "a start image and a control video.*Load a Fun-Control model"),
    ],
)
def test_what_a_model_does_not_take_is_refused_by_name(name, given, words, prompts):
    values = {"control_video": picture(9), "reference_image": picture(1), "camera": path()[0]}
    with pytest.raises(InvalidInputError, match=words):
        sampled(name, prepared(prompts, **{key: values[key] for key in given}))


def test_a_control_model_needs_a_control_video(prompts):
    latent = call("EmptyLatent", vae=vae(), **{key: SIZE[key] for key in ("width", "height", "frames", "batch_size")})
    with pytest.raises(PairingError, match="is a Fun-Control model and needs a control video. Connect Wan Fun Control"):
        sampled("control", (*prompts, latent))


def test_inpainting_of_5b_needs_its_frames_beside_the_latent(prompts):
    encoder = vae("wan22_vae")
    size = {key: SIZE[key] for key in ("width", "frames", "batch_size", "fit")}
    made = call(
        "ImageToVideo", positive=prompts[0], negative=prompts[1], vae=encoder, **size, height=64, start_image=picture(1)
    )
    with pytest.raises(PairingError, match="needs a start image. Connect Wan Fun Control"):
        sampled("inp_5b", made)


def test_a_camera_model_runs_without_a_path_and_says_so(prompts, caplog):
    with caplog.at_level(logging.WARNING, "wan_director"):
        sampled("camera_22", prepared(prompts, start_image=picture(1)))
    assert "was trained with a camera's path, and none is connected" in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"camera": torch.zeros(1, 24, 3, 64, 64)}, "made for another video .* one of 3 latent frames of 64 x 48"),
        ({"camera": torch.zeros(1, 24)}, "made for another video"),
        ({"camera": "left"}, "camera must be the rays of a camera's path, got a text"),
        ({"control_video": torch.zeros(4)}, "control_video"),
        ({}, "Nothing is given. Connect one of control_video, start_image"),
        ({"start_image": torch.zeros(10, 48, 64, 3)}, "start_image is a clip of 10 frames, but the video has 9"),
    ],
)
def test_what_cannot_be_followed_is_refused(changes, words, prompts):
    with pytest.raises(InvalidInputError, match=words):
        prepared(prompts, **changes)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"reference_latents": torch.zeros(1, 16, 1, 6, 8)}, "must be a list of latents"),
        ({"reference_latents": [torch.zeros(16, 1, 6, 8)]}, "must be finite numbers of 5 dimensions"),
        ({"reference_latents": [torch.zeros(1, 16, 1, 6, 8)] * 2}, "There are 2 reference pictures"),
        ({"reference_latents": [torch.zeros(1, 16, 1, 4, 4)]}, "reference picture was prepared for a latent of 16"),
        ({"concat_mask_index": 4}, "'concat_mask_index' is 4, but the mask of fun_control_22"),
    ],
)
def test_native_values_that_cannot_be_are_refused(values, words, prompts):
    positive, negative, latent = prepared(prompts, control_video=picture(9))
    changed = [[[embedding, {**entry, **values}] for embedding, entry in side] for side in (positive, negative)]
    with pytest.raises((InvalidInputError, PairingError), match=words):
        sampled("control_22", (*changed, latent))


def test_references_are_added_to_those_before(prompts):
    once = with_reference(prompts[0], torch.zeros(1))
    assert len(with_reference(once, torch.ones(1))[0][1]["reference_latents"]) == 2
    assert "reference_latents" not in prompts[0][0][1] and len(once[0][1]["reference_latents"]) == 1


def written(value, **changes):
    return path(move="path", path=value if isinstance(value, str) else json.dumps(value), **changes)[0]


def test_places_of_a_path_are_gone_through_evenly():
    places = [{"frame": 0}, {"frame": 4, "move": [1, 0, 0]}, {"frame": 8, "move": [1, 0, 2], "turn": [0, 0, 90]}]
    exact = np.tile(np.eye(4), (9, 1, 1))
    exact[:, 0, 3] = [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    exact[:, 2, 3] = [0, 0, 0, 0, 0, 0.5, 1, 1.5, 2]
    turn = np.radians([0, 0, 0, 0, 0, 22.5, 45, 67.5, 90])
    exact[:, 0, 0] = exact[:, 1, 1] = np.cos(turn)
    exact[:, 1, 0], exact[:, 0, 1] = np.sin(turn), -np.sin(turn)
    torch.testing.assert_close(written(places), written(exact.tolist()), rtol=0, atol=2e-6)
    torch.testing.assert_close(written(places), written(exact[:, :3].reshape(9, 12).tolist()), rtol=0, atol=2e-6)
    halves = [{**place, "move": [each / 2 for each in place.get("move", [0] * 3)]} for place in places]
    halves[2]["turn"] = [0, 0, 45]
    torch.testing.assert_close(written(halves, speed=2.0), written(places), rtol=0, atol=2e-6)


def test_a_move_is_the_path_of_its_places():
    """A pan at speed 1 goes 1.5, and would be there one frame after the last."""
    places = [{"frame": 0}, {"frame": 8, "move": [1.5 * 8 / 9, 0, 0]}]
    torch.testing.assert_close(written(places), path(move="pan right")[0], rtol=0, atol=2e-6)


def test_lines_of_a_camera_file_have_their_lens_and_world(caplog):
    lines = [[0, 0.7, 1.2, 0.5, 0.5, 0, 0, 1, 0, 0, -0.1 * frame, 0, 1, 0, 0, 0, 0, 1, 0] for frame in range(9)]
    poses = [[[1, 0, 0, 0.1 * frame], [0, 1, 0, 0], [0, 0, 1, 0]] for frame in range(9)]
    with caplog.at_level(logging.WARNING, "wan_director"):
        rays = written(lines, speed=3.0)
    assert "speed 3 does not count" in caplog.text
    torch.testing.assert_close(rays, written(poses, fx=0.7, fy=1.2), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[", "The path is no JSON"),
        ("{}", "must be a list with something in it"),
        ([], "must be a list with something in it"),
        ([{"frame": 0, "pan": 3}], "has 'pan'. It may have frame, move and turn"),
        ([{"frame": 9}], r"must stand at frames from 0 to 8, each later than the one before, got \[9\]"),
        ([{"frame": 4}, {"frame": 4}], "each later than the one before"),
        ([{"frame": True}], "must stand at frames"),
        ([{"frame": 0, "move": [1, 2]}], "move at frame 0 of the path must have 3 numbers"),
        ([{"frame": 0, "turn": "left"}], "turn at frame 0 of the path must be numbers"),
        ([[1, 0, 0, 0] * 3] * 4, "poses for 4 frames, but the video has 9"),
        ([[1, 0, 0, 0] * 2] * 9, r"matrix of 3 or 4 rows of 4 numbers.*got \[8\] numbers"),
        ([[2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0]] * 9, "frame 0 of the path are no right angles of length 1"),
        ([[1, 0, 0, float("inf"), 0, 1, 0, 0, 0, 0, 1, 0]] * 9, "must be finite numbers"),
        ([[0, 0, 1, 0.5, 0.5, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]] * 9, "focal length that is not above 0"),
    ],
)
def test_a_path_that_is_none_is_refused(value, words):
    with pytest.raises(InvalidInputError, match=words):
        written(value)


def test_a_path_beside_a_move_or_without_a_lens_is_refused():
    with pytest.raises(InvalidInputError, match="A path is written, but move is zoom in. Choose move path"):
        path(path="[]")
    with pytest.raises(InvalidInputError, match="focal length above 0, got fx 0"):
        path(fx=0)
    with pytest.raises(InvalidInputError, match="The move is one of static, .* got 'fly'"):
        path(move="fly")
    with pytest.raises(InvalidInputError, match=r"1 \+ 4k frames, got 10"):
        path(frames=10)
