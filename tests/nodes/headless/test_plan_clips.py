"""A plan knows the shape of pictures as far as the graph and its files tell, without reading them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.common.errors import GraphError, InvalidInputError
from wan_director.media import picture_reading, video_reading
from wan_director.media.video_writing import save_video
from wan_director.nodes.api import io
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.planning.recording import record_run
from wan_director.nodes.planning.unknown import ASSUMPTIONS

CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
SCALE = {"upscale_method": "area", "crop": "disabled"}


class Shown(io.ComfyNode):
    """Takes pictures and remembers their shape."""

    seen: list[tuple[int, ...]] = []

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="Shown", inputs=[io.Image.Input("images")], is_output_node=True)

    @classmethod
    def execute(cls, images):
        assert images.is_meta
        cls.seen.append(tuple(images.shape))
        return io.NodeOutput()


@pytest.fixture(autouse=True)
def files(tmp_path: Path, tiny_host) -> None:
    """still.png 40x20; turned.jpg 40x20, shown upright; moving.gif three of 6x4; clip.mp4 five of 32x16."""
    still = Image.new("RGB", (40, 20))
    still.save(tmp_path / "still.png")
    exif = still.getexif()
    exif[0x0112] = 6
    still.save(tmp_path / "turned.jpg", exif=exif)
    frames = [Image.new("L", (6, 4), shade) for shade in (0, 100, 200)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    place = tiny_host.save_place("clip", 32, 16)
    (clip,) = save_video(torch.zeros(5, 16, 32, 3), place, format="mp4-h264", fps=8, quality=50, metadata={})
    clip.rename(tmp_path / "clip.mp4")
    (tmp_path / "text.png").write_text("no picture")


@pytest.fixture(autouse=True)
def unread(monkeypatch):
    """No picture is decoded."""

    def refuse(*_, **__):
        raise AssertionError("read")

    monkeypatch.setattr(picture_reading, "_each", refuse)
    monkeypatch.setattr(video_reading, "_decoded", refuse)


def shape(*nodes: tuple[str, dict]) -> tuple[int, ...]:
    """Of the last node's pictures; nodes are called 1, 2, ..."""
    prompt = {str(number): {"class_type": kind, "inputs": inputs} for number, (kind, inputs) in enumerate(nodes, 1)}
    prompt["shown"] = {"class_type": "Shown", "inputs": {"images": [str(len(nodes)), 0]}}
    Shown.seen.clear()
    classes = {**CLASSES, "Shown": Shown}
    made = record_run(parse_graph(prompt, classes), classes, ASSUMPTIONS[0], lambda *_: torch.device("cuda"))
    assert not made.passed_over
    ((*found, channels),) = Shown.seen
    assert channels == 3
    return tuple(found)


@pytest.mark.parametrize(
    ("file", "expected"), [("still.png", (1, 20, 40)), ("turned.jpg", (1, 40, 20)), ("moving.gif", (3, 4, 6))]
)
def test_a_picture_file_tells_its_shape(file, expected):
    assert shape(("LoadImage", {"image": file})) == expected


def test_what_is_no_picture_is_refused_as_in_a_run():
    with pytest.raises(InvalidInputError, match=r"\(node 1\): text.png cannot be read as a picture"):
        shape(("LoadImage", {"image": "text.png"}))


def test_a_video_file_tells_its_shape():
    load, parts = ("LoadVideo", {"file": "clip.mp4"}), ("GetVideoComponents", {"video": ["1", 0]})
    assert shape(load, parts) == (5, 16, 32)
    cut = ("Video Slice", {"video": ["1", 0], "start_time": 0.25, "duration": 0.25})
    assert shape(load, cut, ("GetVideoComponents", {"video": ["2", 0]})) == (2, 16, 32)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"frames": 3, "fps": 0.0, "width": 64, "height": 48}, (3, 48, 64)),
        ({"frames": 9, "fps": 0.0, "width": 64, "height": 48}, (5, 48, 64)),
        ({"frames": 7, "fps": 16.0, "width": 0, "height": 32}, (7, 32, 64)),
        ({"frames": 0, "fps": 16.0, "width": 0, "height": 32}, (9, 32, 64)),
        ({"frames": 0, "start_frame": 2, "fps": 0.0, "width": 0, "height": 0}, (3, 16, 32)),
    ],
)
def test_wan_load_video_gives_what_the_file_has(inputs, expected):
    assert shape(("WanDirectorLoadVideo", {"file": "clip.mp4", "start_frame": 0, "fit": "crop", **inputs})) == expected


@pytest.mark.parametrize(
    ("kind", "inputs", "expected"),
    [
        ("ImageScale", {"width": 12, "height": 8, **SCALE}, (3, 8, 12)),
        ("ImageScale", {"width": 12, "height": 0, **SCALE}, (3, 8, 12)),
        ("ImageScale", {"width": 12, "height": 0, **SCALE, "upscale_method": "lanczos"}, (3, 8, 12)),
        ("ImageFromBatch", {"batch_index": 1, "length": 9}, (2, 4, 6)),
        ("ImageFromBatch", {"batch_index": -1, "length": 1}, (1, 4, 6)),
        ("RepeatImageBatch", {"amount": 4}, (12, 4, 6)),
        ("ImageInvert", {}, (3, 4, 6)),
    ],
)
def test_nodes_between_change_the_shape(kind, inputs, expected):
    assert shape(("LoadImage", {"image": "moving.gif"}), (kind, {"image": ["1", 0], **inputs})) == expected


def test_made_pictures_tell_their_shape():
    pictures = {"width": 800, "height": 400, "batch_size": 5, "color": 0}
    assert shape(("EmptyImage", pictures)) == (5, 400, 800)


def test_a_size_that_follows_from_a_file_is_followed(tiny_host):
    """Through the nodes that ask for it, to the stages that depend on it; unknown where the file is not here."""
    from wan_director.nodes.planning.stages import find_stages

    def stages(image: str):
        graph = {
            "1": ("LoadImage", {"image": image}),
            "2": ("GetImageSize", {"image": ["1", 0]}),
            "3": ("ComfyMathExpression", {"expression": "a * 16", "values.a": ["2", 0]}),
            "4": ("ComfyMathExpression", {"expression": "a * 16", "values.a": ["2", 1]}),
            "5": ("ImageScale", {"image": ["1", 0], "width": ["3", 1], "height": ["4", 1], **SCALE}),
            "6": ("WanDirectorLoadVAE", {"vae_name": "vae.safetensors", "precision": "auto"}),
            "7": ("WanDirectorEncode", {"vae": ["6", 0], "images": ["5", 0]}),
        }
        prompt = {id: {"class_type": kind, "inputs": inputs} for id, (kind, inputs) in graph.items()}
        return find_stages(parse_graph(prompt, CLASSES)).stages

    (stage,) = stages("still.png")
    assert stage.job.video == (1, 320, 640)
    with pytest.raises(GraphError, match=r"video at WanDirectorEncode \(node 7\) is not known .* Give it with --size"):
        stages("nowhere.png")
