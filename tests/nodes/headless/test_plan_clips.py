"""The plan knows the shape of pictures as far as the graph and its files tell, and says nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.media.video_writing import save_video
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import Link, parse_graph
from wan_director.nodes.headless.plan_clips import clip_shape

CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
SCALE = {"upscale_method": "area", "crop": "disabled"}


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


def shape(*nodes: tuple[str, dict]) -> tuple[int, int, int] | None:
    """Of the last node's pictures; nodes are called 1, 2, ..."""
    prompt = {str(number): {"class_type": kind, "inputs": inputs} for number, (kind, inputs) in enumerate(nodes, 1)}
    return clip_shape(parse_graph(prompt, CLASSES), Link(str(len(nodes)), 0))


@pytest.mark.parametrize(
    ("file", "expected"),
    [("still.png", (1, 20, 40)), ("turned.jpg", (1, 40, 20)), ("moving.gif", (3, 4, 6)), ("text.png", None)],
)
def test_a_picture_file_tells_its_shape(file, expected):
    assert shape(("LoadImage", {"image": file})) == expected


def test_a_video_file_tells_its_shape():
    assert shape(("LoadVideo", {"file": "clip.mp4"}), ("GetVideoComponents", {"video": ["1", 0]})) == (5, 16, 32)


@pytest.mark.parametrize(
    ("kind", "inputs", "expected"),
    [
        ("ImageScale", {"width": 12, "height": 8, **SCALE}, (3, 8, 12)),
        ("ImageScale", {"width": 12, "height": 0, **SCALE}, None),
        ("ImageFromBatch", {"batch_index": 1, "length": 9}, (2, 4, 6)),
        ("ImageFromBatch", {"batch_index": -1, "length": 1}, (1, 4, 6)),
        ("RepeatImageBatch", {"amount": 4}, (12, 4, 6)),
        ("ImageInvert", {}, None),
    ],
)
def test_nodes_between_change_the_shape_or_make_it_unknown(kind, inputs, expected):
    assert shape(("LoadImage", {"image": "moving.gif"}), (kind, {"image": ["1", 0], **inputs})) == expected


def test_made_pictures_tell_their_shape():
    assert shape(("EmptyImage", {"width": 8, "height": 4, "batch_size": 5, "color": 0})) == (5, 4, 8)


def test_no_wire_has_no_shape():
    assert clip_shape({}, None) is None and clip_shape({}, Link("7", 0)) is None
