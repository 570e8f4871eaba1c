"""Save Video and Save Image are asked before anything runs, and lose nothing when they fail, as Wan Save Video."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image
from wan_director.common.errors import InvalidInputError, MissingPackageError, OutputError
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import check_graph, run_graph

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
needs_sh = pytest.mark.skipif(sys.platform == "win32", reason="stands in for ffmpeg by shell scripts")
OLDER, NEWER = {"format": "webm", "codec": "auto"}, {"format": "webm", "format.codec": "auto"}


def graph(saver: str, prefix: str = "x", frames: int = 2, **choices: object):
    """Grey pictures to a file, with the sides 32 and 16."""
    nodes = {
        "grey": ("EmptyImage", {"width": 32, "height": 16, "batch_size": frames, "color": 0x808080}),
        "video": ("CreateVideo", {"images": ["grey", 0], "fps": 8.0}),
        "save": {
            "SaveImage": ("SaveImage", {"images": ["grey", 0], "filename_prefix": prefix}),
            "SaveVideo": (
                "SaveVideo", {"video": ["video", 0], "filename_prefix": prefix, **(choices or {"format": "auto"})}
            ),
        }[saver],
    }  # fmt: skip
    return parse_graph({id: {"class_type": name, "inputs": inputs} for id, (name, inputs) in nodes.items()}, CORE_NODES)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch):
    """Puts a program in the place of ffmpeg."""

    def put(script: str) -> None:
        program = tmp_path / "ffmpeg"
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))

    return put


@pytest.fixture
def failing(stand_in) -> None:
    """An ffmpeg that reads, passes the check of the encoder, and fails when it counts."""
    stand_in(
        'case "$*" in *" null -") cat > /dev/null; exit 0;; '
        f'*"-f rawvideo -vcodec rawvideo"*) cat > /dev/null; echo broken >&2; exit 1;; esac\nexec "{FFMPEG}" "$@"'
    )


def made_by_ffmpeg(path: Path) -> Path:
    subprocess.run([FFMPEG, "-v", "error", "-f", "lavfi", "-i", "testsrc=s=32x16:r=8:d=0.5", str(path)], check=True)
    return path


def kept_in(message: str) -> Path:
    return Path(re.search(r"are kept in ([^:]+): ", message)[1])


@pytest.mark.parametrize("saver", ["SaveVideo", "SaveImage"])
def test_a_place_that_will_not_do_is_refused_before_anything_runs(tiny_host, saver):
    with pytest.raises(InvalidInputError, match=r"node save\): The file name '\.\./x' leads out of the output folder"):
        check_graph(graph(saver, "../x"), CORE_NODES)
    with pytest.raises(InvalidInputError, match="Use a shorter name"):
        check_graph(graph(saver, "x" * 300), CORE_NODES)
    tiny_host.output.write_text("in the way")
    with pytest.raises(OutputError, match="is no folder. Move that file away"):
        check_graph(graph(saver), CORE_NODES)


@needs_sh
@pytest.mark.parametrize("choices", [OLDER, NEWER])
def test_an_encoder_that_will_not_do_is_refused_before_anything_runs(tiny_host, stand_in, choices):
    stand_in("exit 7")
    with pytest.raises(
        MissingPackageError, match=r"node save\): .* cannot encode with libvpx-vp9: it ended with code 7"
    ):
        check_graph(graph("SaveVideo", **choices), CORE_NODES)
    check_graph(graph("SaveImage"), CORE_NODES)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"format": "mkv"}, "'mkv' is not written from the command line"),
        ({"format": "mp4", "codec": "av1"}, "mp4 with 'av1' is not written"),
        (
            {"format": "mp4", "format.codec": "h264", "format.codec.encoding": "re-encode",
             "format.codec.encoding.crf": 50.0},
            "a crf of 50 is not written",
        ),
        ({"format": "avi"}, "'avi' is not written from the command line"),
    ],
)  # fmt: skip
def test_what_the_writer_does_not_write_is_refused_before_anything_runs(tiny_host, choices, words):
    with pytest.raises(InvalidInputError, match=words):
        check_graph(graph("SaveVideo", **choices), CORE_NODES)


@needs_sh
def test_frames_that_save_video_cannot_write_are_kept(tiny_host, failing):
    with pytest.raises(OutputError, match=r"encoder failed, .*: broken\. .* The frames are kept in ") as error:
        run_graph(graph("SaveVideo", frames=3), CORE_NODES)
    files = sorted(kept_in(str(error.value)).iterdir())
    assert [file.name for file in files] == ["00000.png", "00001.png", "00002.png"]
    with Image.open(files[0]) as first:
        assert first.size == (32, 16) and first.getpixel((3, 3)) == (128,) * 3 and "SaveVideo" in first.text["prompt"]
    assert files[0].is_relative_to(tiny_host.output / "kept")


@needs_sh
def test_frames_of_a_file_are_not_kept_again(tiny_host, failing):
    file = made_by_ffmpeg(tiny_host.output.parent / "clip.mp4")
    nodes = {
        "load": {"class_type": "LoadVideo", "inputs": {"file": str(file)}},
        "save": {"class_type": "SaveVideo", "inputs": {"video": ["load", 0], "filename_prefix": "y", "format": "auto"}},
    }
    with pytest.raises(OutputError, match=r": broken\. .* Nothing is lost: the video is still in .*clip\.mp4\."):
        run_graph(parse_graph(nodes, CORE_NODES), CORE_NODES)
    assert not (tiny_host.output / "kept").exists()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_that_cannot_be_saved_are_kept_elsewhere(tiny_host, tmp_path, monkeypatch, channels):
    folder = tmp_path / "other"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    images = torch.rand(2, 4, 5, channels, generator=torch.Generator().manual_seed(0))
    node = type("Node", (CORE_NODES["SaveImage"],), {})
    node.hidden = type("Hidden", (), {"prompt": None, "extra_pnginfo": None})
    tiny_host.output.write_text("in the way")
    with pytest.raises(OutputError, match="The pictures are kept in .*: numbered PNG files") as error:
        node.execute(images=images, filename_prefix="x")
    files = sorted(kept_in(str(error.value)).iterdir())
    kept = np.stack([np.array(Image.open(file)).reshape(4, 5, channels) for file in files])
    assert (kept == (images.numpy() * 255).round()).all()


@pytest.mark.parametrize("saver", ["SaveVideo", "SaveImage"])
def test_names_hold_the_date_and_values_of_other_nodes(tiny_host, saver):
    (shown,) = run_graph(graph(saver, "%date:yyyy%/%EmptyImage.width%x%height%"), CORE_NODES)
    saved = shown["images"][0]
    assert re.fullmatch(r"20\d\d", saved["subfolder"]) and saved["filename"].startswith("32x16_00001_.")
    assert (tiny_host.output / saved["subfolder"] / saved["filename"]).is_file()


def test_the_number_in_the_batch_is_part_of_a_pictures_name(tiny_host):
    (shown,) = run_graph(graph("SaveImage", "p%batch_num%"), CORE_NODES)
    assert [each["filename"] for each in shown["images"]] == ["p0_00001_.png", "p1_00002_.png"]


@pytest.mark.parametrize("lossless", [True, False])
def test_an_animation_keeps_opacity_and_the_graph(lossless, tiny_host):
    nodes = {
        "red": ("EmptyImage", {"width": 32, "height": 16, "batch_size": 1, "color": 0xFF0000}),
        "blue": ("EmptyImage", {"width": 32, "height": 16, "batch_size": 1, "color": 0x0000FF}),
        "both": ("ImageBatch", {"image1": ["red", 0], "image2": ["blue", 0]}),
        "mask": ("SolidMask", {"value": 0.75, "width": 8, "height": 8}),
        "join": ("JoinImageWithAlpha", {"image": ["both", 0], "alpha": ["mask", 0]}),
        "save": (
            "SaveAnimatedWEBP",
            {
                "images": ["join", 0], "filename_prefix": "x", "fps": 8.0, "lossless": lossless, "quality": 80,
                "method": "fastest",
            },
        ),
    }  # fmt: skip
    prompt = {id: {"class_type": name, "inputs": inputs} for id, (name, inputs) in nodes.items()}
    (shown,) = run_graph(parse_graph(prompt, CORE_NODES), CORE_NODES)
    assert shown["animated"] == (True,)
    picture = Image.open(tiny_host.output / shown["images"][0]["filename"])
    assert picture.filename.endswith("x_00001_.webp") and picture.n_frames == 2
    assert json.loads(picture.getexif()[0x0110].removeprefix("prompt:"))["mask"]["inputs"]["value"] == 0.75
    for number, colour in enumerate(((255, 0, 0), (0, 0, 255))):
        picture.seek(number)
        pixel = picture.convert("RGBA").getpixel((5, 5))
        assert picture.info["duration"] == 125
        assert pixel[3] == 63 and np.allclose(pixel[:3], colour, atol=0 if lossless else 12)
