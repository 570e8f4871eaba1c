"""Wan SCAIL, Wan Coloured Masks and ComfyUI's own: what goes to the model, parts, windows, and what is refused."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from wan_director.common.errors import WanDirectorError
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.scail import ScailBranch
from wan_director.dit.conditioning.characters.scail import ANIMATION, REPLACEMENT, KeptFrames, ScailCharacter
from wan_director.engine.memory import AUTOMATIC
from wan_director.engine.models import with_policies
from wan_director.engine.sampling.job import sampling_job
from wan_director.nodes.conditioning.entries import prompts_of
from wan_director.nodes.conditioning.travel import in_turns
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.sockets.noise_masks import given_of
from wan_director.sampling.given import HeldRegion, NoisyRegion
from wan_director.sampling.travel import Moment, PromptSchedule
from wan_director.sampling.windows import SlidingWindows

from .conftest import HEADS, call, dit, encode, load, load_vae, picture, save_model
from .persons import masks
from .test_guidance_node import guided
from .test_motion_node import moved

SIZE = {"width": 64, "height": 96, "frames": 9, "batch_size": 1, "fit": "crop"}
USUAL = {
    "pose_strength": 1.0, "pose_start_percent": 0.0, "pose_end_percent": 1.0, "video_frame_offset": 0,
    "previous_frame_count": 5, "replacement_mode": False,
}  # fmt: skip
RUN = {"steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "seed": 5, "denoise": 1.0}
MEMORY = {
    "mode": "manual", "budget": "leave free", "gigabytes": 1.0, "blocks_to_swap": 1, "pinned_ram": 0.0,
    "text_encoder": "auto", "vae": "auto", "vae_strips": 0, "feed_forward_tokens": 64,
}  # fmt: skip
NATIVE_SIZE = {"width": 64, "height": 96, "length": 9, "batch_size": 1}
NATIVE_USUAL = {
    "pose_strength": 1.0, "pose_start": 0.0, "pose_end": 1.0, "video_frame_offset": 0, "previous_frame_count": 5,
}  # fmt: skip
MODELS = {"scail2": 28, "scail1": 0}


@pytest.fixture(scope="module")
def scail_models(models):
    for name, masked in MODELS.items():
        module = dit(text_dim=4096, in_channels=20, branches=(ClipBranch(1280), ScailBranch(mask_channels=masked)))
        save_model(models / "diffusion_models" / f"{name}.safetensors", module, HEADS)


@pytest.fixture
def scail(tiny_host, scail_models):
    return load("scail2.safetensors")


@pytest.fixture
def first(tiny_host, scail_models):
    return load("scail1.safetensors")


@pytest.fixture
def vae(tiny_host):
    return load_vae("wan21_vae.safetensors")


@pytest.fixture
def sides(tiny_host):
    return dict(zip(("positive", "negative"), encode("wan21_text.safetensors")))


def prepared(vae, sides, **given):
    return call("Scail", vae=vae, **sides, **{**SIZE, **USUAL, **given})


def native(vae, sides, **given):
    node = CORE_NODES["WanSCAILToVideo"]
    return node.execute(vae=vae, **sides, **{**NATIVE_SIZE, **NATIVE_USUAL, **given}).args


def sampled(model, positive, negative, latent, **run):
    made = call("Sampler", model=model, latent=latent, positive=positive, negative=negative, **{**RUN, **run})
    return made["samples"]


def read(model, positive, latent):
    return [part.conditioning for part in prompts_of(model, positive, latent, "positive", 5.0).parts]


def everything(**changes):
    shown = masks(replaces=changes.get("replacement_mode", False), pictures=2)
    return {"pose_video": picture(9, 96, 64), "reference_image": picture(2, 96, 64), **shown, **changes}


@pytest.mark.parametrize("replaces", [False, True])
def test_values_are_those_of_comfyuis_node(vae, sides, replaces):
    """With pictures of the video's size, where both resize nothing but the poses."""
    given = everything(replacement_mode=replaces)
    ours, theirs = prepared(vae, sides, **given), native(vae, sides, **given)
    for own, other in zip(ours[:2], theirs[:2]):
        assert own[0][1].keys() == other[0][1].keys()
        for key, value in other[0][1].items():
            found = own[0][1][key]
            if key == "reference_latents":
                assert all(torch.equal(*pair) for pair in zip(found, value, strict=True))
            elif isinstance(value, torch.Tensor):
                torch.testing.assert_close(found, value, rtol=0, atol=2e-6)
            else:
                assert found is value or found == value
    assert ours[0][0][1]["ref_mask_flag"] is not replaces
    assert ours[3] == theirs[3] == 9


def test_what_the_model_gets_is_in_its_order_and_units(scail, vae, sides):
    positive, _, latent, _ = prepared(vae, sides, **everything())
    (prompt,) = read(scail, positive, latent)
    values, normalize = positive[0][1], scail.spec.family.normalize
    main, other = values["reference_latents"]
    shown = [item for item in prompt.items if isinstance(item, ScailCharacter)]
    assert torch.equal(shown[0].latent, normalize(other)) and torch.equal(shown[1].latent, normalize(main))
    assert all(item.places == ANIMATION and item.mask.shape == (1, 28, 1, 12, 8) for item in shown)
    assert torch.equal(shown[1].mask[0, :, 0], values["ref_mask_28ch"][0, 1])
    (pose,) = prompt.in_context
    assert torch.equal(pose.latent, normalize(values["pose_video_latent"])) and pose.latent.shape == (1, 16, 3, 6, 4)
    assert torch.equal(pose.mask, values["driving_mask_28ch"].movedim(1, 2))
    replaced, _, latent, _ = prepared(vae, sides, **everything(replacement_mode=True))
    assert read(scail, replaced, latent)[0].items[0].places == REPLACEMENT


def test_replaced_references_stand_on_black(vae, sides):
    given = everything(replacement_mode=True)
    where = (given["reference_image_mask"] > 0.1).any(-1, keepdim=True)
    cut = vae.encode((given["reference_image"] * where)[:1])
    values = prepared(vae, sides, **given)[0][0][1]
    assert torch.equal(values["reference_latents"][0], cut)


def test_a_run_shows_what_it_is_given(scail, vae, sides):
    everywhere = sampled(scail, *prepared(vae, sides, **everything())[:3])
    assert everywhere.isfinite().all() and everywhere.shape == (1, 16, 3, 12, 8)
    for change in (
        {"pose_video": None, "pose_video_mask": None},
        {"reference_image": None, "reference_image_mask": None},
        {"pose_video_mask": None},
        {"reference_image_mask": None},
        {"pose_strength": 0.5},
        {"pose_end_percent": 0.4},
        {"previous_frames": picture(9, 96, 64)},
    ):
        other = sampled(scail, *prepared(vae, sides, **{**everything(), **change})[:3])
        assert not torch.allclose(other, everywhere, atol=1e-4), change
    replaced = sampled(scail, *prepared(vae, sides, **everything(replacement_mode=True))[:3])
    assert not torch.allclose(replaced, everywhere, atol=1e-4)


def test_the_first_version_takes_references_and_poses(first, vae, sides):
    given = {"pose_video": picture(9, 96, 64), "reference_image": picture(1, 96, 64)}
    made = sampled(first, *prepared(vae, sides, **given)[:3])
    assert made.isfinite().all()
    for change, words in (
        (masks(), "brings coloured masks, which SCAIL-2 takes"),
        ({"replacement_mode": True}, "replaced"),
    ):
        with pytest.raises(WanDirectorError, match=f"is the first SCAIL, .*{words}"):
            sampled(first, *prepared(vae, sides, **{**given, **change})[:3])


def test_a_part_begins_with_the_last_frames_of_the_one_before(scail, vae, sides):
    before = picture(13, 96, 64)
    positive, negative, latent, following = prepared(
        vae, sides, pose_video=picture(30, 96, 64), reference_image=picture(1, 96, 64), previous_frames=before,
        video_frame_offset=13,
    )  # fmt: skip
    assert following == 13 - 5 + 9
    kept = vae.encode(before[-5:])
    assert torch.equal(latent["samples"][:, :, :2], kept)
    assert latent["noise_mask"].shape == (1, 1, 3, 12, 8)
    assert latent["noise_mask"][0, 0, :, 0, 0].tolist() == [0, 0, 1]
    (prompt,) = read(scail, positive, latent)
    (told,) = [item for item in prompt.items if isinstance(item, KeptFrames)]
    assert told.mask[0, :, :, 0, 0].tolist() == [[1, 1, 0]] * 4
    half = F.avg_pool2d(picture(30, 96, 64)[8:17].movedim(-1, 1), 2).movedim(1, -1)
    torch.testing.assert_close(positive[0][1]["pose_video_latent"], vae.encode(half), rtol=0, atol=1e-6)
    made = sampled(scail, positive, negative, latent)
    units = scail.spec.family
    assert torch.equal(made[:, :, :2], units.denormalize(units.normalize(kept)))


def test_kept_frames_are_clean_for_scail_2_and_noised_for_others(scail, first, vae, sides):
    latent = prepared(vae, sides, reference_image=picture(1, 96, 64), previous_frames=picture(5, 96, 64))[2]
    noise = torch.randn_like(latent["samples"])
    assert isinstance(given_of(scail, latent, latent["samples"], noise), HeldRegion)
    assert isinstance(given_of(first, latent, latent["samples"], noise), NoisyRegion)


def test_parts_are_those_of_comfyuis_node(vae, sides):
    given = {"pose_video": picture(30, 96, 64), "reference_image": picture(1, 96, 64), **masks(frames=30)}
    given |= {"previous_frames": picture(13, 96, 64), "video_frame_offset": 13}
    ours, theirs = prepared(vae, sides, **given), native(vae, sides, **given)
    assert ours[3] == theirs[3]
    for key in ("pose_video_latent", "driving_mask_28ch"):
        torch.testing.assert_close(ours[0][0][1][key], theirs[0][0][1][key], rtol=0, atol=2e-6)
    mask = theirs[2]["noise_mask"]
    assert torch.equal(ours[2]["noise_mask"], mask)
    kept = (1 - mask).bool().expand_as(ours[2]["samples"])
    torch.testing.assert_close(ours[2]["samples"][kept], theirs[2]["samples"][kept], rtol=0, atol=1e-6)


def test_poses_count_in_their_part_of_the_run(scail, vae, sides):
    given = {"pose_start_percent": 0.2, "pose_end_percent": 0.6, **everything()}
    ours, theirs = prepared(vae, sides, **given)[0], native(vae, sides, pose_start=0.2, pose_end=0.6, **everything())[0]
    ranges = [(values["start_percent"], values["end_percent"]) for _, values in ours]
    assert ranges == [(values["start_percent"], values["end_percent"]) for _, values in theirs]
    assert [round(place, 3) for pair in ranges for place in pair] == [0, 0.2, 0.2, 0.6, 0.6, 1]
    assert ["pose_video_latent" in values for _, values in ours] == [False, True, False]
    latent = prepared(vae, sides, **given)[2]
    assert [len(prompt.in_context) for prompt in read(scail, ours, latent)] == [0, 1, 0]
    negative = prepared(vae, sides, **given)[1]
    assert sampled(scail, ours, negative, latent, steps=5).isfinite().all()


def test_frames_that_do_not_go_together_are_told(vae, sides, caplog):
    with caplog.at_level(logging.INFO, logger="wan_director"):
        short = prepared(vae, sides, pose_video=picture(4, 96, 64))[0][0][1]
        assert short["pose_video_latent"].shape[2] == 2
        assert "The poses end after 4 of 9 frames" in caplog.text
        prepared(vae, sides, pose_video=picture(9, 96, 64), pose_video_mask=masks(frames=7)["pose_video_mask"])
        assert "pose_video has 9 frames and pose_video_mask 7; the first 7 of both are used" in caplog.text
        ended = prepared(vae, sides, pose_video=picture(9, 96, 64), video_frame_offset=9)[0][0][1]
        assert "pose_video_latent" not in ended and "pose_video has ended at frame 9" in caplog.text
        white = torch.ones(9, 96, 64, 3)
        prepared(vae, sides, pose_video=picture(9, 96, 64), pose_video_mask=white)
        assert "pose_video_mask has none of the colours of persons" in caplog.text
        prepared(vae, sides, pose_video=picture(9, 96, 64), replacement_mode=True)
        assert "without a pose_video_mask" in caplog.text


def test_pictures_of_another_shape_keep_plain_colours(vae, sides):
    small = {name: shown[:, ::3, ::2] for name, shown in masks().items()}
    for fit in ("crop", "pad", "stretch"):
        values = prepared(
            vae, sides, pose_video=picture(9, 48, 90), reference_image=picture(1, 50, 30), fit=fit, **small
        )
        channels = values[0][0][1]["ref_mask_28ch"][0, 0]
        assert channels.shape == (28, 12, 8)
        torch.testing.assert_close(channels[:7].sum(0), torch.ones(12, 8))  # no pixel lost its colour


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "Nothing is given. Connect pose_video and reference_image"),
        ({"width": 80}, "multiples of 32.* got 80 x 96"),
        ({"frames": 8}, r"1 \+ 4k"),
        ({"reference_image_mask": torch.zeros(1, 96, 64, 3), "pose_video": picture(9)}, "reference_image_mask and no"),
        ({"pose_video_mask": torch.zeros(9, 96, 64, 3), "reference_image": picture(1)}, "pose_video_mask and no pose"),
        ({"previous_frames": picture(9)}, "Connect pose_video and reference_image|previous"),
        ({"reference_image": picture(1), "previous_frames": picture(3)}, r"1 \+ 4k frames of the part before.* got 3"),
        (
            {"reference_image": picture(1), "previous_frames": picture(20), "previous_frame_count": 9},
            "fewer than its own 9; got 9",
        ),
        ({"pose_video": picture(9), "pose_start_percent": 0.7, "pose_end_percent": 0.3}, "from 0.7 to 0.3 of the run"),
        ({"pose_video": picture(9), "pose_end_percent": 7.0}, "parts of the run from 0 to 1, got 0 and 7"),
        ({"pose_video": picture(9), "video_frame_offset": -5}, "must be a whole number, 0 or more, got -5"),
        ({"pose_video": picture(9), "video_frame_offset": 2.5}, "must be a whole number, 0 or more, got 2.5"),
        ({"pose_video": picture(9), "pose_strength": "strong"}, "pose_strength must be"),
        ({"pose_video": picture(9), "pose_strength": 50.0}, "pose_strength is from 0 to 10, got 50"),
        ({"pose_video": picture(9), "pose_strength": -1.0}, "pose_strength is from 0 to 10, got -1"),
        ({"pose_video": picture(9), "pose_strength": float("nan")}, "pose_strength is from 0 to 10, got nan"),
        ({"pose_video": "a video"}, "pose_video must be pictures"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(vae, sides, given, words):
    if set(given) == {"previous_frames"}:
        assert prepared(vae, sides, **given)[2]["noise_mask"].min() == 0  # nothing else is needed
        return
    with pytest.raises(WanDirectorError, match=words):
        prepared(vae, sides, **given)


def test_other_models_and_vaes_are_refused_by_name(scail, vae, sides):
    positive, negative, latent, _ = prepared(vae, sides, **everything())
    with pytest.raises(WanDirectorError, match="carries masks of SCAIL-2 .*Load a SCAIL-2 model"):
        sampled(load("wan21_t2v.safetensors"), positive, negative, latent)
    with pytest.raises(WanDirectorError, match="is that of TI2V-5B"):
        prepared(load_vae("wan22_vae.safetensors"), sides, **everything())
    started = call("ImageToVideo", **sides, vae=vae, **{**SIZE, "frames": 9}, start_image=picture(1, 96, 64))
    with pytest.raises(WanDirectorError, match="takes no start image in channels.*Connect Wan SCAIL"):
        sampled(scail, *started[:3])


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("reference_latents", torch.zeros(1, 16, 1, 12, 8), "must be in a list"),
        ("reference_latents", [torch.zeros(1, 16, 2, 12, 8)], "16 channels and 2 frames"),
        ("reference_latents", [torch.zeros(1, 16, 1, 12, 6)] * 2, "prepared for a latent of"),
        ("reference_latents", [torch.zeros(1, 16, 1, 12, 8)], r"has 5 frames, but of references .* there are 1 \+ 3"),
        ("ref_mask_28ch", torch.zeros(1, 3, 28, 12, 8), r"has 3 frames, but of references .* there are 2 \+ 3"),
        ("ref_mask_28ch", torch.ones(1, 5, 28, 12, 8), "shows persons in frames of the video"),
        ("ref_mask_28ch", torch.zeros(1, 5, 27, 12, 8), r"mask of a reference picture has the shape \[1, 27"),
        ("pose_video_latent", torch.zeros(1, 16, 3, 12, 8), "half of its width and height"),
        ("pose_video_latent", torch.zeros(16, 3, 6, 4), "5 dimensions"),
        ("driving_mask_28ch", torch.zeros(1, 2, 28, 6, 4), "mask of the pose video has the shape"),
        ("driving_mask_28ch", "masks", "mask of the pose video .*must be"),
    ],
)
def test_bad_values_of_other_nodes_are_refused_in_a_sentence(scail, vae, sides, key, value, words):
    positive, _, latent, _ = prepared(vae, sides, **everything())
    with pytest.raises(WanDirectorError, match=words):
        read(scail, [[positive[0][0], {**positive[0][1], key: value}]], latent)


def test_what_the_positive_prompt_alone_is_given_is_told(scail, vae, sides, caplog):
    positive, negative, latent, _ = prepared(vae, sides, **everything())
    with caplog.at_level(logging.WARNING, logger="wan_director"):
        sampled(scail, positive, negative, latent)
        sampled(scail, positive, sides["negative"], latent, cfg=1.0)  # the negative prompt is not asked
        assert "guidance leads" not in caplog.text
        sampled(scail, positive, sides["negative"], latent)
    for words in ("what steers SCAIL", "what steers the CLIP image branch", "a pose video of SCAIL"):
        is_there = f"positive prompt carries {words} and the negative one does not" in caplog.text
        assert is_there == ("CLIP" not in words), words  # no picture was shown to CLIP here


def test_windows_swapped_blocks_and_batches(scail, vae, sides):
    positive, negative, latent, _ = prepared(
        vae, sides, frames=17, **{**everything(), **masks(frames=17, pictures=2), "pose_video": picture(17, 96, 64)}
    )
    whole = sampled(scail, positive, negative, latent)
    windowed = with_policies(scail, lambda policies: replace(policies, windows=SlidingWindows(3, 1)))
    parts = sampled(windowed, positive, negative, latent)
    assert parts.shape == whole.shape and parts.isfinite().all() and not torch.allclose(parts, whole, atol=1e-4)
    swapped = sampled(scail, positive, negative, latent, memory=call("Memory", **MEMORY))
    torch.testing.assert_close(swapped, whole, rtol=0, atol=1e-5)
    both = {**latent, "samples": latent["samples"].expand(2, -1, -1, -1, -1)}
    batch = sampled(scail, positive, negative, both)
    torch.testing.assert_close(batch[:1], whole, rtol=0, atol=1e-5)


def test_attention_guidance_a_step_cache_sparse_attention_and_texts_in_turn_go_with_poses(scail, vae, sides):
    positive, negative, latent, _ = prepared(vae, sides, **everything())
    plain = sampled(scail, positive, negative, latent, cfg=1.0)
    avoiding = guided(scail, nag_scale=11.0)
    assert not torch.allclose(sampled(avoiding, positive, negative, latent, cfg=1.0), plain, atol=1e-5)
    cache = {"method": "easycache", "threshold": 1e9, "start": 0.0, "end": 1.0, "most_in_a_row": 3, "table": ""}
    spared = sampled(call("StepCache", model=scail, **cache), positive, negative, latent, steps=12)
    assert spared.isfinite().all() and not torch.equal(spared, sampled(scail, positive, negative, latent, steps=12))
    sparse = call("LoadModel", model_name="scail2.safetensors", precision="auto", attention="radial")
    assert sampled(sparse, positive, negative, latent, cfg=1.0).isfinite().all()
    schedule = PromptSchedule((Moment(0.0, "frame"), Moment(5.0, "frame")))
    passes = in_turns([positive, negative], schedule, in_one_pass=False)
    assert sampled(scail, passes, negative, latent).isfinite().all()
    with pytest.raises(WanDirectorError, match="A pose video of SCAIL has no place in time among prompts"):
        sampled(scail, in_turns([positive, positive], schedule, in_one_pass=True), negative, latent)


def test_what_was_given_before_is_not_replaced_in_silence(vae, sides):
    positive, negative, *_ = prepared(vae, sides, **everything())
    with pytest.raises(WanDirectorError, match="has references or poses already"):
        prepared(vae, {"positive": positive, "negative": negative}, reference_image=picture(1))
    again = native(vae, {"positive": positive, "negative": negative}, reference_image=picture(1))[0]
    assert len(again[0][1]["reference_latents"]) == 3  # as ComfyUI's node adds them


def test_options_of_given_frames_are_refused_or_told_to_change_nothing(scail, caplog):
    with pytest.raises(WanDirectorError, match="takes no start image in channels of its own, which amplify changes"):
        moved(scail, 0.0, amplify=1.15)
    with pytest.raises(WanDirectorError, match="which low_pass changes"):
        moved(scail, 0.0, low_pass=0.4)
    windows = {"frames": 9, "overlap": 4, "schedule": "static", "blend": "linear", "noise": "repeated"}
    with caplog.at_level(logging.WARNING, logger="wan_director"):
        call("Windows", model=scail, **windows, from_sigma=1.0, keep_first_frame=True, frame_before=False)
    assert "keep_first_frame changes nothing" in caplog.text


def test_the_plan_counts_poses_and_references(scail, vae, sides):
    def working(**given):
        positive, _, latent, _ = prepared(vae, sides, frames=17, **given)
        conditioning = read(scail, positive, latent)
        job = sampling_job(scail, conditioning, latent["samples"], AUTOMATIC)
        return job.task.ways[0].working_bytes

    alone = working(reference_image=picture(1, 96, 64))
    assert working(reference_image=picture(2, 96, 64)) > alone
    with_poses = working(reference_image=picture(1, 96, 64), pose_video=picture(17, 96, 64))
    assert with_poses > alone
    assert working(reference_image=picture(1, 96, 64), pose_video=picture(9, 96, 64)) < with_poses
