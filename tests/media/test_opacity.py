"""Files that keep how transparent a picture is: read back by ffmpeg, with the decoders that know it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image
from wan_director.common.errors import InvalidInputError
from wan_director.media.place import SavePlace
from wan_director.media.sound.clip import Sound
from wan_director.media.video_writing import FORMATS, WITH_OPACITY, save_video

DECODERS = {"webm-vp9": ("-c:v", "libvpx-vp9"), "mov-prores": ()}
WIDTH, HEIGHT, FRAMES = 64, 48, 6


@pytest.fixture
def place(tmp_path: Path) -> SavePlace:
    return SavePlace(tmp_path / "video", "clip", 1, "video")


def ramps() -> torch.Tensor:
    """[F, H, W, 4]: flat colours, opacity that rises from left to right; both change from frame to frame."""
    frames = torch.zeros(FRAMES, HEIGHT, WIDTH, 4)
    for number in range(FRAMES):
        frames[number, ..., :3] = torch.tensor([0.2 + 0.1 * number, 0.5, 0.8 - 0.1 * number])
        frames[number, ..., 3] = torch.linspace(0, 0.5 + 0.1 * number, WIDTH)
    return frames


def read_back(path: Path, format: str) -> np.ndarray:
    """[F, H, W, 4] in 0..1."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    command = [program, "-v", "error", *DECODERS[format], "-i", path, "-pix_fmt", "rgba", "-f", "rawvideo", "-"]
    pixels = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8)
    return pixels.reshape(-1, HEIGHT, WIDTH, 4).astype(float) / 255


@pytest.mark.parametrize("format", DECODERS)
def test_a_video_keeps_colours_and_opacity(place, format):
    frames = ramps()
    (path,) = save_video(frames, place, format=format, fps=16, quality=95, metadata={})
    found = read_back(path, format)
    assert found.shape == (FRAMES, HEIGHT, WIDTH, 4)
    assert np.abs(found - frames.numpy()).max() < 0.04
    assert np.abs(found - frames.numpy()).mean() < 0.01
    assert list(place.folder.iterdir()) == [path]


def test_opaque_frames_give_the_file_of_frames_without_opacity(tmp_path):
    """Three channels are coded as they were before any file had four."""
    plain = ramps()[..., :3]
    for number, format in enumerate(("webm-vp9", "mov-prores")):
        (path,) = save_video(
            plain, SavePlace(tmp_path, "a", number, ""), format=format, fps=16, quality=80, metadata={}
        )
        said = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", path], capture_output=True, check=False).stderr
        assert b"alpha_mode" not in said and b"yuva" not in said


def test_png_frames_keep_opacity_exactly(place):
    frames = torch.rand(3, 8, 10, 4, generator=torch.Generator().manual_seed(0))
    files = save_video(frames, place, format="png frames", fps=8, quality=80, metadata={})
    read = np.stack([np.array(Image.open(file)) for file in files])
    assert (read == (frames.numpy() * 255).round()).all()


@pytest.mark.parametrize("format", [format for format in FORMATS if format not in WITH_OPACITY])
def test_a_format_without_room_for_it_says_which_have_some(place, format):
    with pytest.raises(
        InvalidInputError, match=f"'{format}' has no room for transparency.* webm-vp9, png frames, mov-pr"
    ):
        save_video(ramps(), place, format=format, fps=8, quality=80, metadata={})
    assert not any(place.folder.iterdir())


@pytest.mark.parametrize("format", DECODERS)
def test_sound_goes_with_it(place, format):
    sound = Sound(torch.zeros(2, 48000 * FRAMES // 16), 48000)
    (path,) = save_video(ramps(), place, format=format, fps=16, quality=80, metadata={}, sound=sound)
    said = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", path], capture_output=True, check=False).stderr
    assert b"Audio:" in said
    assert read_back(path, format).shape[0] == FRAMES
