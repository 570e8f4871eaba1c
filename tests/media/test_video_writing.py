"""Saved files are read back with ffmpeg: codec, size, speed, number of frames, colours, metadata."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image
from wan_director.common.errors import InvalidInputError, OutputError
from wan_director.engine.local import Interrupted, LocalRuntime
from wan_director.media.place import SavePlace
from wan_director.media.video_writing import save_video

COLOURS = torch.tensor([[0.8, 0.2, 0.2], [0.2, 0.7, 0.3], [0.2, 0.3, 0.9], [0.9, 0.9, 0.2]])


@pytest.fixture
def place(tmp_path: Path) -> SavePlace:
    return SavePlace(tmp_path / "video", "clip", 7, "video")


def colour_bars(frames: int, width: int, height: int) -> torch.Tensor:
    """Four flat columns that move by one each frame: [F, height, width, 3]."""
    columns = torch.arange(width) * 4 // width
    return torch.stack([COLOURS[(columns + frame) % 4].expand(height, -1, -1) for frame in range(frames)])


def read_back(path: Path) -> tuple[dict, np.ndarray]:
    stream = imageio_ffmpeg.read_frames(str(path))
    facts = next(stream)
    width, height = facts["size"]
    return facts, np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in stream])


@pytest.mark.parametrize(
    ("format", "codec", "ending"),
    [
        ("mp4-h264", "h264", "mp4"),
        ("mp4-h265", "hevc", "mp4"),
        ("webm-vp9", "vp9", "webm"),
        ("gif", "gif", "gif"),
        ("mov-prores", "prores", "mov"),
    ],
)
def test_video_formats(place, format, codec, ending):
    frames = colour_bars(9, 64, 48)
    (path,) = save_video(frames, place, format=format, fps=10, quality=90, metadata={})
    assert path.name == f"clip_00007_.{ending}"
    facts, pixels = read_back(path)
    assert facts["codec"].split()[0].rstrip(",") == codec
    assert facts["size"] == (64, 48)
    assert facts["fps"] == pytest.approx(10)
    assert len(pixels) == 9
    centres = pixels[:, 24, 8::16].astype(float) / 255  # the middle of each bar
    assert np.abs(centres - frames[:, 24, 8::16].numpy()).max() < 0.03
    assert list(place.folder.iterdir()) == [path]


@pytest.mark.parametrize("format", ["mp4-h264", "mp4-h265", "webm-vp9", "gif", "mov-prores"])
def test_the_same_frames_give_the_same_file(tmp_path, format):
    frames = torch.rand(5, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    options = {"format": format, "fps": 8, "quality": 80, "metadata": {"prompt": {"1": "a"}}}
    made = [save_video(frames, SavePlace(tmp_path, "same", number, ""), **options)[0] for number in (1, 2)]
    assert made[0].read_bytes() == made[1].read_bytes()


@pytest.mark.parametrize(
    ("format", "size"),
    [("mp4-h264", (34, 36)), ("webm-vp9", (34, 36)), ("gif", (33, 35)), ("mov-prores", (33, 35))],
)
def test_odd_sizes_are_padded_where_a_format_needs_it(place, format, size):
    (path,) = save_video(colour_bars(3, 33, 35), place, format=format, fps=8, quality=80, metadata={})
    assert read_back(path)[0]["size"] == size


def test_png_frames_are_exact(place):
    frames = torch.rand(3, 8, 10, 3, generator=torch.Generator().manual_seed(0))
    files = save_video(frames, place, format="png frames", fps=8, quality=80, metadata={"prompt": {"1": "x"}})
    assert [file.relative_to(place.folder).as_posix() for file in files] == [
        f"clip_00007_/{number:05}.png" for number in range(3)
    ]
    read = np.stack([np.array(Image.open(file)) for file in files])
    assert (read == (frames.numpy() * 255).round()).all()
    assert json.loads(Image.open(files[0]).text["prompt"]) == {"1": "x"}


@pytest.mark.parametrize("format", ["mp4-h264", "mp4-h265", "webm-vp9", "mov-prores"])
def test_workflow_is_in_the_file(place, format):
    workflow = {"nodes": [{"title": 'quotes " and = and ü and \n'}]}
    (path,) = save_video(
        colour_bars(2, 16, 16), place, format=format, fps=8, quality=50, metadata={"workflow": workflow, "prompt": None}
    )
    # ffmpeg's own metadata format: values escaped by a backslash
    exe = imageio_ffmpeg.get_ffmpeg_exe()
    text = subprocess.run([exe, "-v", "error", "-i", path, "-f", "ffmetadata", "-"], capture_output=True, check=True)
    line = next(line for line in text.stdout.decode().splitlines() if line.lower().startswith("workflow="))
    value = line.split("=", 1)[1]
    unescaped = "".join(part for part in _unescape(value))
    assert json.loads(unescaped) == workflow


def _unescape(text: str):
    characters = iter(text)
    for character in characters:
        yield next(characters) if character == "\\" else character


def test_too_long_metadata_is_left_out(place):
    (path,) = save_video(
        colour_bars(2, 16, 16), place, format="mp4-h264", fps=8, quality=50, metadata={"workflow": "x" * 200_000}
    )
    assert path.stat().st_size < 100_000


def test_quality_changes_the_size(place):
    frames = torch.rand(4, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    sizes = [
        save_video(frames, place, format="mp4-h264", fps=8, quality=quality, metadata={})[0].stat().st_size
        for quality in (10, 50, 95)
    ]
    assert sizes[0] * 1.5 < sizes[1] and sizes[1] * 1.5 < sizes[2]


def test_one_frame_is_a_video(place):
    (path,) = save_video(colour_bars(1, 16, 16), place, format="mp4-h264", fps=16, quality=80, metadata={})
    assert len(read_back(path)[1]) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"format": "avi"}, "no format 'avi'"), ({"fps": 0}, "fps must be"), ({"quality": 0}, "quality must be")],
)
def test_refusals(place, changes, words):
    options = {"format": "mp4-h264", "fps": 8, "quality": 80, "metadata": {}} | changes
    with pytest.raises(InvalidInputError, match=words):
        save_video(colour_bars(1, 16, 16), place, **options)


def test_a_file_in_the_place_of_the_folder_is_named(place):
    place.folder.write_text("in the way")
    with pytest.raises(OutputError, match=r"could not be written to .*video: .*MB free"):
        save_video(colour_bars(1, 16, 16), place, format="mp4-h264", fps=8, quality=80, metadata={})


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere")
def test_unwritable_folder_is_named(place):
    place.folder.mkdir()
    place.folder.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        save_video(colour_bars(1, 16, 16), place, format="mp4-h264", fps=8, quality=80, metadata={})


@pytest.mark.skipif(sys.platform == "win32", reason="sets a limit that only POSIX systems have")
@pytest.mark.parametrize("format", ["mp4-h264", "webm-vp9", "gif", "png frames"])
def test_a_write_that_fails_midway_is_named_and_leaves_nothing(place, format):
    """A limit on the size of files stands for a full disk: the encoder dies, or a picture is cut short."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = torch.rand(9, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"could not be written .* MB free\). Free some room"):
            save_video(noise, place, format=format, fps=8, quality=90, metadata={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(place.folder.iterdir()) == []


def test_interrupted_run_leaves_nothing(place):
    options = {"format": "mp4-h264", "fps": 8, "quality": 80, "metadata": {}}
    check = LocalRuntime(interrupted=True).check_interrupt
    with pytest.raises(Interrupted):
        save_video(colour_bars(3, 16, 16), place, **options, check=check)
    assert list(place.folder.iterdir()) == []
