"""Wan Bernini Conditioning and ComfyUI's own: what goes to the model, in windows, with stages, and what is refused."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
import wan_director
from wan_director.common.errors import WanDirectorError
from wan_director.dit.branches.vace import VaceBranch
from wan_director.dit.conditioning.in_context import ContextClip
from wan_director.engine.memory import AUTOMATIC
from wan_director.engine.models import with_policies
from wan_director.engine.sampling.job import sampling_job
from wan_director.nodes.conditioning.entries import prompts_of
from wan_director.nodes.conditioning.in_context import ClipRole
from wan_director.nodes.conditioning.travel import in_turns
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.core_nodes.scaling import scaled
from wan_director.sampling.guidance import NOTHING_SHOWN, SOURCE_SHOWN
from wan_director.sampling.travel import Moment, PromptSchedule
from wan_director.sampling.windows import SlidingWindows

from .conftest import HEADS, call, dit, encode, load, load_vae, picture, save_model

SIZE = {"width": 64, "height": 48, "frames": 9, "batch_size": 1, "fit": "crop", "reference_max_size": 848}
MEMORY = {
    "mode": "manual", "budget": "leave free", "gigabytes": 1.0, "blocks_to_swap": 1, "pinned_ram": 0.0,
    "text_encoder": "auto", "vae": "auto", "vae_strips": 0, "feed_forward_tokens": 64,
}  # fmt: skip
RUN = {"steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "seed": 5, "denoise": 1.0}


@pytest.fixture(scope="module")
def bernini_name(models):
    name = "wan2.2_bernini_r_high_noise_fp8_scaled.safetensors"
    save_model(models / "diffusion_models" / name, dit(text_dim=4096), HEADS)
    return name


@pytest.fixture
def bernini(tiny_host, bernini_name):
    return load(bernini_name)


@pytest.fixture
def vae(tiny_host):
    return load_vae("wan21_vae.safetensors")


@pytest.fixture
def sides(tiny_host):
    return dict(zip(("positive", "negative"), encode("wan21_text.safetensors")))


def prepared(vae, sides, **given):
    return call("Bernini", vae=vae, **sides, **{**SIZE, **given})


def sampled(model, sides, latent, **run):
    return call("Sampler", model=model, latent=latent, **sides, **{**RUN, **run})["samples"]


def test_streams_are_the_source_in_the_videos_size_and_references_in_their_own(vae, sides):
    given = {
        "source_video": picture(9, 96, 100),
        "reference_video": picture(7, 40, 90),
        "reference_image_1": picture(1, 30, 50),
        "reference_image_3": picture(2, 100, 33),
    }
    positive, negative, latent = prepared(vae, sides, **given, reference_max_size=64)
    values = positive[0][1]
    assert [tuple(each.shape[1:]) for each in values["context_latents"]] == [
        (16, 3, 6, 8), (16, 3, 4, 8), (16, 1, 4, 6), (16, 1, 8, 2), (16, 1, 8, 2),
    ]  # fmt: skip
    roles = (ClipRole(1, is_source=True), *(ClipRole(number, is_source=False) for number in (2, 3, 4, 5)))
    assert values["wan_director_context"] == roles == negative[0][1]["wan_director_context"]
    assert latent["samples"].shape == (1, 16, 3, 6, 8) and not latent["samples"].any()
    alone = vae.encode(picture(1, 48, 64))
    assert torch.equal(prepared(vae, sides, source_video=picture(1, 48, 64))[0][0][1]["context_latents"][0], alone)


def test_frames_beyond_the_end_are_left_out_and_a_short_source_is_said(vae, sides, caplog):
    with caplog.at_level(logging.INFO, logger="wan_director"):
        long = prepared(vae, sides, source_video=picture(14))[0][0][1]["context_latents"][0]
        short = prepared(vae, sides, source_video=picture(4))[0][0][1]["context_latents"][0]
    assert long.shape[2] == 3 and short.shape[2] == 2
    assert "source_video has 14 frames; the first 9 are used." in caplog.text
    assert "what comes after them is made freely" in caplog.text


def test_a_run_sees_the_clips_and_without_them_is_that_of_the_blank_latent(bernini, vae, sides):
    positive, negative, latent = prepared(vae, sides, source_video=picture(9), reference_image_1=picture(1, 32, 32))
    blank = call("EmptyLatent", vae=vae, **{name: SIZE[name] for name in ("width", "height", "frames", "batch_size")})
    plain = sampled(bernini, sides, blank)
    assert torch.equal(sampled(bernini, sides, latent), plain)
    edited = sampled(bernini, {"positive": positive, "negative": negative}, latent)
    assert edited.shape == plain.shape and edited.isfinite().all() and not torch.allclose(edited, plain, atol=1e-3)


def test_comfyuis_node_gives_ids_and_sizes_of_its_own(vae, sides):
    """As it does: areas averaged, the longer side capped, sides snapped to 16."""
    source, shown = picture(9, 96, 100), picture(2, 100, 33)
    size = {"width": 64, "height": 48, "length": 9, "batch_size": 2}
    pictures = {"reference_image_1": shown[:1], "reference_image_0": shown[1:]}
    node = CORE_NODES["BerniniConditioning"]
    positive, negative, latent = node.execute(
        **sides, vae=vae, **size, source_video=source, reference_images=pictures, ref_max_size=64
    ).args
    first, *others = positive[0][1]["context_latents"]
    assert torch.equal(first, vae.encode(scaled(source, 64, 48, "area", "center")))
    expected = [scaled(each, 16, 64, "area") for each in (shown[1:], shown[:1])]
    assert all(torch.equal(found, vae.encode(each)) for found, each in zip(others, expected, strict=True))
    assert [role.source_id for role in negative[0][1]["wan_director_context"]] == [1, 2, 3]
    assert latent["samples"].shape == (2, 16, 3, 6, 8)
    nothing = node.execute(**sides, vae=vae, **size).args
    assert nothing[0] == sides["positive"] and "context_latents" not in nothing[0][0][1]


def test_comfyuis_node_takes_the_size_of_any_picture(vae, sides):
    """As it does: what stands over whole cells is cut off, and their number may be odd."""
    source = picture(1, 75, 90)
    node = CORE_NODES["BerniniConditioning"]
    size = {"width": 90, "height": 75, "length": 1, "batch_size": 1}
    positive, _, latent = node.execute(**sides, vae=vae, **size, source_video=source).args
    (encoded,) = positive[0][1]["context_latents"]
    assert encoded.shape == latent["samples"].shape == (1, 16, 1, 9, 11)
    with pytest.raises(WanDirectorError, match="at least 32 pixels, got 20"):
        node.execute(**sides, vae=vae, **size | {"height": 20}, source_video=source)


def test_native_values_without_roles_are_read(bernini, vae, sides):
    """Of the size of the video the first is the source; ids count from 1."""
    latent = {"samples": torch.zeros(1, 16, 3, 6, 8)}
    streams = [torch.rand(1, 16, 3, 6, 8), torch.rand(1, 16, 1, 6, 8)]

    def read(*clips):
        entries = [[sides["positive"][0][0], {"context_latents": list(clips)}]]
        return prompts_of(bernini, entries, latent, "positive", 5.0).parts[0].conditioning.in_context

    found = read(*streams)
    assert [(clip.source_id, clip.is_source) for clip in found] == [(1, True), (2, False)]
    assert torch.equal(found[1].latent, bernini.spec.family.normalize(streams[1]))
    assert [clip.is_source for clip in read(torch.rand(1, 16, 1, 4, 4), streams[0])] == [False, False]
    assert read() == ()


def test_windows_and_stages_ask_with_their_part_of_the_clips(bernini, vae, sides):
    positive, negative, latent = prepared(
        vae, sides, source_video=picture(9), reference_image_1=picture(1, 32, 32), frames=17
    )
    both = {"positive": positive, "negative": negative}
    cut = with_policies(bernini, lambda policies: replace(policies, windows=SlidingWindows(3, 1)))
    whole, in_windows = sampled(bernini, both, latent), sampled(cut, both, latent)
    assert in_windows.isfinite().all() and not torch.allclose(whole, in_windows, atol=1e-3)
    staged = guided(bernini, staged_video=1.25, staged_references=4.5)
    asks = staged.policies.guidance(3.0).asks(None)
    assert {NOTHING_SHOWN, SOURCE_SHOWN} <= set(asks) and len(asks) == 4
    assert not torch.allclose(sampled(staged, both, latent), whole, atol=1e-4)
    off = guided(bernini, staged_video=1.0, staged_references=1.0)
    assert torch.equal(sampled(off, both, latent), whole)


def guided(model, **stages):
    """The model with guidance in stages, and all else of the node off."""
    schema = wan_director.NODE_CLASS_MAPPINGS["WanDirectorGuidance"].GET_NODE_INFO_V1()["input"]
    widgets = {
        name: spec[1]["default"] for group in schema.values() for name, spec in group.items() if "default" in spec[1]
    }
    return call("Guidance", model=model, **{**widgets, "formula": "staged", **stages})


def test_stages_that_are_the_same_are_told(bernini, vae, sides, caplog):
    staged, picture_only = guided(bernini), {"reference_image_1": picture(1, 32, 32)}
    cases = (({"source_video": picture(9)}, "no reference beside"), (picture_only, "there is no source video. Set"))
    for given, words in cases:
        positive, negative, latent = prepared(vae, sides, **given)
        caplog.clear()
        sampled(staged, {"positive": positive, "negative": negative}, latent)
        assert words in caplog.text
    caplog.clear()
    sampled(staged, sides, latent)
    assert "no source video and no reference in the negative prompt" in caplog.text


def test_the_plan_counts_the_tokens_of_clips(bernini, vae, sides):
    """A source of the video's size takes as many as the video; in windows, as many as a window."""
    positive, _, small = prepared(vae, sides, source_video=picture(9))
    (prompt,) = (part.conditioning for part in prompts_of(bernini, positive, small, "positive", 5.0).parts)
    latent = torch.empty(1, 16, 21, 60, 104, device="meta")
    sourced = replace(prompt, in_context=(ContextClip(latent, 1.0, is_source=True),))
    plain, beside = (
        sampling_job(bernini, [each], latent, AUTOMATIC).task for each in (replace(prompt, in_context=()), sourced)
    )
    assert beside.flops > 3 * plain.flops
    weights = beside.ways[0].working_bytes / plain.ways[0].working_bytes
    assert 1.3 < weights < 2
    cut = with_policies(bernini, lambda policies: replace(policies, windows=SlidingWindows(6, 1)))
    windows = sampling_job(cut, [sourced], latent, AUTOMATIC).task
    assert windows.ways[0].working_bytes < 0.7 * beside.ways[0].working_bytes


def test_a_model_of_another_name_is_told_of(tiny_host, vae, sides, caplog):
    positive, negative, latent = prepared(vae, sides, reference_image_1=picture(1))
    sampled(load("wan21_t2v.safetensors"), {"positive": positive, "negative": negative}, latent)
    assert "is not Bernini-R by its name" in caplog.text


def test_bernini_is_recognised_by_its_name(bernini):
    assert any("By its name this is Bernini-R, which takes" in note for note in bernini.spec.notes)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "Nothing is given. Connect source_video"),
        ({"reference_image_1": picture(5), "reference_image_2": picture(4)}, "There are 9 reference pictures"),
        ({"reference_image_1": picture(1), "reference_max_size": 8}, "at least 16, got 8"),
        ({"source_video": torch.full((1, 8, 8, 3), torch.nan)}, "source_video holds 192 values"),
        ({"source_video": picture(1), "frames": 8}, "1 . 4k"),
    ],
)
def test_what_cannot_be_prepared_is_refused(given, words, vae, sides):
    with pytest.raises(WanDirectorError, match=words):
        prepared(vae, sides, **given)


def test_what_was_given_before_is_not_replaced_in_silence(vae, sides):
    positive, negative, _latent = prepared(vae, sides, source_video=picture(9))[:3]
    with pytest.raises(WanDirectorError, match="has source videos or references already"):
        prepared(vae, {"positive": positive, "negative": negative}, reference_image_1=picture(1))


@pytest.mark.parametrize("wrong", [None, "x", [], [1]])
def test_what_is_no_conditioning_is_refused_in_a_sentence(wrong, vae, sides):
    with pytest.raises(WanDirectorError, match="conditioning must be a list of"):
        prepared(vae, {**sides, "positive": wrong}, reference_image_1=picture(1))


def test_the_vae_of_5b_is_refused(tiny_host, sides):
    with pytest.raises(WanDirectorError, match="this VAE is that of TI2V-5B"):
        prepared(load_vae("wan22_vae.safetensors"), sides, source_video=picture(1), width=64, height=64)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(1, 16, 3, 6, 8), "must be in a list"),
        ([torch.zeros(16, 3, 6, 8)], "must be a latent of 5 dimensions"),
        ([torch.zeros(1, 48, 3, 6, 8)], "48 channels, but the latent to sample is 1 of 16"),
    ],
)
def test_values_that_are_no_clips_are_refused(value, words, bernini, sides):
    sides = {side: [[entries[0][0], {"context_latents": value}]] for side, entries in sides.items()}
    with pytest.raises(WanDirectorError, match=words):
        sampled(bernini, sides, {"samples": torch.zeros(1, 16, 3, 6, 8)})


def test_other_models_and_prompts_that_take_turns_are_refused(bernini, vae, sides, models):
    positive, negative, latent = prepared(vae, sides, source_video=picture(9))
    both = {"positive": positive, "negative": negative}
    with pytest.raises(WanDirectorError, match="takes no source video or references of Bernini"):
        sampled(load("wan21_i2v.safetensors"), both, latent)
    vace_model = dit(text_dim=4096, branches=(VaceBranch(2),))
    save_model(models / "diffusion_models" / "vace_bernini.safetensors", vace_model, HEADS)
    size = {name: SIZE[name] for name in ("width", "height", "frames", "batch_size")}
    vace = call("Vace", vae=vae, **both, **size, strength=1.0, control_video=picture(9))
    with pytest.raises(WanDirectorError, match="brings .* and a source video or reference of Bernini"):
        sampled(load("vace_bernini.safetensors"), dict(zip(("positive", "negative"), vace)), vace[2])
    schedule = PromptSchedule((Moment(0.0, "frame"), Moment(5.0, "frame")))
    entries = in_turns([positive, positive], schedule, in_one_pass=True)
    with pytest.raises(WanDirectorError, match="no place in time among prompts"):
        sampled(bernini, {"positive": entries, "negative": negative}, latent)


def test_attention_guidance_a_step_cache_and_swapped_blocks_go_with_clips(bernini, vae, sides):
    positive, negative, latent = prepared(vae, sides, source_video=picture(9), reference_image_1=picture(1, 32, 32))
    both = {"positive": positive, "negative": negative}
    plain = sampled(bernini, both, latent, cfg=1.0)
    avoiding = guided(bernini, formula="cfg", nag_scale=11.0)
    assert not torch.allclose(sampled(avoiding, both, latent, cfg=1.0), plain, atol=1e-5)
    assert torch.equal(sampled(bernini, both, latent, cfg=1.0, memory=call("Memory", **MEMORY)), plain)
    cached = call(
        "StepCache", model=bernini, method="easycache", threshold=1e9, start=0.0, end=1.0, most_in_a_row=3, table=""
    )
    twelve = sampled(bernini, both, latent, steps=12)
    spared = sampled(cached, both, latent, steps=12)
    assert spared.isfinite().all() and not torch.equal(spared, twelve)
