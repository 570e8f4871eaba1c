"""Which pictures a clip takes: by their times, whatever the file's rate, never across a cut, always 1 + 4k frames."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from wan_director.media.video_reading import VideoFile, probe_video
from wan_director.tuning.preparation.cuts import Shot
from wan_director.tuning.preparation.excerpts import excerpts_of

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def film(count: int, fps: Fraction | int) -> VideoFile:
    times = tuple(Fraction(number) / fps for number in range(count))
    return VideoFile(Path("film.mp4"), 64, 48, times, Fraction(count) / fps)


@given(
    st.integers(1, 200),
    st.sampled_from([8, 16, 24, Fraction(30000, 1001), 60]),
    st.data(),
    st.sampled_from([16, 24]),
    st.sampled_from([5, 17, 81]),
)
def test_excerpts_are_1_plus_4k_frames_inside_their_shot(count, rate, data, fps, longest):
    video = film(count, rate)
    first = data.draw(st.integers(0, count - 1))
    shot = Shot(first, data.draw(st.integers(first + 1, count)))
    found = excerpts_of(video, shot, fps, longest, 5)
    for each in found:
        frames = len(each.numbers)
        assert frames % 4 == 1 and 5 <= frames <= longest
        assert all(shot.first <= number < shot.end for number in each.numbers)
        assert list(each.numbers) == sorted(each.numbers)
        assert all(abs(float(video.times[n]) - each.start_s - k / fps) < 1 / float(rate) + 1 / fps
                   for k, n in enumerate(each.numbers))  # fmt: skip
    length_s = (shot.end - shot.first) / float(rate)
    assert sum(len(each.numbers) for each in found) <= length_s * fps + 1
    assert found or length_s * fps < 5 + 1


def test_at_the_files_own_rate_each_picture_is_taken_once_also_where_times_are_rounded():
    for unit in (1000, 90_000):
        exact = film(100, 16)
        times = tuple(Fraction(round(time * unit), unit) for time in exact.times)
        video = VideoFile(exact.path, 64, 48, times, exact.end)
        first, second = excerpts_of(video, Shot(0, 100), 16, 81, 17)
        assert first.numbers == tuple(range(81)) and second.numbers == tuple(range(81, 98))


def test_a_slower_file_repeats_pictures_and_a_faster_one_leaves_some_out():
    (slow,) = excerpts_of(film(20, 8), Shot(0, 20), 16, 37, 17)
    assert slow.numbers == tuple(number // 2 for number in range(37))
    fast = excerpts_of(film(100, 48), Shot(0, 100), 16, 33, 17)[0]
    assert fast.numbers == tuple(range(0, 99, 3))


def test_of_a_variable_rate_a_picture_is_taken_for_as_long_as_it_is_shown(tmp_path):
    """Pictures at 0, 0.1, ... 0.9, then one that is shown for a second, then ten more."""
    path = tmp_path / "uneven.mkv"
    frames = np.repeat(np.arange(20, dtype=np.uint8)[:, None, None, None] * 12, 32 * 32 * 3, 1).tobytes()
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "32x32", "-r", "10", "-i", "-"]
    later = ["-vf", "setpts=PTS+gte(N\\,10)/TB", "-fps_mode", "passthrough"]
    subprocess.run([FFMPEG, "-v", "error", *source, *later, str(path)], input=frames, check=True)
    video = probe_video(path)
    assert [float(time) for time in video.times[8:12]] == [0.8, 0.9, 2.0, 2.1]
    (whole,) = excerpts_of(video, Shot(0, 20), 10, 29, 17)
    assert whole.numbers == (*range(9), *[9] * 11, *range(10, 19)) and whole.gap_s == 1.1
