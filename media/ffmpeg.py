"""The ffmpeg program that imageio-ffmpeg brings: where it is, how it is started, what its spelling of an option is."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ..common.errors import MissingPackageError

APART: dict[str, Any] = {"creationflags": 0x08000200} if sys.platform == "win32" else {"start_new_session": True}
"""Without these, Ctrl-C ends ffmpeg before us, and a console window opens for it on Windows."""


class Lacking(NamedTuple):
    """What is said where there is no ffmpeg, by what it is wanted for: the package is missing, or its program."""

    package: str
    program: str


TO_READ = Lacking(
    "imageio-ffmpeg is not installed, which videos are read with. Install it with `pip install imageio-ffmpeg`.",
    "imageio-ffmpeg is installed, but there is no ffmpeg program in it. Install ffmpeg, or name it in the "
    "environment variable IMAGEIO_FFMPEG_EXE.",
)


def ffmpeg_package(lacking: Lacking = TO_READ) -> ModuleType:
    """imageio-ffmpeg, which brings ffmpeg.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import imageio_ffmpeg
    except ImportError:
        raise MissingPackageError(lacking.package) from None
    return imageio_ffmpeg


def ffmpeg_program(lacking: Lacking = TO_READ) -> str:
    """The path of the ffmpeg that imageio-ffmpeg has, or has found.

    Raises:
        MissingPackageError: imageio-ffmpeg is not installed, or came without the program.
    """
    try:
        return ffmpeg_package(lacking).get_ffmpeg_exe()
    except RuntimeError:
        raise MissingPackageError(lacking.program) from None


def start_ffmpeg(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """ffmpeg with what it writes and what it complains of as pipes.

    Raises:
        MissingPackageError: there is no ffmpeg, or it cannot be started.
    """
    program = ffmpeg_program()
    try:
        process: Any = subprocess.Popen(
            [program, "-nostdin", "-hide_banner", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **APART,
        )
    except OSError as error:
        raise MissingPackageError(
            f"The program {program} cannot be started ({error.strerror}). Install imageio-ffmpeg again, or name "
            "another ffmpeg in the environment variable IMAGEIO_FFMPEG_EXE."
        ) from None
    return process


def source_of(path: Path) -> list[str]:
    """What `start_ffmpeg` is told of a file that it reads."""
    # A text file may call itself a list of videos; none but files are opened for it.
    return ["-protocol_whitelist", "file", "-i", str(path.resolve())]


def each_frame_once() -> list[str]:
    """The option with which ffmpeg gives each picture once, whatever its time: `-vsync` until FFmpeg 5.0, which
    FFmpeg 9 does not know any more."""
    return ["-fps_mode" if _knows_fps_mode(ffmpeg_program()) else "-vsync", "passthrough"]


@functools.lru_cache(maxsize=4)
def _knows_fps_mode(program: str) -> bool:
    text = subprocess.run(
        [program, "-hide_banner", "-h", "long"], stdin=subprocess.DEVNULL, capture_output=True, check=False, **APART
    )
    return b"-fps_mode" in text.stdout
