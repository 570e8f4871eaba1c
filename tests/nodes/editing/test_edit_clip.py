"""Wan Edit Clip: what it leaves to the bit, what it refuses, and the ways through the engine."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.engine.memory import MemorySettings
from wan_director.engine.models import with_policies
from wan_director.sampling.windows import SlidingWindows

from ..conftest import FORMS, HIGH, LOW, call, encode, in_form, load, load_vae, save_experts

pytestmark = pytest.mark.usefixtures("inference")
WIDGETS = {
    "seed": 3, "steps": 5, "cfg": 4.0, "source_cfg": 1.5, "shift": 5.0, "schedule": "simple", "strength": 0.6,
    "auto_mask": "off",
}  # fmt: skip


def clip(*, batch: int = 1, frames: int = 3, channels: int = 16) -> dict:
    generator = torch.Generator().manual_seed(1)
    return {"samples": torch.randn(batch, channels, frames, 6, 8, generator=generator)}


def of_file(name: str):
    return call("LoadModel", model_name=name, precision="fp32", attention="auto")


def text(words: str) -> list:
    encoder = call("LoadTextEncoder", text_encoder_name="text.safetensors", precision="fp32", device="cpu")
    return call("TextEncode", text_encoder=encoder, positive=words, negative="bad")[0]


def edited(model="t2v.safetensors", **changes):
    negative = encode("text.safetensors")[1]
    inputs = {"positive": text("a blue ball"), "negative": negative, "source": text("a red ball"), "latent": clip()}
    model = of_file(model) if isinstance(model, str) else model
    return call("EditClip", model=model, **{**inputs, **WIDGETS, **changes})


def same_bits(first: torch.Tensor, second: torch.Tensor) -> bool:
    return torch.equal(first.contiguous().view(torch.int32), second.contiguous().view(torch.int32))


def half(frames: int = 9) -> torch.Tensor:
    """The left half of each frame."""
    mask = torch.zeros(frames, 48, 64)
    mask[:, :, :32] = 1
    return mask


def test_other_words_change_the_clip_and_the_mask_is_everywhere():
    latent, mask = edited()
    assert latent["samples"].shape == clip()["samples"].shape
    assert not torch.equal(latent["samples"], clip()["samples"])
    assert torch.equal(mask, torch.ones(9, 48, 64))


@pytest.mark.parametrize("auto_mask", ["off", "words"])
def test_each_clip_of_a_batch_is_edited_as_alone(auto_mask):
    several = {"samples": clip()["samples"].repeat(2, 1, 1, 1, 1), "batch_index": [4, 0]}
    made, mask = edited(latent=several, auto_mask=auto_mask)
    masks = mask.unflatten(0, (-1, 9))
    for place, numbers in enumerate(({"batch_index": [4]}, {})):
        alone, own = edited(latent=clip() | numbers, auto_mask=auto_mask)
        torch.testing.assert_close(made["samples"][place : place + 1], alone["samples"], rtol=0, atol=1e-5)
        assert torch.equal(masks[min(place, len(masks) - 1)], own)
    assert (made["samples"][:1] - made["samples"][1:]).abs().max() > 1e-3


@pytest.mark.parametrize(
    "changes",
    [{"strength": 0.0}, {"mask": torch.zeros(9, 48, 64)}, {"mask": torch.zeros(1, 48, 64)}, {"same": True}],
    ids=["no strength", "no mask", "no mask of one picture", "the same words"],
)
def test_nothing_to_change_leaves_the_clip_to_the_bit(changes):
    if changes.pop("same", False):
        changes |= {"source": text("a blue ball"), "source_cfg": 4.0}
    latent, _ = edited(**changes)
    assert same_bits(latent["samples"], clip()["samples"])


@pytest.mark.parametrize("model", ["t2v.safetensors", "two experts", *FORMS])
def test_outside_the_mask_the_clip_stays_to_the_bit(model, models):
    if model == "two experts":
        save_experts(models)
        pair = of_file(HIGH), of_file(LOW)
        made = call("Experts", high_noise=pair[0], low_noise=pair[1], low_noise_cfg=0.0, high_noise_steps=1)
    else:
        made = in_form(model, models) if model in FORMS else model
    latent, mask = edited(made, mask=half())
    assert torch.equal(mask, half())
    samples, source = latent["samples"], clip()["samples"]
    assert same_bits(samples[..., 4:], source[..., 4:])
    assert (samples[..., :4] != source[..., :4]).float().mean() > 0.99


def test_a_noise_mask_and_a_mask_both_count():
    rows = torch.zeros(1, 1, 3, 6, 8)
    rows[:, :, :, :3] = 1
    latent, mask = edited(latent={**clip(), "noise_mask": rows}, mask=half())
    changed = latent["samples"] != clip()["samples"]
    assert changed[..., :3, :4].float().mean() > 0.99
    assert not changed[..., 3:, :].any()
    assert not changed[..., 4:].any()
    assert mask[:, :24, :32].all()
    assert mask.mean() == 0.25


def test_the_mask_of_words_keeps_what_it_leaves_out_and_comes_back_the_same():
    latent, mask = edited(auto_mask="words", mask=half())
    inside = mask[::4, ::8, ::8].bool()[None, None].expand(1, 16, -1, -1, -1)
    samples, source = latent["samples"], clip()["samples"]
    assert 0 < mask.mean() <= 0.5
    assert same_bits(samples[~inside], source[~inside])
    assert (samples[inside] != source[inside]).float().mean() > 0.99
    again, used = edited(mask=mask)
    assert torch.equal(used, mask)
    assert same_bits(again["samples"], samples)


def test_the_mask_of_equal_words_is_empty():
    latent, mask = edited(auto_mask="words", source=text("a blue ball"), source_cfg=4.0)
    assert not mask.any()
    assert same_bits(latent["samples"], clip()["samples"])


@pytest.mark.parametrize("batch", [1, 2])
def test_each_video_of_a_batch_has_its_mask(batch):
    latent, mask = edited(latent=clip(batch=batch), auto_mask="words")
    assert mask.shape == (batch * 9, 48, 64)
    again, used = edited(latent=clip(batch=batch), mask=mask)
    assert torch.equal(used, mask)
    assert same_bits(again["samples"], latent["samples"])


def test_a_latent_pixel_that_the_mask_touches_is_edited():
    mask = torch.zeros(9, 48, 64)
    mask[2, 9, 17] = 1
    _, used = edited(mask=mask)
    expected = torch.zeros(9, 48, 64)
    expected[1:5, 8:16, 16:24] = 1
    assert torch.equal(used, expected)


@pytest.mark.parametrize("scale", [8, 1.5])
def test_a_thin_line_in_a_larger_mask_is_edited(scale):
    mask = torch.zeros(1, int(48 * scale), int(64 * scale))
    mask[0, 1, 1] = 1
    _, used = edited(mask=mask)
    expected = torch.zeros(9, 48, 64)
    expected[:, :8, :8] = 1
    assert torch.equal(used, expected)


def test_without_a_source_the_negative_prompt_stands_for_what_is_shown():
    made, _ = edited(source=None, source_cfg=9.0)
    as_source, _ = edited(source=encode("text.safetensors")[1], source_cfg=1.0)
    assert same_bits(made["samples"], as_source["samples"])


def test_an_edit_goes_on_from_another_without_the_vae():
    first, _ = edited()
    second, _ = edited(latent=first, positive=text("a blue box"), source=text("a blue ball"), mask=half())
    assert same_bits(second["samples"][..., 4:], first["samples"][..., 4:])


def test_swapped_blocks_give_the_same_bits():
    whole, _ = edited(auto_mask="words")
    swapped, _ = edited(auto_mask="words", memory=MemorySettings(blocks_to_swap=2))
    assert same_bits(whole["samples"], swapped["samples"])


def windowed(model, frames: int):
    windows = SlidingWindows(frames, frames // 2)
    return with_policies(model, lambda policies: replace(policies, windows=windows))


def test_windows_edit_long_clips_with_noise_that_repeats():
    model = of_file("t2v.safetensors")
    whole, _ = edited(model, latent=clip(frames=6))
    one, _ = edited(windowed(model, 8), latent=clip(frames=6))
    cut, _ = edited(windowed(model, 2), latent=clip(frames=6), mask=half(21))
    assert same_bits(one["samples"], whole["samples"])
    assert same_bits(cut["samples"][..., 4:], clip(frames=6)["samples"][..., 4:])
    same, _ = edited(windowed(model, 2), latent=clip(frames=6), source=text("a blue ball"), source_cfg=4.0)
    assert same_bits(same["samples"], clip(frames=6)["samples"])


def with_picture(words: str, seed: int) -> tuple:
    """Positive and negative with a first frame."""
    picture = torch.rand(1, 48, 64, 3, generator=torch.Generator().manual_seed(seed))
    sizes = {"width": 64, "height": 48, "frames": 9, "batch_size": 1, "fit": "crop"}
    positive, negative = text(words), encode("text.safetensors")[1]
    return call(
        "ImageToVideo",
        positive=positive,
        negative=negative,
        vae=load_vae("vae.safetensors"),
        start_image=picture,
        **sizes,
    )[:2]


def first_frame_edited(**changes):
    goal, own = with_picture("a blue ball", 1), with_picture("a red ball", 2)
    inputs = {"positive": goal[0], "negative": goal[1], "source": own[0], "source_negative": own[1]}
    return edited("i2v.safetensors", **{**inputs, **changes})


def test_an_edited_first_frame_is_carried_on_and_outside_the_mask_the_clip_stays():
    whole, _ = first_frame_edited()
    latent, _ = first_frame_edited(mask=half())
    assert (whole["samples"] != clip()["samples"]).float().mean() > 0.99
    assert same_bits(latent["samples"][..., 4:], clip()["samples"][..., 4:])


def test_the_same_first_frame_and_words_leave_the_clip_to_the_bit():
    goal = with_picture("a blue ball", 1)
    latent, _ = first_frame_edited(source=goal[0], source_negative=goal[1], source_cfg=4.0)
    assert same_bits(latent["samples"], clip()["samples"])


def test_the_negative_of_the_source_counts_with_its_pictures_and_none_is_the_negative():
    goal = with_picture("a blue ball", 1)
    own, _ = first_frame_edited()
    others, _ = first_frame_edited(source_negative=goal[1])
    assert not torch.equal(own["samples"], others["samples"])
    unsaid, _ = first_frame_edited(source=goal[0], source_negative=None)
    said, _ = first_frame_edited(source=goal[0], source_negative=goal[1])
    assert same_bits(unsaid["samples"], said["samples"])
    alone, _ = first_frame_edited(source_negative=None, source_cfg=1.0)  # asks with no negative prompt
    beside, _ = first_frame_edited(source_cfg=1.0)
    assert same_bits(alone["samples"], beside["samples"])


def test_a_negative_with_the_pictures_of_the_edit_alone_is_refused():
    with pytest.raises(InvalidInputError, match="to source_negative, or set source_cfg to 1"):
        first_frame_edited(source_negative=None)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"latent": {"samples": torch.zeros(1, 16, 3, 6, 8)}}, "The latent is empty"),
        ({"strength": 1.5}, "strength of an edit is from 0"),
        ({"auto_mask": "magic"}, "auto_mask is one of off, words"),
        ({"schedule": "none"}, "schedule"),
        ({"steps": 0}, "Steps must be a whole number from 1 to 1000, got 0"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"cfg": 101.0}, "Cfg must be from 0"),
        ({"source_cfg": 101.0}, "Cfg must be from 0"),
        ({"mask": torch.zeros(4, 48, 64)}, "one for each of the 9 frames"),
        ({"mask": torch.full((9, 48, 64), 2.0)}, "values from 0"),
        ({"mask": "white"}, "mask must be"),
        ({"source": []}, "source conditioning must be"),
        ({"source_negative": []}, "source_negative conditioning must be"),
        ({"memory": 3}, "memory must be the settings of Wan Memory"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_refused_in_a_sentence(changes, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        edited(**changes)


def test_a_latent_of_another_vae_is_refused():
    with pytest.raises(PairingError):
        edited(latent=clip(channels=48))


def test_a_step_cache_is_refused():
    settings = {"threshold": 0.5, "start": 0.0, "end": 1.0, "most_in_a_row": 2, "table": ""}
    cached = call("StepCache", model=load("t2v.safetensors"), method="easycache", **settings)
    with pytest.raises(InvalidInputError, match="Take the step cache away"):
        edited(cached)
