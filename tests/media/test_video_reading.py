"""Videos give each of their pictures once, for as long as the clip is; only the wanted ones are kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image
from wan_director.common.errors import InvalidInputError, MissingPackageError, OutOfMemory
from wan_director.media.video_reading import Cut, Fitting, probe_video, read_frames, read_video

DELAYS_MS = [100, 500, 100, 1000, 300]
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([FFMPEG, "-v", "error", "-y", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uneven.*: five pictures, ever brighter, in two seconds; even.mp4: sixty at 30 fps; sound.mp4: 29.97 fps."""
    folder = tmp_path_factory.mktemp("videos")
    shades = [Image.new("RGB", (32, 24), (50 * each,) * 3) for each in range(5)]
    shades[0].save(folder / "uneven.gif", save_all=True, append_images=shades[1:], duration=DELAYS_MS)
    for ending in ("mp4", "webm", "mkv"):
        once = ["-fps_mode", "passthrough", "-pix_fmt", "yuv420p"]
        ffmpeg("-i", folder / "uneven.gif", *once, folder / f"uneven.{ending}")
    source = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=30"]
    ffmpeg(*source, "-t", "2", "-pix_fmt", "yuv420p", folder / "even.mp4")
    source = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=30000/1001", "-f", "lavfi", "-i", "sine"]
    ffmpeg(*source, "-t", "2", "-pix_fmt", "yuv420p", folder / "sound.mp4")
    return folder


@pytest.fixture(params=["this", "4.2"])
def any_ffmpeg(request, tmp_path, monkeypatch) -> None:
    """This ffmpeg, and one that spells the option as FFmpeg did before 5.1."""
    if request.param == "this":
        return
    if sys.platform == "win32":
        pytest.skip("the older program is a shell script")
    script = tmp_path / "ffmpeg"
    script.write_text(
        "#!/bin/sh\n"
        "for each; do\n"
        'case "$each" in -fps_mode) echo "Unrecognized option" >&2; exit 1;; long) echo -vsync; exit;; esac\n'
        "shift\n"
        '[ "$each" = -vsync ] && each=-fps_mode\n'
        'set -- "$@" "$each"; done\n'
        f'exec "{FFMPEG}" "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(script))


@pytest.mark.parametrize("ending", ["gif", "mp4", "webm", "mkv"])
def test_each_picture_of_an_uneven_clip_comes_once_and_its_length_is_true(folder, any_ffmpeg, ending):
    frames, fps = read_video(folder / f"uneven.{ending}")
    assert frames.shape == (5, 24, 32, 3) and frames.dtype == torch.float32
    assert (frames[:, 12, 16, 1] * 255).tolist() == pytest.approx([0, 50, 100, 150, 200], abs=3)
    assert len(frames) / fps == pytest.approx(2.0)


@pytest.mark.parametrize(("name", "rate"), [("even.mp4", 30.0), ("sound.mp4", 30000 / 1001)])
def test_an_even_clip_is_what_it_was(folder, name, rate):
    """The pixels are those that imageio-ffmpeg gives by itself."""
    frames, fps = read_video(folder / name)
    assert fps == pytest.approx(rate, rel=1e-12)
    reader = imageio_ffmpeg.read_frames(str(folder / name))
    next(reader)
    expected = np.stack([np.frombuffer(frame, np.uint8).reshape(48, 64, 3) for frame in reader])
    assert torch.equal(frames, torch.from_numpy(expected).float() / 255)


def test_streams_that_time_some_pictures_alone_have_them_all(tmp_path):
    source = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=25"]
    ffmpeg(*source, "-t", "2", "-c:v", "mpeg2video", "-bf", "2", tmp_path / "x.mpg")
    frames, fps = read_video(tmp_path / "x.mpg")
    assert len(frames) == len(probe_video(tmp_path / "x.mpg").times) == 50 and fps == pytest.approx(25)


def test_a_gif_of_16_pictures_a_second_stays_one(tmp_path):
    """Its delays are whole hundredths of a second: FFmpeg announces 16.67."""
    shades = [Image.new("L", (8, 8), 3 * each) for each in range(81)]
    delays = [10 * (round(6.25 * (each + 1)) - round(6.25 * each)) for each in range(81)]
    shades[0].save(tmp_path / "x.gif", save_all=True, append_images=shades[1:], duration=delays)
    frames, fps = read_video(tmp_path / "x.gif")
    assert len(frames) == 81 and fps == pytest.approx(16.0, abs=0.01)


def test_what_an_edit_list_cuts_off_is_not_counted(folder, tmp_path):
    ffmpeg("-ss", "0.5", "-i", folder / "even.mp4", "-c", "copy", tmp_path / "x.mp4")
    frames, fps = read_video(tmp_path / "x.mp4")
    assert len(frames) == 45 and fps == pytest.approx(30)


def test_a_turned_clip_is_upright(folder, tmp_path):
    ffmpeg("-display_rotation", "90", "-i", folder / "even.mp4", "-c", "copy", tmp_path / "x.mp4")
    assert read_video(tmp_path / "x.mp4", Cut(count=1))[0].shape == (1, 64, 48, 3)


def test_some_frames_are_the_same_as_those_of_the_whole_clip(folder):
    whole, _ = read_video(folder / "even.mp4")
    part, fps = read_video(folder / "even.mp4", Cut(first=7, count=5))
    assert torch.equal(part, whole[7:12]) and fps == pytest.approx(30)
    part, fps = read_video(folder / "even.mp4", Cut(start_s=0.5, end_s=1.0))
    assert torch.equal(part, whole[15:30]) and fps == pytest.approx(30)
    part, fps = read_video(folder / "even.mp4", Cut(first=58, count=5))
    assert torch.equal(part, whole[58:]) and fps == pytest.approx(30)


def test_the_rate_of_some_frames_is_their_own(folder):
    frames, fps = read_video(folder / "uneven.gif", Cut(first=1, count=2))
    assert len(frames) / fps == pytest.approx(0.6)


def test_another_rate_keeps_the_length(folder):
    frames, fps = read_video(folder / "uneven.gif", Cut(fps=10))
    assert fps == 10 and len(frames) == 20
    shown = [round(each) for each in (frames[:, 12, 16, 1] * 255 / 50).tolist()]
    assert shown == [0, *[1] * 5, 2, *[3] * 10, *[4] * 3]
    frames, fps = read_video(folder / "even.mp4", Cut(fps=16, first=4, count=9))
    assert fps == 16 and len(frames) == 9


def test_frames_come_one_by_one_as_bytes(folder):
    stream = read_frames(folder / "even.mp4")
    first = next(stream)
    assert first.dtype == torch.uint8 and first.shape == (48, 64, 3)
    stream.close()


def test_pictures_are_fitted_as_they_come(folder):
    fitting = Fitting(8, 6, lambda picture: picture[:, ::8, ::8])
    frames, _ = read_video(folder / "even.mp4", Cut(count=3), fitting=fitting)
    assert frames.shape == (3, 6, 8, 3)


def test_each_frame_may_stop_the_reading(folder):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_video(folder / "even.mp4", each=stop)


def test_a_clip_that_would_not_fit_into_ram_is_refused_before_it_is_decoded(folder, monkeypatch):
    monkeypatch.setattr("wan_director.common.memory.free_ram.free_ram_bytes", lambda: 10 * 48 * 64 * 12)
    with pytest.raises(OutOfMemory, match=r"The 60 frames of even.mp4, 64x48, take .* free. Take fewer of them"):
        read_video(folder / "even.mp4")
    assert len(read_video(folder / "even.mp4", Cut(count=10))[0]) == 10


def test_only_the_wanted_frames_are_held(tmp_path):
    """A long clip of which nine frames are used: the memory of nine frames."""
    source = ["-f", "lavfi", "-i", "testsrc=size=640x480:rate=30", "-t", "20"]
    ffmpeg(*source, "-preset", "ultrafast", "-pix_fmt", "yuv420p", tmp_path / "x.mp4")
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from wan_director.media.video_reading import Cut, read_video\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "frames, _ = read_video(Path(sys.argv[1]), Cut(fps=16, first=100, count=9))\n"
        "print(len(frames), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    found = subprocess.run([sys.executable, "-c", code, tmp_path / "x.mp4"], capture_output=True, text=True, check=True)
    count, taken = map(int, found.stdout.split())
    kilobytes = taken if sys.platform != "darwin" else taken / 1024
    assert count == 9 and kilobytes * 1024 < 9 * 640 * 480 * 12 + 60e6  # all frames are 2.2 GB


def test_facts_come_without_decoding(folder):
    video = probe_video(folder / "sound.mp4")
    assert (video.width, video.height, len(video.times), video.sound is not None) == (64, 48, 60, True)
    assert video.duration_s == pytest.approx(60 * 1001 / 30000)
    assert probe_video(folder / "even.mp4").sound is None


@pytest.mark.parametrize("content", [b"", b"<html>", b"#EXTM3U\nhttp://localhost/x.ts\n", bytes(1000)])
def test_what_is_no_video_is_refused(tmp_path, content):
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"x.mp4 cannot be read as a video. Use an mp4, webm or gif file"):
        read_video(tmp_path / "x.mp4")


def test_a_song_is_no_video(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "sine", "-t", "1", tmp_path / "x.m4a")
    with pytest.raises(InvalidInputError, match="x.m4a cannot be read as a video"):
        read_video(tmp_path / "x.m4a")


def test_a_start_behind_the_end_is_refused(folder):
    with pytest.raises(InvalidInputError, match=r"even.mp4 has 60 frames in 2.00 seconds, and none where .* earlier"):
        read_video(folder / "even.mp4", Cut(first=60))


def test_a_clip_that_is_cut_off_gives_what_is_there_with_a_note(folder, tmp_path, caplog):
    data = (folder / "uneven.mkv").read_bytes()
    (tmp_path / "x.mkv").write_bytes(data[: len(data) - 20])
    frames, _ = read_video(tmp_path / "x.mkv")
    assert 1 <= len(frames) <= 5


def test_without_ffmpeg_the_package_is_named(folder, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(folder / "no-such-program"))
    with pytest.raises(MissingPackageError, match=r"cannot be started .* Install imageio-ffmpeg again"):
        read_video(folder / "even.mp4")
