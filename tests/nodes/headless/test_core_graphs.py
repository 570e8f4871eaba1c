"""Graphs of ComfyUI's own nodes as its server takes them: growing inputs, choices with a dot, a lazy switch."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from wan_director.common.errors import GraphError, InvalidInputError
from wan_director.media.video_reading import read_video
from wan_director.nodes.headless import widgets
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import run_graph

pytestmark = pytest.mark.skipif(
    not hasattr(widgets, "nested_inputs"), reason="the runner takes no growing inputs in this version"
)


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": {name.replace("__", "."): value for name, value in inputs.items()}}


def run(**nodes: dict) -> list[dict]:
    return run_graph(parse_graph(nodes, CORE_NODES), CORE_NODES)


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path, tiny_host) -> None:
    """red.png 40x20, blue.png 20x20."""
    Image.new("RGB", (40, 20), (255, 0, 0)).save(tmp_path / "red.png")
    Image.new("RGB", (20, 20), (0, 0, 255)).save(tmp_path / "blue.png")


def test_batches_and_formulas_grow(tiny_host):
    shown = run(
        red=node("LoadImage", image="red.png"),
        blue=node("LoadImage", image="blue.png"),
        size=node("GetImageSize", image=["red", 0]),
        half=node("ComfyMathExpression", expression="a // 2 + b", values__a=["size", 0], values__b=["two", 0]),
        two=node("PrimitiveInt", value=2),
        both=node("BatchImagesNode", images__image0=["red", 0], images__image1=["blue", 0]),
        small=node(
            "ResizeImageMaskNode", input=["both", 0], resize_type="scale width", resize_type__width=["half", 1],
            scale_method="area",
        ),
        video=node("CreateVideo", images=["small", 0], fps=4.0),
        save=node("SaveVideo", video=["video", 0], filename_prefix="x", format="mp4", format__codec="auto"),
    )  # fmt: skip
    (file,) = (tiny_host.output / each["filename"] for each in shown[0]["images"])
    frames, fps = read_video(file)
    assert fps == 4 and frames.shape[0] == 2 and frames.shape[2] == 22
    assert frames[0, 5, 5, 0] > 0.9 and frames[1, 5, 5, 2] > 0.9


def test_the_older_form_of_save_video_runs(tiny_host):
    (shown,) = run(
        red=node("LoadImage", image="red.png"),
        video=node("CreateVideo", images=["red", 0], fps=4.0),
        save=node("SaveVideo", video=["video", 0], filename_prefix="x", format="auto", codec="auto"),
    )
    assert shown["images"][0]["filename"] == "x_00001_.mp4"


def test_a_coding_that_is_chosen_deep_inside_reaches_the_writer():
    graph = {
        "red": node("LoadImage", image="red.png"),
        "video": node("CreateVideo", images=["red", 0], fps=4.0),
        "save": node(
            "SaveVideo", video=["video", 0], filename_prefix="x", format="mp4", format__codec="h264",
            format__codec__encoding="re-encode", format__codec__encoding__crf=50.0,
            format__codec__encoding__color_space="auto",
        ),
    }  # fmt: skip
    with pytest.raises(InvalidInputError, match="a crf of 50 is not written"):
        run(**graph)


@pytest.mark.parametrize(("switch", "colour"), [(True, (255, 0, 0)), (False, (0, 0, 255))])
def test_a_switch_takes_one_side(tiny_host, switch, colour):
    (shown,) = run(
        red=node("LoadImage", image="red.png"),
        blue=node("LoadImage", image="blue.png"),
        yes=node("PrimitiveBoolean", value=switch),
        one=node("ComfySwitchNode", switch=["yes", 0], on_true=["red", 0], on_false=["blue", 0]),
        save=node("SaveImage", images=["one", 0], filename_prefix="x"),
    )
    saved = Image.open(tiny_host.output / shown["images"][0]["filename"])
    assert saved.getpixel((3, 3)) == colour


def test_the_other_side_of_a_switch_is_not_computed(tiny_host):
    run(
        red=node("LoadImage", image="red.png"),
        broken=node("ImageScaleBy", image=["red", 0], upscale_method="area", scale_by=0.01),
        one=node("ComfySwitchNode", switch=True, on_true=["red", 0], on_false=["broken", 0]),
        save=node("SaveImage", images=["one", 0], filename_prefix="x"),
    )


def test_a_choice_that_is_none_is_refused():
    with pytest.raises(GraphError, match="resize_type of"):
        run(
            red=node("LoadImage", image="red.png"),
            small=node("ResizeImageMaskNode", input=["red", 0], resize_type="shrink", scale_method="area"),
            save=node("SaveImage", images=["small", 0], filename_prefix="x"),
        )
