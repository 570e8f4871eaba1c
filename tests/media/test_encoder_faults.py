"""What is wrong with the encoder is called by its name, before anything runs; no other cause is a full disk."""

from __future__ import annotations

import sys
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch
from wan_director.common.errors import MissingPackageError, OutputError
from wan_director.media import encoder
from wan_director.media.place import SavePlace
from wan_director.media.video_writing import check_format, save_video

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="stands in for ffmpeg by shell scripts")
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
TRIAL = 'case "$*" in *" null -") cat > /dev/null; exit 0;; esac\n'
"""A stand-in's first line when it passes the trial that every codec gets."""


@pytest.fixture
def place(tmp_path: Path) -> SavePlace:
    return SavePlace(tmp_path / "video", "clip", 1, "video")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch):
    """Puts a program in the place of ffmpeg."""

    def put(script: str, mode: int = 0o755) -> Path:
        program = tmp_path / "ffmpeg"
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(mode)
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
        return program

    return put


def save(place: SavePlace, frames=None) -> None:
    frames = torch.zeros(3, 16, 16, 3) if frames is None else frames
    save_video(frames, place, format="mp4-h264", fps=8, quality=50, metadata={})


def refused(format: str = "mp4-h264") -> str:
    with pytest.raises(MissingPackageError) as error:
        check_format(format)
    check_format("png frames")
    return str(error.value)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert "imageio-ffmpeg is not installed" in refused() and "or choose the format 'png frames'" in refused()


def test_a_package_without_its_program_is_named(monkeypatch):
    def none_found():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none_found)
    assert "without its ffmpeg program" in refused() and "--force-reinstall imageio-ffmpeg" in refused()


def test_a_program_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nothing"))
    assert f"The ffmpeg at {tmp_path / 'nothing'}" in refused()
    assert "cannot be started: No such file or directory. Correct or remove the environment variable" in refused()


def test_a_program_that_may_not_run_is_named(stand_in, monkeypatch):
    program = stand_in("exit 0", mode=0o644)
    assert "cannot be started: Permission denied" in refused()
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(program))
    assert "cannot be started: Permission denied" in refused() and "Make it executable" in refused()


def test_a_program_of_another_machine_is_named(stand_in):
    program = stand_in("")
    program.write_bytes(b"\x7fELF no program")
    assert "cannot be started: Exec format error" in refused()


def test_a_missing_codec_is_named(stand_in):
    stand_in(f'exec "{FFMPEG}" $(echo "$@" | sed s/libx265/nosuchcodec/)')
    sentence = refused("mp4-h265")
    assert "cannot encode with libx265: " in sentence and "choose another format" in sentence
    assert "free" not in sentence
    stand_in("exit 7")
    assert "cannot encode with libx264: it ended with code 7" in refused()


def test_an_encoder_that_does_not_end_is_named(stand_in, monkeypatch):
    monkeypatch.setattr(encoder, "TRIAL_LIMIT_S", 0.2)
    stand_in("exec sleep 20")
    assert "cannot encode with gif: it took longer than 0.2 s for one small frame" in refused("gif")


def test_a_codec_that_works_is_asked_once(stand_in, tmp_path):
    stand_in(f'echo >> "{tmp_path}/asked"\n{TRIAL}')
    for _ in range(3):
        check_format("webm-vp9")
    check_format("gif")
    assert (tmp_path / "asked").read_text() == "\n\n"


def test_a_mended_encoder_is_asked_again(stand_in):
    stand_in("exit 1")
    refused()
    stand_in(TRIAL)
    check_format("mp4-h264")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("av_interleaved_write_frame(): No space left on device", r"No space left on device \(.* MB free\). Free some"),
        ("x: Permission denied", r"Permission denied \(.* MB free\). Allow writing there"),
        ("x: Input/output error", "Input/output error .*. Check that disk"),
        ("[libx264] malloc failed", r"The encoder failed, .*: \[libx264\] malloc failed. Choose another format"),
        ("", "The encoder failed, .*: it ended with code 3"),
    ],
)
@pytest.mark.parametrize("reads", ["cat > /dev/null\n", ""])
def test_what_the_encoder_says_is_the_reason(stand_in, place, said, words, reads):
    """At the end, or in the middle, when the pipe breaks."""
    stand_in(f'{TRIAL}{reads}echo "{said}" >&2; exit 3')
    with pytest.raises(OutputError, match=words):
        save(place, torch.zeros(40, 64, 64, 3))
    assert list(place.folder.iterdir()) == []


def test_an_encoder_that_talks_a_lot_is_heard_to_the_end(stand_in, place):
    """More than a pipe holds."""
    stand_in(f"{TRIAL}cat > /dev/null; yes 'a line of forty letters, again and again' | head -c 300000 >&2; exit 3")
    with pytest.raises(OutputError, match="a line of forty letters"):
        save(place)


def test_a_killed_encoder_is_no_full_disk(stand_in, place):
    stand_in(f"{TRIAL}kill -9 $$")
    with pytest.raises(OutputError, match=r"it was ended by signal 9\. Choose another format"):
        save(place)


def test_a_file_with_missing_frames_is_not_kept(stand_in, place):
    stand_in(f'{TRIAL}cat > /dev/null; eval "last=\\${{$#}}"; echo no video > "$last"; exit 0')
    with pytest.raises(OutputError, match="did not finish the file"):
        save(place)
    assert list(place.folder.iterdir()) == []
