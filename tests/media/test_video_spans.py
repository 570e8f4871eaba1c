"""Pictures by their numbers: entered anywhere, they are those of the whole file. Files that keep their name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.media.video_reading import probe_video, read_frames, read_span
from wan_director.media.video_writing import write_video

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
SOURCE = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=30", "-f", "lavfi", "-i", "sine"]
KINDS = {
    "plain.mp4": ["-t", "3", "-g", "24", "-bf", "3", "-pix_fmt", "yuv420p"],
    "film.mp4": ["-t", "2", "-vf", "fps=30000/1001", "-g", "12", "-pix_fmt", "yuv420p"],
    "late.mp4": ["-t", "2", "-vf", "setpts=PTS+0.4/TB", "-g", "12", "-pix_fmt", "yuv420p"],
    "uneven.mp4": ["-t", "3", "-vf", "select=not(mod(n\\,7))+gt(n\\,60)", "-fps_mode", "vfr", "-g", "5"],
    "film.mkv": ["-t", "2", "-g", "12"],
    "film.webm": ["-t", "2", "-g", "12", "-cpu-used", "8", "-deadline", "realtime"],
    "slow.webm": ["-t", "4", "-vf", "fps=24", "-cpu-used", "8", "-deadline", "realtime"],
    "film.ts": ["-t", "2", "-g", "12"],
    "film.avi": ["-t", "2"],
    "film.gif": ["-t", "1"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spans")
    for name, options in KINDS.items():
        sound = ["-an"] if name.endswith((".gif", ".avi")) else []
        subprocess.run([FFMPEG, "-v", "error", *SOURCE, *options, *sound, str(folder / name)], check=True)
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_a_span_holds_the_pictures_of_the_whole_file(folder, name, caplog):
    video = probe_video(folder / name)
    every = list(read_frames(folder / name))
    assert len(every) == len(video.times)
    for first in (0, 1, 13, len(every) // 2, len(every) - 1):
        span = list(read_span(video, first, min(9, len(every) - first)))
        assert torch.equal(torch.stack(span), torch.stack(every[first : first + 9]))
    assert len(list(read_span(video))) == len(every)
    assert "damaged" not in caplog.text


def test_pictures_come_in_the_wanted_size(folder):
    video = probe_video(folder / "plain.mp4")
    picture = next(read_span(video, 3, 1, (32, 24)))
    large = next(read_span(video, 3, 1)).float()
    means = large.view(24, 2, 32, 2, 3).mean((1, 3))
    assert picture.shape == (24, 32, 3)
    # The area filter is the mean, but of brightness and colour before they become RGB: only at edges of saturated
    # colours, where RGB is clipped, is it another one.
    assert (picture - means).abs().median() <= 1


def test_a_file_that_breaks_off_is_refused(folder, tmp_path):
    whole = (folder / "film.mkv").read_bytes()
    video = probe_video(folder / "film.mkv")
    (tmp_path / "film.mkv").write_bytes(whole[: len(whole) // 2])
    broken = type(video)(tmp_path / "film.mkv", video.width, video.height, video.times, video.end)
    with pytest.raises(InvalidInputError, match=r"of the 60 pictures from number 0 on \d+ can be decoded"):
        list(read_span(broken))


def test_a_video_is_written_under_its_very_name_and_over_itself(tmp_path):
    target = tmp_path / "new" / "clip.mp4"
    for count in (5, 9):
        frames = torch.linspace(0, 1, count)[:, None, None, None].expand(count, 32, 48, 3)
        write_video(frames, target, format="mp4-h264", fps=16, quality=95)
        video = probe_video(target)
        assert len(video.times) == count and video.fps == 16 and (video.width, video.height) == (48, 32)
        read = torch.stack(list(read_span(video))).float() / 255
        assert (read - frames).abs().max() < 0.02  # a step of the 8 bits of limited range, and of the coder
    first = target.read_bytes()
    write_video(frames, target, format="mp4-h264", fps=16, quality=95)
    assert target.read_bytes() == first
    assert [path.name for path in target.parent.iterdir()] == ["clip.mp4"]
