"""Wan Long Video: a film of one clip is that clip, every kind of model goes on, and what is refused."""

from __future__ import annotations

import logging

import pytest
import torch
import wan_director
from wan_director.common.errors import InvalidInputError, OutputError, PairingError
from wan_director.engine.local import Interrupted
from wan_director.media.sound.reading import SoundSpan, probe_sound, read_sound

from ..conftest import HIGH, LOW, call, load, load_vae, picture, save_experts
from .conftest import FILE, FILM, NODE, SAMPLER, encoder, film, frames_of, saved

NODES = wan_director.NODE_CLASS_MAPPINGS
WAN21 = {"vae": "wan21_vae.safetensors", "text_encoder": "wan21_text.safetensors"}


SIZE = {"width": 64, "height": 48, "batch_size": 1}


def prompted(text: str) -> dict:
    positive, negative = call("TextEncode", text_encoder=encoder(), positive=text, negative="bad")
    return {"positive": positive, "negative": negative}


def made(model, vae, sides: dict, latent: dict, seed: int = 7) -> torch.Tensor:
    settings = {**SAMPLER, "seed": seed, "denoise": 1.0}
    return call("Decode", vae=vae, latent=call("Sampler", model=model, latent=latent, **sides, **settings))


def clip(model, vae, text: str, start, seed: int = 7, **given) -> torch.Tensor:
    """A clip by the nodes for one."""
    positive, negative, latent = call(
        "ImageToVideo", vae=vae, start_image=start, frames=9, fit="crop", **prompted(text), **SIZE, **given
    )
    return made(model, vae, {"positive": positive, "negative": negative}, latent, seed)


def test_a_film_of_one_clip_is_that_of_the_nodes_for_one(tiny_host):
    model, vae = load("i2v.safetensors"), load_vae("vae.safetensors")
    film(model, vae=vae, prompts="a red ball", clips=1)
    call_save(clip(model, vae, "a red ball", picture(height=48, width=64)))
    assert frames_of(tiny_host, 1) == frames_of(tiny_host, 2) and len(frames_of(tiny_host)) == 9


def call_save(frames: torch.Tensor) -> None:
    NODES["WanDirectorSaveVideo"].execute(images=frames, **FILE)


def test_each_clip_is_that_of_its_prompt_and_seed_and_of_the_last_frames_before(tiny_host):
    """By hand: what the nodes for one clip make of the end of the clip before, to the bit."""
    model, vae = load("i2v.safetensors"), load_vae("vae.safetensors")
    film(model, vae=vae)
    first = clip(model, vae, "a red ball", picture(height=48, width=64))
    second = clip(model, vae, "a blue box", first[-5:], 8)
    third = clip(model, vae, "a blue box", second[-5:], 9)  # the last line counts for all that follow
    call_save(torch.cat([first, second[5:], third[5:]]))
    assert frames_of(tiny_host, 1) == frames_of(tiny_host, 2) and len(frames_of(tiny_host)) == 17


def ends(count: int) -> torch.Tensor:
    return picture(count + 1, height=48, width=64)[1:]


def test_clips_end_with_the_pictures_given_and_go_on_from_there(tiny_host):
    """By hand, as chains of first and last frames are made: to the bit, with the third clip free."""
    model, vae, last = load("i2v.safetensors"), load_vae("vae.safetensors"), ends(2)
    film(model, vae=vae, end_images=last, overlap=1)
    first = clip(model, vae, "a red ball", picture(height=48, width=64), end_image=last[:1])
    second = clip(model, vae, "a blue box", first[-1:], 8, end_image=last[1:])
    third = clip(model, vae, "a blue box", second[-1:], 9)
    call_save(torch.cat([first, second[1:], third[1:]]))
    assert frames_of(tiny_host, 1) == frames_of(tiny_host, 2) and len(frames_of(tiny_host)) == 25


def test_no_number_of_clips_makes_one_for_each_end_image(tiny_host):
    film(end_images=ends(3), clips=0)
    assert len(frames_of(tiny_host)) == 9 + 2 * 4


def test_a_first_clip_without_a_start_image_may_end_with_a_picture(tiny_host):
    model, vae, last = load("i2v.safetensors"), load_vae("vae.safetensors"), ends(1)
    film(model, vae=vae, start_image=None, end_images=last, clips=1, prompts="a red ball")
    call_save(clip(model, vae, "a red ball", None, end_image=last))
    assert frames_of(tiny_host, 1) == frames_of(tiny_host, 2)


def test_vace_ends_its_control_video_with_the_picture_and_is_free_in_between(tiny_host):
    model, vae, last = load("vace.safetensors"), load_vae("vae.safetensors"), ends(1)
    start = picture(height=48, width=64)
    film(model, vae=vae, end_images=last, clips=1, prompts="a red ball")
    masks = torch.ones(9, 48, 64)
    masks[[0, 8]] = 0
    control = torch.cat([start, torch.full((7, 48, 64, 3), 0.5), last])
    positive, negative, latent, _ = call(
        "Vace", vae=vae, frames=9, strength=1.0, control_video=control, control_masks=masks, **prompted("a red ball"),
        **SIZE,
    )  # fmt: skip
    call_save(made(model, vae, {"positive": positive, "negative": negative}, latent))
    assert frames_of(tiny_host, 1) == frames_of(tiny_host, 2)


def test_a_text_to_video_model_begins_where_there_is_no_start_image(tiny_host):
    first, model, vae = load("t2v.safetensors"), load("i2v.safetensors"), load_vae("vae.safetensors")
    film(model, vae=vae, first_model=first, start_image=None, clips=2)
    begun = made(first, vae, prompted("a red ball"), call("EmptyLatent", vae=vae, frames=9, **SIZE))
    call_save(torch.cat([begun, clip(model, vae, "a blue box", begun[-5:], 8)[5:]]))
    assert frames_of(tiny_host, 1) == frames_of(tiny_host, 2)


def test_vace_is_given_the_end_of_the_clip_before_as_a_control_video_to_keep(tiny_host):
    model, vae = load("vace.safetensors"), load_vae("vae.safetensors")
    film(model, vae=vae, start_image=None, clips=2)
    begun = made(model, vae, prompted("a red ball"), call("EmptyLatent", vae=vae, frames=9, **SIZE))
    masks = torch.ones(9, 48, 64)
    masks[:5] = 0
    positive, negative, latent, _ = call(
        "Vace", vae=vae, frames=9, strength=1.0, control_video=begun[-5:], control_masks=masks,
        **prompted("a blue box"), **SIZE,
    )  # fmt: skip
    call_save(torch.cat([begun, made(model, vae, {"positive": positive, "negative": negative}, latent, 8)[5:]]))
    assert frames_of(tiny_host, 1) == frames_of(tiny_host, 2) and len(begun) == 9


@pytest.mark.parametrize("overlap", [1, 5])
def test_ti2v_5b_takes_the_end_of_the_clip_before_inside_its_latent(tiny_host, overlap):
    parts = {"vae": load_vae("wan22_vae.safetensors"), "text_encoder": encoder("wan21_text.safetensors")}
    model = load("ti2v.safetensors")
    film(model, **parts, width=64, height=64, overlap=overlap, start_image=None)
    assert len(frames_of(tiny_host)) == 9 + 2 * (9 - overlap)
    film(model, **parts, width=64, height=64, overlap=overlap, start_image=None, clips=1, prompts="a red ball")
    assert frames_of(tiny_host, 1)[:9] == frames_of(tiny_host, 2)


def test_a_lucy_edit_model_makes_no_film():
    parts = {"vae": load_vae("wan22_vae.safetensors"), "text_encoder": encoder("wan21_text.safetensors")}
    with pytest.raises(PairingError, match="edits a clip that is there and makes no film"):
        film(load("lucy_edit.safetensors"), **parts, width=64, height=64, start_image=None)


def test_two_experts_make_a_film_and_change_over_in_each_clip(tiny_host, models, caplog):
    caplog.set_level(logging.INFO, "wan_director")
    save_experts(models)
    experts = call(
        "Experts", high_noise=load(HIGH), low_noise=load(LOW), low_noise_cfg=0.0, high_noise_steps=1
    )  # fmt: skip
    film(load("i2v.safetensors"), first_model=experts, start_image=None, clips=2)
    assert len([line for line in caplog.messages if "works from step 2 on" in line]) == 1
    assert len(frames_of(tiny_host)) == 13


def test_a_clip_vision_encoder_looks_at_the_first_given_frame_of_each_clip(tiny_host):
    seen = []
    vision = call("LoadClipVision", clip_vision_name="clip.safetensors")
    looking = type(vision).encode_image

    class Watched(type(vision)):
        def encode_image(self, image, crop=True):
            seen.append((tuple(image.shape), crop))
            return looking(self, image, crop)

    film(clip_vision=Watched(vision.placed), clips=2)
    film(clips=2)
    assert seen == [((1, 48, 64, 3), False)] * 2
    assert frames_of(tiny_host, 1) != frames_of(tiny_host, 2)


def test_each_different_prompt_is_encoded_once(tiny_host, monkeypatch):
    from wan_director.nodes.films import clips

    asked, encode = [], clips.encoded_prompts
    monkeypatch.setattr(clips, "encoded_prompts", lambda *args: asked.append(args[1]) or encode(*args))
    film(prompts="a\nb\n\na\nb", clips=4, steps=1)
    assert asked == [("a",), ("b",), ("bad",)]


def test_prompts_are_held_without_the_zeros_that_fill_them_up():
    from wan_director.nodes.films.clips import encode_film

    prompts = encode_film(encoder(), ["a red ball"], "bad", None)
    (embedding, _), *_ = prompts.encoded["a red ball"]
    whole = call("TextEncode", text_encoder=encoder(), positive="a red ball", negative="bad")[0][0][0]
    count = embedding.shape[1]
    assert count == len("a red ball") + 1 and torch.equal(whole[:, :count], embedding) and not whole[:, count:].any()


def test_progress_says_which_clip_it_is(tiny_host, monkeypatch):
    titles = []
    monkeypatch.setattr(
        tiny_host.runtime, "progress", lambda counted: shown(titles, tiny_host.runtime._where.told(counted))
    )
    film(clips=2)
    assert [title for title in titles if title.startswith("Sampling")] == [
        "Sampling, clip 1 of 2", "Sampling, clip 2 of 2",
    ]  # fmt: skip
    assert "Decoding, clip 2 of 2" in titles and "Encoding the prompt" in titles


def shown(titles, counted):
    from wan_director.engine.terminal import UnseenProgress

    titles.append(counted.title)
    return UnseenProgress()


@pytest.mark.parametrize("format", ["png frames", "mp4-h264"])
@pytest.mark.parametrize("at_call", [1, 60, 150])
def test_an_interrupt_leaves_no_file(tiny_host, monkeypatch, format, at_call):
    calls = []

    def check():
        calls.append(None)
        if len(calls) == at_call:
            raise Interrupted

    monkeypatch.setattr(tiny_host.runtime, "check_interrupt", check)
    with pytest.raises(Interrupted):
        film(format=format)
    assert saved(tiny_host) == {}


@pytest.mark.parametrize(
    ("changed", "error", "sentence"),
    [
        ({"overlap": 6}, InvalidInputError, "The overlap of two clips is 1 + 4k frames, got 6."),
        ({"overlap": 9}, InvalidInputError, "Clips of 9 frames that begin with 9 of the clip before"),
        ({"clips": 1}, InvalidInputError, "There are 2 prompts, one a line, for 1 clip."),
        ({"clips": -1}, InvalidInputError, "A film has 1 to 10,000 clips, got -1. 0 makes one for each prompt."),
        ({"clip_frames": 1, "overlap": 1}, InvalidInputError, "bring nothing new. Use longer clips."),
        (
            {"start_image": torch.zeros(9, 48, 64, 3)}, InvalidInputError,
            "start_image is a clip of 9 frames, and the first of 9 frames, which begins with them, would bring nothing",
        ),
        ({"prompts": "\n"}, InvalidInputError, "There is no prompt for the film."),
        ({"width": 40}, InvalidInputError, "The width must be a multiple of 16 pixels, got 40."),
        ({"solver": "none"}, InvalidInputError, "none"),
        (
            {"model": "wan21_i2v.safetensors", "start_image": None} | WAN21, PairingError,
            "needs a start image. Connect one as start_image, or a text-to-video model as first_model",
        ),
        ({"model": "t2v.safetensors"}, PairingError, "(T2V of the tiny demo model) takes no given frames"),
        (
            {"model": "t2v.safetensors", "start_image": None}, PairingError,
            "t2v.safetensors (T2V of the tiny demo model) takes no given frames, so it cannot go on",
        ),
        (
            {"first_model": "t2v.safetensors"}, PairingError,
            "There is a start_image, and t2v.safetensors (T2V of the tiny demo model) as first_model, which",
        ),
        ({"vae": "wan21_vae.safetensors"}, PairingError, "wan21_vae.safetensors belongs to Wan 2.1"),
        ({"text_encoder": "wan21_text.safetensors"}, PairingError, "wan21_text.safetensors"),
        ({"end_images": ends(4)}, InvalidInputError, "There are 4 end_images, one for the end of each clip"),
        ({"end_images": ends(1), "overlap": 5, "clip_frames": 5}, InvalidInputError, "bring nothing new"),
        ({"end_images": torch.zeros(3)}, InvalidInputError, "end_images"),
        (
            {"end_images": ends(1), "first_model": "t2v.safetensors", "start_image": None}, PairingError,
            "t2v.safetensors (T2V of the tiny demo model) makes the first clip and takes no frame that it ends with",
        ),
        (
            {"end_images": ends(1), "model": "ti2v.safetensors", "vae": "wan22_vae.safetensors", "width": 64,
             "height": 64, "text_encoder": "wan21_text.safetensors"}, PairingError,
            "takes given frames at the beginning of a clip alone",
        ),
        ({"model": 3}, InvalidInputError, "model must be the model of Load Wan Model"),
        ({"memory": 3}, InvalidInputError, "memory must be the settings of Wan Memory"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_before_anything_is_encoded(
    changed, error, sentence, monkeypatch, tiny_host
):
    from wan_director.nodes.films import node

    monkeypatch.setattr(node, "encode_film", lambda *_: pytest.fail("encoded"))
    makers = {"model": load, "first_model": load, "vae": load_vae, "text_encoder": encoder}
    given = {
        name: makers[name](value) if name in makers and isinstance(value, str) else value
        for name, value in changed.items()
    }
    with pytest.raises(error) as refused:
        film(given.pop("model", None), **given)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)
    assert saved(tiny_host) == {}


def test_a_disk_without_room_is_refused_before_anything_is_encoded(tiny_host, monkeypatch):
    from wan_director.nodes.films import node
    from wan_director.nodes.saving import place

    monkeypatch.setattr(node, "encode_film", lambda *_: pytest.fail("encoded"))
    free = place.shutil.disk_usage(tiny_host.output.parent)._replace(free=3_000)
    monkeypatch.setattr(place.shutil, "disk_usage", lambda _folder: free)
    with pytest.raises(OutputError, match=r"A film of 17 frames of 64 x 48 takes 0 MB at least, and 0 MB are free at"):
        film()


def test_widgets_are_checked_before_anything_runs(tiny_host):
    widgets = {name: FILM[name] for name in ("prompts", "width", "height", "clip_frames", "clips", "overlap")}
    widgets |= {"filename_prefix": "a", "format": "png frames"}
    assert NODE.validate_inputs(**widgets)
    for changed in ({"overlap": 3}, {"clips": 1}, {"prompts": ""}, {"width": 40}, {"clip_frames": 10}):
        with pytest.raises(InvalidInputError):
            NODE.validate_inputs(**{**widgets, **changed})
    assert NODE.validate_inputs(**{**widgets, "prompts": None, "clips": 1})  # what comes over a wire is not known yet


def test_a_film_has_a_sound_of_its_length(tiny_host):
    audio = {"waveform": torch.full((1, 2, 8_000), 0.25), "sample_rate": 8_000}
    film(format="mp4-h264", audio=audio)
    (file,) = tiny_host.output.rglob("*.mp4")
    heard = read_sound(file, probe_sound(file), SoundSpan(0.0, 17 / 8)).waveform
    assert heard.shape == (2, 17_000) and heard[:, 2_000:6_000].mean() > 0.1 and heard[:, 10_000:].abs().max() < 0.01
    with pytest.raises(InvalidInputError, match="'gif' has no room for sound"):
        film(format="gif", audio=audio)
