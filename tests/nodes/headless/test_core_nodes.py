"""ComfyUI's own nodes on the command line compute what ComfyUI's compute; restated here from its v0.33.0."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.common.errors import GraphError, InvalidInputError, OutOfMemory, OutputError
from wan_director.engine.local import Interrupted
from wan_director.nodes.headless.checks import check_graph
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import run_graph
from wan_director.nodes.standin import HiddenHolder

METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]


def call(name: str, **inputs):
    """The outputs of a node; the output itself when there is one."""
    results = CORE_NODES[name].execute(**inputs).args
    return results[0] if len(results) == 1 else results


def pictures(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def upscale(samples: torch.Tensor, width: int, height: int, method: str, crop: str) -> torch.Tensor:
    """ComfyUI's common_upscale of [F, C, H, W]."""
    if crop == "center":
        old, new = samples.shape[3] / samples.shape[2], width / height
        x = round((samples.shape[3] - samples.shape[3] * (new / old)) / 2) if old > new else 0
        y = round((samples.shape[2] - samples.shape[2] * (old / new)) / 2) if old < new else 0
        samples = samples[:, :, y : samples.shape[2] - y, x : samples.shape[3] - x]
    if method != "lanczos":
        return F.interpolate(samples, size=(height, width), mode=method)
    resized = []
    for picture in samples:
        shown = Image.fromarray(np.clip(255.0 * picture.movedim(0, -1).numpy(), 0, 255).astype(np.uint8).squeeze())
        pixels = np.array(shown.resize((width, height), resample=Image.Resampling.LANCZOS)).astype(np.float32) / 255.0
        resized.append(torch.from_numpy(pixels.reshape(height, width, -1)).movedim(-1, 0))
    return torch.stack(resized)


@pytest.mark.parametrize("crop", ["disabled", "center"])
@pytest.mark.parametrize("method", METHODS)
def test_pictures_are_scaled_as_comfyui_scales_them(method, crop):
    clip = pictures(2, 20, 31, 3)
    scaled = call("ImageScale", image=clip, upscale_method=method, width=17, height=40, crop=crop)
    assert torch.equal(scaled, upscale(clip.movedim(-1, 1), 17, 40, method, crop).movedim(1, -1))


def test_a_side_of_0_follows_from_the_other():
    clip = pictures(1, 20, 30, 3)
    options = {"image": clip, "upscale_method": "area", "crop": "disabled"}
    assert call("ImageScale", width=15, height=0, **options).shape == (1, 10, 15, 3)
    assert call("ImageScale", width=0, height=40, **options).shape == (1, 40, 60, 3)
    assert call("ImageScale", width=0, height=0, **options) is clip


def test_pictures_are_scaled_by_a_number_and_to_a_number_of_pixels():
    clip = pictures(1, 20, 30, 3)
    by = call("ImageScaleBy", image=clip, upscale_method="bilinear", scale_by=1.55)
    assert torch.equal(by, upscale(clip.movedim(-1, 1), 46, 31, "bilinear", "disabled").movedim(1, -1))
    total = {"image": clip, "upscale_method": "bilinear", "megapixels": 0.01}
    assert call("ImageScaleToTotalPixels", resolution_steps=1, **total).shape == (1, 84, 125, 3)
    assert call("ImageScaleToTotalPixels", resolution_steps=16, **total).shape == (1, 80, 128, 3)


@pytest.mark.parametrize(
    ("rule", "values", "size"),
    [
        ("scale dimensions", {"width": 12, "height": 0, "crop": "center"}, (8, 12)),
        ("scale dimensions", {"width": 12, "height": 12, "crop": "disabled"}, (12, 12)),
        ("scale by multiplier", {"multiplier": 0.5}, (10, 15)),
        ("scale longer dimension", {"longer_size": 60}, (40, 60)),
        ("scale shorter dimension", {"shorter_size": 10}, (10, 15)),
        ("scale width", {"width": 15}, (10, 15)),
        ("scale height", {"height": 10}, (10, 15)),
        ("scale total pixels", {"megapixels": 0.01}, (84, 125)),
        ("match size", {"match": torch.zeros(1, 5, 7), "crop": "center"}, (5, 7)),
        ("scale to multiple", {"multiple": 8}, (16, 24)),
    ],
)
def test_each_rule_resizes_pictures_and_masks(rule, values, size):
    options = {"resize_type": {"resize_type": rule, **values}, "scale_method": "area"}
    clip = pictures(2, 20, 30, 3)
    resized = call("ResizeImageMaskNode", input=clip, **options)
    assert resized.shape == (2, *size, 3)
    mask = call("ResizeImageMaskNode", input=clip[..., 0], **options)
    torch.testing.assert_close(mask, resized[..., 0])


def test_scaling_to_multiples_cuts_what_stands_over():
    clip = pictures(1, 20, 30, 3)
    resized = call(
        "ResizeImageMaskNode", input=clip, resize_type={"resize_type": "scale to multiple", "multiple": 8},
        scale_method="bilinear",
    )  # fmt: skip
    cover = upscale(clip.movedim(-1, 1), 24, 16, "bilinear", "disabled").movedim(1, -1)
    assert torch.equal(resized, cover)
    wide = call(
        "ResizeImageMaskNode", input=pictures(1, 17, 31, 3), scale_method="bilinear",
        resize_type={"resize_type": "scale to multiple", "multiple": 8},
    )  # fmt: skip
    cover = upscale(pictures(1, 17, 31, 3).movedim(-1, 1), 30, 16, "bilinear", "disabled").movedim(1, -1)
    assert torch.equal(wide, cover[:, :, 3:27])


def test_what_would_have_no_pixels_is_refused():
    with pytest.raises(InvalidInputError, match=r"new size would be 0x0 pixels; each side has at least 1. Enlarge it"):
        call("ImageScaleBy", image=pictures(1, 2, 2, 3), upscale_method="area", scale_by=0.01)


def test_what_would_not_fit_into_ram_is_refused_before_it_is_made():
    clip = torch.zeros(1, 1, 1, 3).expand(4096, -1, -1, -1)
    with pytest.raises(OutOfMemory, match=r"4096 pictures of 16384x16384 take .* GB of RAM, and .* free. Take fewer"):
        call("ImageScale", image=clip, upscale_method="area", width=16384, height=16384, crop="disabled")
    with pytest.raises(OutOfMemory, match="4096 pictures of 16384x16384"):
        call("EmptyImage", width=16384, height=16384, batch_size=4096, color=0)
    with pytest.raises(OutOfMemory, match="pictures take"):
        call("RepeatImageBatch", image=torch.zeros(1, 1, 1, 1).expand(4096, 1000, 1000, 3), amount=4096)


@pytest.mark.parametrize(
    ("batch_index", "length", "kept"), [(2, 2, [2, 3]), (9, 3, [4]), (-2, 9, [3, 4]), (-9, 1, [0])]
)
def test_frames_are_taken_from_either_end(batch_index, length, kept):
    clip = torch.arange(5.0).view(5, 1, 1, 1)
    taken = call("ImageFromBatch", image=clip, batch_index=batch_index, length=length)
    assert taken.flatten().tolist() == kept


def test_batches_are_joined_in_the_size_of_the_first():
    first, second, clear = pictures(2, 8, 8, 3), pictures(1, 10, 20, 3), pictures(1, 8, 8, 4)
    fitted = upscale(second.movedim(-1, 1), 8, 8, "bilinear", "center").movedim(1, -1)
    assert torch.equal(call("ImageBatch", image1=first, image2=second), torch.cat([first, fitted]))
    joined = call("BatchImagesNode", images={"image0": first, "image1": clear, "image2": second})
    assert joined.shape == (4, 8, 8, 4) and (joined[:2, ..., 3] == 1).all()
    assert torch.equal(joined[2:3], clear) and torch.equal(joined[3:, ..., :3], fitted)
    masks = call("BatchMasksNode", masks={"mask0": first[..., 0], "mask1": second[..., 0]})
    torch.testing.assert_close(masks[2], fitted[0, ..., 0])


def test_pictures_are_made_repeated_measured_and_turned_into_negatives():
    made = call("EmptyImage", width=3, height=2, batch_size=4, color=0xFF8000)
    assert made.shape == (4, 2, 3, 3) and made[3, 1, 2].tolist() == pytest.approx([1, 128 / 255, 0])
    assert call("GetImageSize", image=made) == (3, 2, 4)
    assert call("RepeatImageBatch", image=made, amount=2).shape == (8, 2, 3, 3)
    assert call("ImageInvert", image=made)[0, 0, 0].tolist() == pytest.approx([0, 127 / 255, 1])


def test_masks_and_pictures_become_each_other():
    clip = pictures(2, 4, 4, 4)
    mask = call("ImageToMask", image=clip, channel="alpha")
    assert torch.equal(mask, clip[..., 3])
    shown = call("MaskToImage", mask=mask)
    assert shown.shape == (2, 4, 4, 3) and torch.equal(shown[..., 1], mask)
    assert torch.equal(call("InvertMask", mask=mask), 1 - mask)
    assert (call("SolidMask", value=0.25, width=3, height=2) == torch.full((1, 2, 3), 0.25)).all()
    with pytest.raises(InvalidInputError, match=r"have 3 channels and none called 'alpha'. Choose another"):
        call("ImageToMask", image=clip[..., :3], channel="alpha")


def test_a_picture_file_is_a_mask(tmp_path, tiny_host):
    Image.new("RGBA", (5, 4), (255, 51, 0, 102)).save(tmp_path / "x.png")
    assert call("LoadImageMask", image="x.png", channel="green").unique().tolist() == pytest.approx([0.2])
    assert call("LoadImageMask", image="x.png", channel="alpha").unique().tolist() == pytest.approx([0.6])
    assert "There is no picture file y.png" in CORE_NODES["LoadImageMask"].validate_inputs("y.png")


def test_a_damaged_picture_is_refused_before_anything_runs(tmp_path, tiny_host):
    Image.effect_noise((64, 64), 50).save(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes((tmp_path / "x.png").read_bytes()[:1000])
    answer = CORE_NODES["LoadImage"].validate_inputs("x.png")
    assert "x.png cannot be read as a picture: it is damaged or cut off. Get it again" in answer


def test_a_file_that_is_no_video_is_refused_before_anything_runs(tmp_path, tiny_host):
    (tmp_path / "x.mp4").write_text("<html>")
    assert "x.mp4 cannot be read as a video" in CORE_NODES["LoadVideo"].validate_inputs("x.mp4")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b.png", "", ".", "x/" * 500])
def test_names_that_no_file_can_have_are_refused(name, tiny_host):
    assert "There is no picture file" in CORE_NODES["LoadImage"].validate_inputs(name)
    assert "There is no video file" in CORE_NODES["LoadVideo"].validate_inputs(name)
    assert "There is no video file" in NODE_CLASS_MAPPINGS["WanDirectorLoadVideo"].validate_inputs(name)


def saving(name: str, prompt: dict | None = None):
    """An output node as the runner prepares it."""
    return type(name, (CORE_NODES[name],), {"hidden": HiddenHolder(unique_id="1", prompt=prompt)})


def test_each_picture_gets_the_next_free_number(tmp_path, tiny_host):
    clip = pictures(3, 4, 5, 3)
    node = saving("SaveImage", {"1": {"class_type": "SaveImage"}})
    (tiny_host.output / "a").mkdir(parents=True)
    (tiny_host.output / "a" / "b_00002_.png").write_text("mine")
    shown = node.execute(images=clip, filename_prefix="a/b").ui.as_dict()["images"]
    assert [each["filename"] for each in shown] == ["b_00003_.png", "b_00004_.png", "b_00005_.png"]
    assert {each["subfolder"] for each in shown} == {"a"}
    with Image.open(tiny_host.output / "a" / "b_00004_.png") as saved:
        assert (np.array(saved) == (255.0 * clip[1].numpy()).astype(np.uint8)).all()
        assert json.loads(saved.text["prompt"]) == {"1": {"class_type": "SaveImage"}}
    assert (tiny_host.output / "a" / "b_00002_.png").read_text() == "mine"


def test_a_number_taken_meanwhile_is_passed_over(tiny_host, monkeypatch):
    place = tiny_host.save_place("x", 4, 4)
    saving("SaveImage").execute(images=pictures(1, 4, 4, 3), filename_prefix="x")
    monkeypatch.setattr(type(tiny_host), "save_place", lambda *_: place)
    shown = saving("SaveImage").execute(images=pictures(1, 4, 4, 3), filename_prefix="x").ui.as_dict()["images"]
    assert [each["filename"] for each in shown] == ["x_00002_.png"]


def test_pictures_that_cannot_be_saved_are_a_sentence(tiny_host):
    tiny_host.output.write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot be written to .*: .* is no folder\. Move that file away"):
        saving("SaveImage").execute(images=pictures(1, 4, 4, 3), filename_prefix="x")


def test_a_stopped_run_saves_no_more_pictures(tiny_host):
    tiny_host.runtime.interrupted = True
    with pytest.raises(Interrupted):
        saving("SaveImage").execute(images=pictures(1, 4, 4, 3), filename_prefix="x")
    assert not list(tiny_host.output.rglob("*.png"))


def bright(frames: int) -> torch.Tensor:
    """Ever brighter frames [F, 16, 32, 3]."""
    return torch.linspace(0, 1, frames).view(-1, 1, 1, 1).expand(-1, 16, 32, 3)


@pytest.mark.parametrize(
    ("format", "codec", "ending"),
    [
        ("auto", "auto", "mp4"),
        ("mp4", "h264", "mp4"),
        (
            {"format": "mp4", "codec": {"codec": "h264", "encoding": {"encoding": "re-encode", "crf": 18.0}}},
            None,
            "mp4",
        ),
        ({"format": "webm", "codec": {"codec": "auto"}}, None, "webm"),
    ],
)
def test_frames_become_a_video_file_and_come_back(tiny_host, format, codec, ending):
    made = call("CreateVideo", images=bright(9), fps=12.0)
    output = saving("SaveVideo").execute(video=made, filename_prefix="video/x", format=format, codec=codec)
    (shown,) = output.ui.as_dict()["images"]
    assert shown["filename"] == f"x_00001_.{ending}" and output.args == (made,)
    loaded = call("LoadVideo", file=str(tiny_host.output / "video" / shown["filename"]))
    frames, _, fps, _, _ = call("GetVideoComponents", video=loaded)
    assert fps == pytest.approx(12.0) and (frames - bright(9)).abs().max() < 0.05
    assert call("GetVideoComponents", video=made)[0] is made.images


def test_part_of_a_video_is_read_and_saved(tiny_host):
    made = call("CreateVideo", images=bright(20), fps=10.0)
    shown = saving("SaveVideo").execute(video=made, filename_prefix="x", format="auto").ui.as_dict()["images"][0]
    whole = call("LoadVideo", file=str(tiny_host.output / shown["filename"]))
    every, *_ = call("GetVideoComponents", video=whole)
    for video in (whole, made):
        source = every if video is whole else made.images
        options = {"video": video, "strict_duration": False}
        part = call("Video Slice", start_time=0.5, duration=0.8, **options)
        frames, _, fps, _, _ = call("GetVideoComponents", video=part)
        assert torch.equal(frames, source[5:13]) and fps == pytest.approx(10)
        inner = call("Video Slice", video=part, start_time=0.2, duration=0.0, strict_duration=False)
        assert torch.equal(call("GetVideoComponents", video=inner)[0], source[7:13])
        last = call("Video Slice", start_time=-0.5, duration=0.0, **options)
        assert torch.equal(call("GetVideoComponents", video=last)[0], source[15:])
        with pytest.raises(InvalidInputError, match=r"has 2.00 seconds, too few for a part of 0 from second 3 on"):
            call("Video Slice", start_time=3.0, duration=0.0, **options)
        with pytest.raises(InvalidInputError, match="too few for a part of 9"):
            call("Video Slice", video=video, start_time=0.0, duration=9.0, strict_duration=True)
    part = call("Video Slice", video=whole, start_time=0.5, duration=0.8, strict_duration=True)
    shown = saving("SaveVideo").execute(video=part, filename_prefix="part", format="auto").ui.as_dict()["images"][0]
    saved = call("LoadVideo", file=str(tiny_host.output / shown["filename"]))
    frames, _, fps, _, _ = call("GetVideoComponents", video=saved)
    assert len(frames) == 8 and fps == pytest.approx(10)


@pytest.mark.parametrize(
    ("format", "words"),
    [
        ({"format": "mkv"}, "'mkv' is not written .* Choose auto, mp4 or webm"),
        ({"format": "mp4", "codec": {"codec": "av1"}}, "mp4 with 'av1' is not written .* Choose auto, or h264"),
        (
            {"format": "auto", "codec": {"codec": "h264", "encoding": {"crf": 60.0}}},
            "a crf of 60 is not .* usual is 23",
        ),
        ({"format": "auto", "codec": {"codec": "h264", "encoding": {"color_space": "HDR"}}}, "'HDR' is not written"),
    ],
)
def test_videos_that_the_writer_does_not_write_are_refused(tiny_host, format, words):
    made = call("CreateVideo", images=bright(3), fps=12.0)
    with pytest.raises(InvalidInputError, match=words):
        saving("SaveVideo").execute(video=made, filename_prefix="x", format=format)


def test_bits_that_are_not_written_are_said(caplog):
    with caplog.at_level(logging.INFO, "wan_director"):
        call("CreateVideo", images=bright(3), fps=12.0, bit_depth=10)
    assert "it will be 8" in caplog.text


def test_values_are_handed_on():
    for name, value in (("Int", 7), ("Float", 0.5), ("Boolean", True), ("String", "a"), ("StringMultiline", "a\nb")):
        assert call(f"Primitive{name}", value=value) == value
    assert call("StringConcatenate", string_a="a", string_b="b", delimiter=", ") == "a, b"
    assert call("StringReplace", string="a cat, a cat", find="cat", replace="dog") == "a dog, a dog"
    assert call("ComfyNotNode", value=0) is True
    assert call("ComfyAndNode", values={"value0": 1, "value1": ""}) is False
    assert call("ComfyOrNode", values={"value0": 0, "value1": "x"}) is True


def test_a_value_is_shown_without_what_a_terminal_obeys(caplog):
    with caplog.at_level(logging.INFO, "wan_director"):
        output = CORE_NODES["PreviewAny"].execute(source="red \x1b[31m\nline")
    assert output.args == ("red \x1b[31m\nline",) and output.ui == {"text": ("red \x1b[31m\nline",)}
    assert "Preview as Text: red ?[31m\nline" in caplog.text
    assert call("PreviewAny", source=[1, {"a": None}]) == json.dumps([1, {"a": None}], indent=4)
    assert call("PreviewAny", source=None) == "None" and "tensor" in call("PreviewAny", source=torch.zeros(2))


def test_a_switch_asks_for_the_side_it_takes():
    switch = CORE_NODES["ComfySwitchNode"]
    assert switch.check_lazy_status(switch=True) == ["on_true"]
    assert switch.check_lazy_status(switch=False) == ["on_false"]
    assert switch.check_lazy_status(switch=True, on_true=3) == []
    assert switch.execute(switch=True, on_true=3).args == (3,)
    assert switch.execute(switch=False, on_false=4).args == (4,)
    inputs = switch.INPUT_TYPES()
    assert list(inputs["required"]) == ["switch"] and not inputs["required"]["switch"][1].get("lazy")
    assert {name: each[1].get("lazy") for name, each in inputs["optional"].items()} == {
        "on_false": True,
        "on_true": True,
    }


def test_a_preview_of_pictures_is_no_reason_to_run():
    assert not CORE_NODES["PreviewImage"].OUTPUT_NODE and CORE_NODES["PreviewAny"].OUTPUT_NODE


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("EmptyImage", {"width": 16385, "height": 8, "batch_size": 1, "color": 0}),
        ("EmptyImage", {"width": 8, "height": 8, "batch_size": 4097, "color": 0}),
        ("SolidMask", {"value": 0.0, "width": 8, "height": 16_000_000}),
    ],
)
def test_sizes_have_the_bounds_of_comfyui(name, values):
    sink = {"EmptyImage": "SaveImage", "SolidMask": "PreviewAny"}[name]
    inputs = {"images": ["1", 0], "filename_prefix": "x"} if sink == "SaveImage" else {"source": ["1", 0]}
    prompt = {"1": {"class_type": name, "inputs": values}, "2": {"class_type": sink, "inputs": inputs}}
    with pytest.raises(GraphError, match=r"must be from 1 to \d+, got"):
        check_graph(parse_graph(prompt, CORE_NODES), CORE_NODES)


def test_a_graph_of_core_nodes_runs(tmp_path, tiny_host):
    Image.new("RGB", (40, 20), (255, 0, 0)).save(tmp_path / "x.png")
    scale = {"image": ["1", 0], "upscale_method": "area", "width": 20, "height": 10, "crop": "disabled"}
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
        "2": {"class_type": "ImageScale", "inputs": scale},
        "3": {"class_type": "RepeatImageBatch", "inputs": {"image": ["2", 0], "amount": 3}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
    }
    (shown,) = run_graph(parse_graph(prompt, CORE_NODES), CORE_NODES)
    assert len(shown["images"]) == 3
    assert Image.open(Path(tiny_host.output) / "x_00001_.png").getpixel((3, 3)) == (255, 0, 0)
