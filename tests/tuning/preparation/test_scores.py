"""Scores of made clips against their truth, and against arithmetic of another make."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from wan_director.tests.tuning.preparation import made
from wan_director.tuning.preparation.scores.likeness import difference_hash
from wan_director.tuning.preparation.scores.motion import motion_of
from wan_director.tuning.preparation.scores.pictures import NO_BARS, Bars, bars_of, look_of

cv2 = pytest.importorskip("cv2", reason="needs OpenCV")

FPS = 16
PERCENT = 100 * FPS / made.HEIGHT
"""One pixel a frame, in percent of the shorter side per second."""


def grey(frames: np.ndarray) -> list[np.ndarray]:
    return [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]


@pytest.mark.parametrize("shift", [(0.5, 0), (1, 0), (2, 1), (0, -4), (-8, 0)])
def test_motion_is_within_a_tenth_of_the_truth(shift):
    found = motion_of(grey(made.moved(123, 7, shift=shift)), FPS)
    truth = float(np.hypot(*shift)) * PERCENT
    assert found.mean == pytest.approx(truth, rel=0.1) and found.fastest >= found.mean
    assert found.still == 0 and found.object < 0.1 * truth


CAMERAS = {
    "still": {},
    "pan right": {"shift": (-2, 0.2)},
    "pan left": {"shift": (1.5, 0)},
    "tilt down": {"shift": (0.1, -1)},
    "tilt up": {"shift": (0, 3)},
    "zoom in": {"zoom": 1.02},
    "zoom out": {"zoom": 0.98},
    "roll": {"turn": 0.02},
}


@pytest.mark.parametrize("word", CAMERAS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_camera_is_named_right(word, seed):
    assert motion_of(grey(made.moved(seed, 9, **CAMERAS[word])), FPS).camera == word


def test_a_hand_held_camera_shakes():
    pattern = made.texture(4)
    ways = np.random.default_rng(1).normal(0, 3, (12, 2)).round().astype(int) + made.MARGIN
    frames = np.stack([pattern[y : y + made.HEIGHT, x : x + made.WIDTH] for y, x in ways]).astype(np.uint8)
    assert motion_of(grey(frames), FPS).camera == "shake"


def test_a_thing_that_moves_before_a_camera_that_stands_is_the_objects_motion():
    frames = np.repeat(made.moved(6, 1), 9, 0)
    thing = made.texture(7, 48, 48)
    for number, frame in enumerate(frames):
        frame[40:88, 60 + 3 * number : 108 + 3 * number] = thing
    found = motion_of(grey(frames), FPS)
    inner = made.HEIGHT * (1 - 2 / 9) * made.WIDTH * (1 - 2 / 9)
    assert found.camera == "still"
    # Its part of the picture times its way; the flow rounds off its edges.
    assert found.object == pytest.approx(3 * 48 * 48 / inner * PERCENT, rel=0.25)
    assert found.object == pytest.approx(found.mean, rel=0.05)  # the fit of the camera is off by hundredths of a pixel


def test_repeated_frames_are_still():
    frames = np.repeat(made.moved(8, 5, shift=(3, 0)), 2, 0)
    assert motion_of(grey(frames), FPS).still == pytest.approx(5 / 9)


def test_a_clip_alone_and_after_others_has_one_score():
    clip, other = grey(made.moved(9, 6, shift=(2, 0))), grey(made.moved(10, 3, shift=(5, 0))[:, :72, :128])
    alone = motion_of(clip, FPS)
    motion_of(other, FPS)
    assert motion_of(clip, FPS) == alone


def test_sharpness_is_the_variance_of_the_laplacian_and_falls_with_blur():
    frames = grey(made.moved(11, 3))
    look = look_of(frames)
    # SciPy mirrors at the edge as OpenCV does: without the edge's pixel twice.
    theirs = max(ndimage.laplace(frame.astype(np.float64), mode="mirror").var() for frame in frames)
    assert look.sharpness == pytest.approx(theirs, rel=1e-12)
    assert look.brightness == pytest.approx(np.mean(frames) / 255, rel=1e-9)
    blurred = [ndimage.gaussian_filter(frame, 3) for frame in frames]
    assert look_of(blurred).sharpness < look.sharpness / 4


def test_black_and_white_are_counted():
    frame = np.full((40, 100), 128, np.uint8)
    frame[:, :30], frame[:, 90:] = 5, 250
    look = look_of([frame])
    assert (look.dark, look.bright) == (0.3, 0.1)


def test_bars_are_found_and_cut_off_but_not_what_is_dark_at_one_side():
    clip = made.texture(12, 100, 200)[..., 0].astype(np.uint8) // 2 + 60
    letterbox, pillars, one_side = clip.copy(), clip.copy(), clip.copy()
    letterbox[:12], letterbox[-12:] = 3, 16
    pillars[:, :25], pillars[:, -24:] = 0, 0
    one_side[:20] = 2
    assert bars_of(letterbox) == Bars(0.12, 0.12, 0, 0) and bars_of(pillars) == Bars(0, 0, 0.125, 0.12)
    assert bars_of(letterbox).inside(1920, 1080) == (0, 132, 1920, 948)
    assert bars_of(one_side) == bars_of(clip) == bars_of(clip * 0) == NO_BARS
    assert NO_BARS.inside(1920, 1080) == (0, 0, 1920, 1080)


def test_a_picture_of_another_size_and_coder_is_alike_and_another_is_not(tmp_path):
    import io

    pictures = [made.moved(seed, 1)[0] for seed in range(20, 26)]
    hashes = [difference_hash(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)) for picture in pictures]
    for picture, own in zip(pictures, hashes):
        file = io.BytesIO()
        Image.fromarray(picture).resize((320, 180)).save(file, "JPEG", quality=60)
        again = np.asarray(Image.open(file).convert("L"))
        assert (difference_hash(again) ^ own).bit_count() <= 4
    apart = [(a ^ b).bit_count() for n, a in enumerate(hashes) for b in hashes[:n]]
    assert min(apart) > 12


def test_the_hash_is_that_of_means_of_areas():
    picture = np.random.default_rng(2).integers(0, 256, (64, 72)).astype(np.uint8)
    means = picture.reshape(8, 8, 9, 8).mean((1, 3)).round()
    bits = "".join("1" if right > left else "0" for row in means for left, right in zip(row, row[1:]))
    assert difference_hash(picture) == int(bits, 2)
