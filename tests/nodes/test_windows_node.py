"""Wan Windows: a short clip stays, long ones are cut for every kind of model, memory is that of a window, refusals."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.engine.memory import AUTOMATIC
from wan_director.engine.models import with_policies
from wan_director.engine.sampling.job import sampling_job
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.sockets.native_model import NativeModel
from wan_director.sampling.windows import WHOLE_CLIP, SlidingWindows
from wan_director.sampling.windows.blending import linear, linear_from_zero, pyramid
from wan_director.sampling.windows.placing import moving_starts, static_starts
from wan_director.sampling.windows.repeated_noise import fresh_noise

from .conftest import HIGH, LOW, call, encode, load, save_experts

pytestmark = pytest.mark.usefixtures("inference")

DEFAULTS = {"frames": 81, "overlap": 32, "schedule": "static", "blend": "pyramid", "noise": "repeated"}
MEMORY = {
    "mode": "manual", "budget": "leave free", "gigabytes": 1.0, "blocks_to_swap": 1, "pinned_ram": 0.0,
    "text_encoder": "auto", "vae": "auto", "vae_strips": 0, "feed_forward_tokens": 0,
}  # fmt: skip
SAMPLER = {"seed": 7, "cfg": 3.0, "steps": 3, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}


def in_windows(model, **changes):
    return call("Windows", model=model, **DEFAULTS | changes)


def sampled(model, prompts, frames: int = 7, **changes) -> torch.Tensor:
    sides = dict(zip(("positive", "negative"), prompts))
    latent = {"samples": torch.zeros(1, 16, frames, 6, 8)}
    return call("Sampler", model=model, latent=latent, **sides, **SAMPLER | changes)["samples"]


@pytest.fixture
def model(tiny_host):
    return load("t2v.safetensors")


@pytest.fixture
def prompts(tiny_host):
    return encode("text.safetensors")


def test_frames_are_latent_frames(model):
    assert in_windows(model).policies.windows == SlidingWindows(21, 8)
    options = {"schedule": "moving", "blend": "linear", "noise": "fresh", "from_sigma": 0.8, "keep_first_frame": True}
    found = in_windows(model, frames=17, overlap=7, frame_before=True, **options).policies.windows
    assert found == SlidingWindows(
        5, 1, moving_starts, linear, fresh_noise, 0.8, sees_one_before=True, keeps_first=True
    )


def test_a_video_no_longer_than_a_window_is_the_same_to_the_bit(model, prompts):
    plain = sampled(model, prompts)
    assert torch.equal(sampled(in_windows(model, frames=25, overlap=8), prompts), plain)
    assert torch.equal(sampled(in_windows(model), prompts), plain)
    assert not torch.equal(sampled(in_windows(model, frames=13, overlap=4), prompts), plain)


def test_a_longer_video_says_in_how_many_windows_it_is_made(model, prompts, caplog):
    with caplog.at_level(logging.INFO):
        sampled(in_windows(model, frames=13, overlap=8), prompts, frames=9)
    assert "The video of 33 frames is made in 4 windows of at most 13 frames at a time." in caplog.text


def test_steps_that_are_all_above_the_level_of_windows_say_so(model, prompts, caplog):
    """Two steps with a shift of 5 begin at 1 and 0.83."""
    sentence = "No step begins at a noise level low enough for windows (the lowest is 0.83)"
    options = {"frames": 13, "overlap": 8, "from_sigma": 0.8}
    for steps, frames, says in ((2, 9, True), (4, 9, False), (2, 4, False)):
        caplog.clear()
        sampled(in_windows(model, **options), prompts, frames=frames, steps=steps)
        assert (sentence in caplog.text) is says
    caplog.clear()
    sampled(model, prompts, frames=9, steps=2)
    assert "windows" not in caplog.text


def test_swapped_blocks_change_nothing(model, prompts):
    windows = in_windows(model, frames=13, overlap=8)
    swap = call("Memory", **MEMORY)
    assert torch.equal(sampled(windows, prompts, memory=swap), sampled(windows, prompts))


def test_both_experts_see_windows(models, prompts):
    save_experts(models)
    pair = call("Experts", high_noise=load(HIGH), low_noise=load(LOW), low_noise_cfg=0.0, high_noise_steps=1)
    windows = in_windows(pair, frames=13, overlap=4)
    assert windows.policies.windows == windows.low_noise.model.policies.windows == SlidingWindows(4, 1)
    assert not torch.equal(sampled(windows, prompts), sampled(pair, prompts))


def test_a_run_holds_a_window_and_not_the_whole_video(model, prompts):
    conditioning = load_conditioning(model, prompts)

    def task(windows, frames):
        changed = with_policies(model, lambda policies: replace(policies, windows=windows))
        return sampling_job(changed, conditioning, torch.zeros(1, 16, frames, 60, 104), AUTOMATIC).task

    short, long, whole = task(WHOLE_CLIP, 21), task(SlidingWindows(21, 8), 105), task(WHOLE_CLIP, 105)
    latents = 4 * 84 * 60 * 104 * 16 * 8
    assert long.ways[0].working_bytes - short.ways[0].working_bytes == pytest.approx(latents, rel=0.3)
    assert long.flops == short.flops and long.passes == 8 * short.passes
    assert whole.ways[0].working_bytes > long.ways[0].working_bytes + short.ways[0].working_bytes / 2


def load_conditioning(model, prompts):
    from wan_director.nodes.conditioning.entries import prompts_of

    latent = {"samples": torch.zeros(1, 16, 7, 6, 8)}
    return [prompts_of(model, side, latent, "positive", 5.0).parts[0].conditioning for side in prompts]


def test_moving_windows_and_a_step_cache_say_so(model, prompts, caplog):
    cached = call(
        "StepCache", model=model, method="easycache", threshold=-1.0, start=0.2, end=0.95, most_in_a_row=3, table=""
    )
    for schedule, says in (("static", False), ("moving", True)):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            sampled(in_windows(cached, frames=13, overlap=4, schedule=schedule), prompts, steps=12)
        assert ("The windows stand elsewhere in other steps" in caplog.text) is says


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"frames": 80}, "A window has 1 + 4k frames and shares 0 or more with the next, got 80 and 32. Use 77 or 81"),
        ({"overlap": -4}, "got 81 and -4"),
        ({"frames": 33, "overlap": 36}, "cannot share 36 frames with the next. Use an overlap of at most 32."),
        ({"from_sigma": 1.5}, "from_sigma is a noise level from 0 to 1"),
        ({"schedule": "looped"}, "There is no schedule of windows 'looped'. Choose one of: static, moving."),
        ({"blend": "none"}, "There is no blend of windows 'none'"),
        ({"noise": "none"}, "There is no noise of windows 'none'"),
    ],
)
def test_what_no_windows_have_is_refused(model, changes, sentence):
    with pytest.raises(InvalidInputError, match=sentence.replace("+", r"\+")):
        in_windows(model, **changes)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("t2v.safetensors", "takes no start image."),
        ("ti2v.safetensors", "has its start image in the latent, where it stands at the beginning of the video alone."),
        ("i2v.safetensors", ""),
        ("vace.safetensors", ""),
    ],
)
def test_a_first_frame_that_cannot_be_kept_is_told(name, why, tiny_host, caplog):
    in_windows(load(name), keep_first_frame=True)
    told = [line for line in caplog.messages if "keep_first_frame changes nothing" in line]
    assert len(told) == bool(why) and all(name in line and line.endswith(why) for line in told)
    caplog.clear()
    in_windows(load(name))
    assert "keep_first_frame" not in caplog.text


def test_two_kinds_of_windows_are_refused(model):
    with pytest.raises(InvalidInputError, match="t2v.safetensors comes with windows already"):
        in_windows(in_windows(model))


NATIVE = {
    "context_length": 33, "context_overlap": 14, "context_schedule": "standard_uniform", "context_stride": 1,
    "closed_loop": False, "fuse_method": "pyramid", "freenoise": True,
}  # fmt: skip


def native(name: str, model, **changes):
    options = NATIVE if name.startswith("Wan") else NATIVE | {"dim": 2, "context_length": 9, "context_overlap": 3}
    (result,) = CORE_NODES[name].execute(model=NativeModel(model), **options | changes).args
    return result.model.policies.windows


def test_the_nodes_of_comfyui_are_the_same_windows(model):
    expected = SlidingWindows(9, 3, moving_starts, pyramid, sees_one_before=True)
    assert native("WanContextWindowsManual", model) == expected
    assert native("ContextWindowsManual", model) == expected
    kept = native("WanContextWindowsManual", model, retain_first_frame=True, freenoise=False)
    assert kept == replace(expected, keeps_first=True, noising=fresh_noise)
    plain = native(
        "ContextWindowsManual", model, context_schedule="standard_static", fuse_method="overlap-linear",
        causal_window_fix=False, cond_retain_index_list="0",
    )  # fmt: skip
    assert plain == SlidingWindows(9, 3, static_starts, linear_from_zero, keeps_first=True)


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("WanContextWindowsManual", {"context_schedule": "looped_uniform"}, "no windows of the context_schedule"),
        (
            "WanContextWindowsManual",
            {"context_stride": 2},
            "neighbouring frames alone, got a context_stride of 2",
        ),
        ("WanContextWindowsManual", {"split_conds_to_windows": True}, "Switch it off, or use Wan Prompt Travel"),
        ("ContextWindowsManual", {"dim": 0}, "are dim 2, got 0"),
        ("ContextWindowsManual", {"cond_retain_index_list": "0, 1"}, "keeps the first frame alone"),
        ("ContextWindowsManual", {"latent_retain_index_list": "0"}, "keeps no latent frames in each window"),
        ("ContextWindowsManual", {"context_overlap": 9}, "Windows of 9 latent frames cannot overlap in 9"),
    ],
)
def test_windows_that_are_not_here_are_refused(model, name, changes, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        native(name, model, **changes)
