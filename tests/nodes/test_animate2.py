"""Wan Animate 2, ComfyUI's own nodes and Wan Pose Cache: what goes to the model, what is kept, what is refused."""

from __future__ import annotations

import json
import logging
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from wan_director.common.errors import WanDirectorError
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.pose import PoseBranch
from wan_director.engine.memory import AUTOMATIC
from wan_director.engine.models import with_policies
from wan_director.engine.poses.keeping import PoseKeeping
from wan_director.engine.sampling.job import sampling_job
from wan_director.nodes.conditioning.entries import prompts_of
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.core_nodes.scaling import scaled
from wan_director.nodes.sockets.native_model import NativeModel
from wan_director.sampling.windows import SlidingWindows
from wan_director.text_encoder.clip_vision import ClipVisionOutput

from .conftest import HEADS, call, dit, encode, load, load_vae, picture, save_lora, save_model

SIZE = {"width": 64, "height": 48, "frames": 9, "batch_size": 1, "fit": "crop"}
WIDGETS = {
    "video_frame_offset": 0, "pose_strength": 1.0, "pose_start_percent": 0.0, "pose_end_percent": 1.0,
    "reference_image_strength": 1.0, "first_frame_bias": 0.0, "weak_negative": False,
}  # fmt: skip
NATIVE_SIZE = {"width": 64, "height": 48, "length": 9, "batch_size": 1, "video_frame_offset": 0}
RUN = {"steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "seed": 5, "denoise": 1.0}
SAID = {"config": json.dumps({"transformer": {"model_type": "animate2"}})}
NAME = "shows_poses.safetensors"


@pytest.fixture(scope="module")
def animate2_file(models):
    branches = (ClipBranch(1280),)
    network = dit(text_dim=4096, in_channels=36, layers=12, branches=branches)
    return save_model(models / "diffusion_models" / NAME, network, HEADS | SAID)


@pytest.fixture
def animate2(tiny_host, animate2_file):
    return load(NAME)


@pytest.fixture
def vae(tiny_host):
    return load_vae("wan21_vae.safetensors")


@pytest.fixture
def sides(tiny_host):
    return dict(zip(("positive", "negative"), encode("wan21_text.safetensors")))


def prepared(vae, sides, **given):
    shown = {"reference_image": picture(), "pose_video": picture(9)}
    return call("Animate2", vae=vae, **sides, **{**SIZE, **WIDGETS, **shown, **given})


def sampled(model, made, **run):
    positive, negative, latent, *_ = made
    return call("Sampler", model=model, positive=positive, negative=negative, latent=latent, **{**RUN, **run})[
        "samples"
    ]


def kept(model, **keeping):
    return with_policies(model, lambda policies: replace(policies, poses=PoseKeeping(**keeping)))


def native(vae, sides, **given):
    return CORE_NODES["WanAnimate2ToVideo"].execute(**sides, vae=vae, **{**NATIVE_SIZE, **given}).args


def items_of(model, made, side="positive"):
    prompts = prompts_of(model, made[0 if side == "positive" else 1], made[2], side, 5.0)
    return prompts, [item for item in prompts.parts[0].conditioning.items if item.branch is PoseBranch]


def test_a_picture_stands_before_the_video_and_poses_go_beside(vae, sides, animate2):
    given = {"reference_image": picture(1, 96, 100), "pose_video": picture(9, 30, 90), "pose_strength": 0.5}
    made = prepared(vae, sides, **given, reference_image_strength=2.0)
    positive, negative, latent, before, shared, following = made
    values = positive[0][1]
    assert latent["samples"].shape == (1, 16, 4, 6, 8) and (before, shared, following) == (1, 0, 9)
    assert values["concat_latent_image"].shape == (1, 16, 4, 6, 8)
    grey = vae.encode(torch.full((9, 48, 64, 3), 0.5))
    assert torch.equal(values["concat_latent_image"][:, :, 1:], grey)
    assert values["concat_mask"][0, 0, :, 0, 0].tolist() == [0, 1, 1, 1]
    assert values["pose_video_latent"].shape == (1, 16, 3, 6, 8)
    assert torch.equal(values["cross_attn_pose"], sides["positive"][0][0])
    assert torch.equal(negative[0][1]["cross_attn_pose"], sides["positive"][0][0])
    assert (values["pose_strength"], values["reference_strength"]) == (0.5, 2.0)
    prompts, (item,) = items_of(animate2, made)
    assert prompts.parts[0].conditioning.references == 1
    assert torch.equal(item.latent, animate2.spec.family.normalize(values["pose_video_latent"]))
    assert (item.strength, item.reference_strength) == (0.5, 2.0)


def test_the_next_chunk_begins_with_the_last_frame_of_the_one_before(vae, sides, caplog):
    video, frames = picture(20), picture(9)
    first = prepared(vae, sides, pose_video=video)
    made = prepared(vae, sides, pose_video=video, continue_motion=frames, video_frame_offset=first[5])
    values = made[0][0][1]
    assert made[3:] == (1, 1, 17)
    begun = torch.cat([frames[-1:], torch.full((8, 48, 64, 3), 0.5)])
    assert torch.equal(values["concat_latent_image"][:, :, 1:], vae.encode(begun))
    assert values["concat_mask"][0, 0, :, 0, 0].tolist() == [0, 0, 1, 1]
    assert torch.equal(values["pose_video_latent"], vae.encode(video[8:17]))
    with caplog.at_level(logging.INFO, logger="wan_director"):
        last = prepared(vae, sides, pose_video=video, continue_motion=frames, video_frame_offset=made[5])
    held = torch.cat([video[16:], video[-1:].expand(5, -1, -1, -1)])
    assert torch.equal(last[0][0][1]["pose_video_latent"], vae.encode(held))
    assert "pose_video ends 5 frames before the video to make" in caplog.text


def test_comfyuis_node_gives_the_same_with_its_own_scaling(vae, sides, animate2):
    shown = {"reference_image": picture(1, 96, 100), "pose_video": picture(12, 30, 90)}
    made = native(vae, sides, **shown, continue_motion=picture(3), pose_strength=0.5)
    values = made[0][0][1]
    area = [scaled(each, 64, 48, "area", "center") for each in (shown["reference_image"], shown["pose_video"][:9])]
    assert torch.equal(values["concat_latent_image"][:, :, :1], vae.encode(area[0]))
    assert torch.equal(values["pose_video_latent"], vae.encode(area[1]))
    assert made[2]["samples"].shape == (1, 16, 4, 6, 8) and made[3:] == (1, 1, 9)
    assert sampled(animate2, made).isfinite().all()
    same = {"reference_image": picture(), "pose_video": picture(9)}
    ours, theirs = prepared(vae, sides, **same), native(vae, sides, **same)
    assert torch.equal(sampled(animate2, ours), sampled(animate2, theirs))
    nothing = native(vae, sides)[0][0][1]
    assert "pose_video_latent" not in nothing and "cross_attn_pose" in nothing
    assert torch.equal(nothing["concat_latent_image"][:, :, :1], vae.encode(torch.zeros(1, 48, 64, 3)))


@pytest.mark.parametrize(("width", "height", "cells"), [(66, 54, (6, 8)), (75, 90, (11, 9))])
def test_comfyuis_node_takes_any_size(width, height, cells, vae, sides, animate2):
    """Its templates scale to 482 x 854: what stands over whole cells is cut off."""
    shown = {"reference_image": picture(1, 96, 100), "pose_video": picture(9, 30, 90)}
    made = native(vae, sides, **shown, width=width, height=height)
    values = made[0][0][1]
    assert made[2]["samples"].shape == values["concat_latent_image"].shape == (1, 16, 4, *cells)
    area = scaled(shown["pose_video"], width, height, "area", "center")
    top, left = (height % 8) // 2, (width % 8) // 2
    cut = area[:, top : top + 8 * cells[0], left : left + 8 * cells[1]]
    assert torch.equal(values["pose_video_latent"], vae.encode(cut))
    video = sampled(animate2, made)
    assert video.shape == made[2]["samples"].shape and video.isfinite().all()


def test_of_clip_features_of_a_whole_pose_video_the_first_count(vae, sides, animate2):
    def seen(pictures):
        features = torch.rand(pictures, 257, 1280, generator=torch.Generator().manual_seed(2))
        output = ClipVisionOutput(features, features, features[:, 0])
        _, (item,) = items_of(animate2, prepared(vae, sides, clip_vision_pose=output))
        return item.features

    assert seen(9).shape == (1, 257, 1280)
    one = torch.rand(1, 257, 1280)
    made = prepared(vae, sides, clip_vision=ClipVisionOutput(one, one, one[:, 0]))
    assert torch.equal(items_of(animate2, made)[1][0].features, one)  # of the reference, where there are none


def test_comfyuis_node_gives_what_comfyui_gives():
    """Recorded, with a VAE that averages."""
    official = runpy.run_path(str(Path(__file__).parent / "headless" / "fixtures" / "animate2_node.py"))
    found = official["given_by"](lambda **inputs: CORE_NODES["WanAnimate2ToVideo"].execute(**inputs).args)
    recorded = json.loads(official["RECORDED"].read_text(encoding="utf-8"))
    assert set(found) == set(recorded) and len(recorded) > 100
    for name, (first, *others) in recorded.items():
        assert found[name][0] == first, name
        assert found[name][1:] == pytest.approx(others, rel=1e-5, abs=1e-4), name


def test_in_a_part_of_the_run_poses_are_not_seen(vae, sides, animate2):
    made = prepared(vae, sides, pose_start_percent=0.3, pose_end_percent=0.7)
    assert [(each[1]["start_percent"], each[1]["end_percent"]) for each in made[0]] == [
        (0.3, 0.7), (0.0, 0.3), (0.7, 1.0),
    ]  # fmt: skip
    parts = prompts_of(animate2, made[0], made[2], "positive", 5.0).parts
    assert [len(part.conditioning.steering()) for part in parts] == [1, 0, 0]
    some, all_of_it = sampled(animate2, made, steps=4), sampled(animate2, prepared(vae, sides), steps=4)
    assert some.isfinite().all() and not torch.allclose(some, all_of_it, atol=1e-4)


def test_prompts_that_have_parts_of_the_run_keep_them(vae, sides, animate2):
    (embedding, values), *_ = sides["positive"]
    parts = ((0.0, 0.5), (0.5, 1.0))
    halves = [[embedding, {**values, "start_percent": start, "end_percent": end}] for start, end in parts]
    made = prepared(vae, {**sides, "positive": halves}, pose_start_percent=0.3, pose_end_percent=0.7)
    ranges = [(each["start_percent"], each["end_percent"], "pose_video_latent" in each) for _, each in made[0]]
    assert ranges == [(0.3, 0.5, True), (0.5, 0.7, True), (0.0, 0.3, False), (0.7, 1.0, False)]


def test_what_was_given_before_is_not_replaced_in_silence(vae, sides):
    again = dict(zip(("positive", "negative"), prepared(vae, sides)[:2]))
    with pytest.raises(WanDirectorError, match="positive conditioning has a picture or poses already .*Give all"):
        prepared(vae, again)


def test_own_options_reach_the_model_and_native_samplers_refuse_them(vae, sides, animate2):
    made = prepared(vae, sides, first_frame_bias=-1.3, weak_negative=True)
    _, (positive,) = items_of(animate2, made)
    _, (negative,) = items_of(animate2, made, "negative")
    assert positive.first_frame_bias == negative.first_frame_bias == -1.3
    assert positive.left_out == frozenset() and negative.left_out == {9}
    plain = sampled(animate2, prepared(vae, sides))
    assert not torch.allclose(sampled(animate2, made), plain, atol=1e-4)
    with pytest.raises(WanDirectorError, match="only Wan Sampler follows that"):
        made[0][0][1]["control"].pre_run  # noqa: B018  (what a native sampler asks for)
    assert "control" not in prepared(vae, sides)[0][0][1]


@pytest.mark.parametrize("run", [{}, {"cfg": 1.0}, {"steps": 3, "solver": "heun"}], ids=["cfg", "no cfg", "heun"])
def test_what_is_kept_changes_no_bit(vae, sides, animate2, run):
    made = prepared(vae, sides)
    nowhere = sampled(kept(animate2, place="nowhere"), made, **run)
    for keeping in ({"place": "RAM"}, {"place": "device"}, {"place": "RAM", "most_bytes": 40_000}):
        assert torch.equal(sampled(kept(animate2, **keeping), made, **run), nowhere), keeping
    assert torch.equal(sampled(animate2, made, **run), nowhere)
    rounded = [sampled(kept(animate2, in_8_bit=True, most_bytes=most), made, **run) for most in (0, 30_000, 1)]
    assert all(torch.equal(each, rounded[0]) for each in rounded)  # however much of it is kept
    assert (rounded[0] - nowhere).norm() < 2e-2 * nowhere.norm()


def test_windows_show_each_part_its_own_poses(vae, sides, animate2):
    made = prepared(vae, sides, frames=33, pose_video=picture(33))
    cut = with_policies(animate2, lambda policies: replace(policies, windows=SlidingWindows(3, 1)))
    in_windows = sampled(cut, made)
    assert in_windows.isfinite().all() and not torch.allclose(in_windows, sampled(animate2, made), atol=1e-3)
    assert torch.equal(sampled(kept(cut, place="nowhere"), made), in_windows)


def test_a_lora_of_a_part_of_the_run_changes_what_is_kept(vae, sides, animate2, models):
    save_lora(models / "loras" / "of_poses.safetensors", 48)
    lora = {"lora_name": "of_poses.safetensors", "strength": 1.0, "blocks": "all", "merge": False}
    changed = call("Lora", model=animate2, **lora, start_percent=0.0, end_percent=0.5)
    made = prepared(vae, sides)
    expected = sampled(kept(changed, place="nowhere"), made, steps=4)
    assert torch.equal(sampled(changed, made, steps=4), expected)
    assert not torch.allclose(sampled(animate2, made, steps=4), expected, atol=1e-4)


def test_when_memory_runs_out_what_is_kept_on_the_device_goes_to_ram(vae, sides, animate2, monkeypatch, caplog):
    from wan_director.dit.branches.pose_memory import KeptPoses

    made, failures = prepared(vae, sides), []
    expected, stored = sampled(animate2, made), KeptPoses._stored

    def fails_once(self, tokens):
        if self._device is None and not failures:
            failures.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return stored(self, tokens)

    monkeypatch.setattr(KeptPoses, "_stored", fails_once)
    with caplog.at_level(logging.WARNING, logger="wan_director"):
        assert torch.equal(sampled(kept(animate2, place="device"), made), expected)
    assert "what is kept of the poses is kept in RAM from now on" in caplog.text


def test_planned_bytes_are_those_that_are_kept(vae, sides, animate2):
    positive, negative, latent, *_ = prepared(vae, sides)
    prompts = [
        prompts_of(animate2, side, latent, name, 5.0) for name, side in (("positive", positive), ("negative", negative))
    ]
    asked = [part.conditioning for each in prompts for part in each.parts]

    def job(**keeping):
        return sampling_job(kept(animate2, **keeping), asked, latent["samples"], AUTOMATIC).task

    tokens, blocks, width = 3 * 3 * 4, 11, 48
    whole = tokens * blocks * width * animate2.placed.weights.itemsize
    assert job().host_bytes == whole and job(place="nowhere").host_bytes == 0
    assert job(in_8_bit=True).host_bytes == tokens * blocks * (width + 4)
    assert job(most_bytes=1000).host_bytes == 1000
    on_device, elsewhere = job(place="device"), job()
    assert on_device.host_bytes == 0
    assert on_device.ways[0].working_bytes - elsewhere.ways[0].working_bytes == whole


def test_a_batch_of_videos_follows_one_pose_video(vae, sides, animate2):
    one, two = (sampled(animate2, prepared(vae, sides, batch_size=count)) for count in (1, 2))
    assert two.shape[0] == 2
    torch.testing.assert_close(two[:1], one, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pose_video": picture(5), "video_frame_offset": 5}, "has 5 frames, and this chunk begins at its frame 5"),
        ({"video_frame_offset": -3}, "video_frame_offset must be a whole number, 0 or more, got -3"),
        ({"video_frame_offset": 2.5}, "video_frame_offset must be a whole number, 0 or more, got 2.5"),
        ({"pose_start_percent": 0.8, "pose_end_percent": 0.2}, r"0 <= start <= end <= 1, got 0.8 and 0.2"),
        (
            {"pose_start_percent": 0.5, "pose_end_percent": 0.5},
            "from 0.5 to 0.5 of the run, which is nowhere. Set pose_",
        ),
        ({"pose_strength": 11.0}, "pose_strength is from 0 to 10, got 11"),
        ({"reference_image_strength": float("nan")}, "reference_image_strength"),
        ({"first_frame_bias": -40.0}, "first_frame_bias is from -10 to 10, got -40"),
        ({"frames": 10}, r"1 \+ 4k frames, got 10"),
        ({"fit": "shrink"}, "fit"),
        ({"reference_image": "a"}, "reference_image"),
    ],
)
def test_what_cannot_be_is_refused(vae, sides, given, words):
    with pytest.raises(WanDirectorError, match=words):
        prepared(vae, sides, **given)


def test_the_vae_of_another_model_is_refused(sides, tiny_host):
    with pytest.raises(
        WanDirectorError, match="Wan-Animate-2 works on latents of the Wan 2.1 VAE, and this VAE is that of"
    ):
        prepared(load_vae("wan22_vae.safetensors"), sides)


def test_without_poses_the_model_is_refused_and_poses_without_the_model(vae, sides, animate2):
    picture_of = {"clip_vision_start": None, "clip_vision_end": None, "start_image": picture()}
    size = {name: SIZE[name] for name in ("width", "height", "frames", "batch_size", "fit")}
    plain = call("ImageToVideo", vae=vae, **sides, **size, **picture_of)
    with pytest.raises(WanDirectorError, match="moving as in a pose video, and needs both. Connect Wan Animate 2"):
        sampled(animate2, plain)
    blank = call("EmptyLatent", vae=vae, **{name: size[name] for name in ("width", "height", "frames", "batch_size")})
    with pytest.raises(WanDirectorError, match="moving as in a pose video, and needs both"):
        sampled(animate2, (sides["positive"], sides["negative"], blank))
    made = prepared(vae, sides)
    with pytest.raises(WanDirectorError, match="carries poses for Wan-Animate-2 .*Load a Wan-Animate-2 model"):
        sampled(load("wan21_i2v.safetensors"), made)
    with pytest.raises(WanDirectorError, match="sees no poses, and has nothing to keep of them"):
        call("PoseCache", model=load("wan21_i2v.safetensors"), place="RAM", in_8_bit=False, gigabytes=0.0)
    with pytest.raises(WanDirectorError, match="model must be a model of Load Wan Model, got .*WanVAE"):
        call("PoseCache", model=vae, place="RAM", in_8_bit=False, gigabytes=0.0)
    with pytest.raises(WanDirectorError, match="sees a pose video, which the MODEL of this node cannot be shown"):
        call("ToNativeModel", model=animate2)


def test_other_values_that_cannot_be_are_refused(vae, sides, animate2):
    made = prepared(vae, sides)

    def changed(**values):
        positive = [[embedding, {**entry, **values}] for embedding, entry in made[0]]
        return prompts_of(animate2, positive, made[2], "positive", 5.0)

    for values, words in (
        ({"pose_strength": "a"}, "'pose_strength' of the positive conditioning must be a number from 0 to 10"),
        ({"pose_video_latent": torch.zeros(2, 3)}, "pose video of the positive conditioning must be a latent"),
        ({"pose_video_latent": torch.zeros(1, 16, 2, 6, 8)}, "pose video was prepared for a latent of"),
        ({"cross_attn_pose": torch.zeros(3)}, "text of the poses of the positive conditioning"),
        ({"clip_vision_output_pose": 3}, "CLIP vision output of the positive conditioning must have finite features"),
    ):
        with pytest.raises(WanDirectorError, match=words):
            changed(**values)
    sparse = replace(animate2, recipe=replace(animate2.recipe, attention="radial"))
    with pytest.raises(WanDirectorError, match="sparse in the video has no place for the poses"):
        prompts_of(sparse, made[0], made[2], "positive", 5.0)
    shallow = call("Animate2", vae=vae, **sides, **SIZE, **{**WIDGETS, "weak_negative": True},
                   reference_image=picture(), pose_video=picture(9))  # fmt: skip
    config = replace(animate2.spec.config, layers=8)
    small = replace(animate2, placed=replace(animate2.placed, spec=replace(animate2.spec, config=config)))
    with pytest.raises(WanDirectorError, match="weak_negative leaves block 9 out"):
        prompts_of(small, shallow[1], shallow[2], "negative", 5.0)


def test_the_cache_nodes_say_where_poses_are_kept(animate2):
    ours = call("PoseCache", model=animate2, place="device", in_8_bit=True, gigabytes=2.5)
    assert ours.policies.poses == PoseKeeping("device", True, 2_500_000_000)
    model = NativeModel.of(animate2)
    assert model == NativeModel(animate2, 5.0)
    cache = CORE_NODES["WanAnimate2Cache"]
    (found,) = cache.execute(model, "gpu", "int8").args
    assert found.model.policies.poses == PoseKeeping("device", True)
    assert cache.execute(model, "cpu").args[0].model.policies.poses == PoseKeeping("RAM")
    for given, words in ((("cpu", "int4"), "int4, and here they are kept as they are or in int8"), (("tpu",), "'tpu'")):
        with pytest.raises(WanDirectorError, match=words):
            cache.execute(model, *given)
    for changes in ({"place": "attic"}, {"gigabytes": -1.0}):
        with pytest.raises(WanDirectorError):
            call("PoseCache", model=animate2, **{"place": "RAM", "in_8_bit": False, "gigabytes": 0.0, **changes})
