"""Wan Prepare Clips: the clips of the command line, as a dataset that a training takes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
import wan_director
from wan_director.__main__ import main
from wan_director.common.errors import InvalidInputError
from wan_director.engine.local import LocalRuntime
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import hosted_by

from ...tuning.preparation import made

pytest.importorskip("scenedetect", reason="needs PySceneDetect")
pytest.importorskip("tomllib", reason="needs Python 3.11 or later")

NODE = wan_director.NODE_CLASS_MAPPINGS["WanDirectorPrepareClips"]
WIDGETS = {
    "name": "clips/walls", "trigger": "sks", "fps": 16.0, "longest": 21, "shortest": 9, "side": 720, "width": 832,
    "height": 480, "filters": "still=", "soft_cuts": False, "keep_bars": False, "measure": "nothing more",
    "address": "", "server_model": "",
}  # fmt: skip


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "in" / "videos"
    first = made.moved(1, 24, shift=(2, 0))
    made.write(folder / "a.mp4", np.concatenate([first, made.moved(2, 14, shift=(0, -1)), made.moved(3, 12)]))
    (folder / "a.txt").write_text("a cloudy wall")
    made.write(folder / "short.mp4", first[:6])
    with (
        hosted_by(HeadlessHost(inputs=(tmp_path / "in",), output=tmp_path / "out", runtime=LocalRuntime("cpu"))),
        torch.inference_mode(),
    ):
        yield folder


def test_the_clips_are_those_of_the_command(videos, tmp_path):
    clips, name, found = NODE.execute(source="videos", **WIDGETS).args
    (part,) = clips.parts
    assert part.folder == (tmp_path / "out/clips/walls/clips").resolve() and part.is_video and name == "clips/walls"
    assert found.startswith("2 of 3 clips are kept; dropped for: motion 1.\nshort.mp4 is left out: No shot of it fills")
    assert found.endswith("report.html")
    words = ["--shortest", "9", "--longest", "21", "--filter", "still=", "--trigger", "sks", "--quiet"]
    assert main(["prepare", str(videos), "--out", str(tmp_path / "command"), *words]) == 0
    names = sorted(path.name for path in (tmp_path / "command/clips").iterdir())
    assert len(names) == 4 and names == sorted(path.name for path in part.folder.iterdir())
    for each in names:
        assert (part.folder / each).read_bytes() == (tmp_path / "command/clips" / each).read_bytes()
    assert all(path.read_text() == "sks, a cloudy wall\n" for path in part.folder.glob("*.txt"))
    _, found = wan_director.NODE_CLASS_MAPPINGS["WanDirectorDataset"].execute(
        source="clips/walls/dataset.toml", width=832, height=480, frames="", repeats=1, prior="", batch_size=1,
        buckets=True, enlarge=True, extraction="head", fps=0.0, caption_ending=".txt",
    ).args  # fmt: skip
    assert found.startswith("2 clips of 2 videos in clips: ")


def test_what_cannot_be_is_refused(videos):
    for changes, message in (
        ({"source": "nowhere"}, "is no folder"),
        ({"longest": 80}, r"A clip has 1 \+ 4k frames, got 80"),
        ({"filters": "beauty=1:"}, "is no filter"),
        ({"filters": "text=:0.1"}, "Let `measure` name text, too"),
        ({"filters": "motion=900:"}, "None of 3 clips is kept. Look into .*report.html for the reasons"),
        ({"address": "somewhere"}, "is no address"),
        ({"name": "../x"}, "leads out of the output folder"),
        ({"name": " "}, "a folder of their own"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            NODE.execute(**{"source": "videos", **WIDGETS, **changes})
    with pytest.raises(InvalidInputError, match="There is no folder nowhere"):
        NODE.validate_inputs(source="nowhere", name="clips", filters="")
    assert NODE.validate_inputs(source="videos", name="clips", filters="motion=2:60, text=:0.1\nstill=")
    shutil.rmtree(videos)
