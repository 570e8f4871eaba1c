"""The encoder of videos, ffmpeg, as a process: asked once whether it can do a format, fed with frames, and heard."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..common.errors import MissingPackageError, OutputError
from .ffmpeg import APART, Lacking, ffmpeg_package, ffmpeg_program
from .sound.clip import Sound
from .sound.coding import CodedSound, SoundCodec, coded

TRIAL_LIMIT_S = 60
CHECK_S = 0.1
"""While the encoder is waited for, the user's wish to stop is asked for so often."""
_ELSE = "or choose the format 'png frames', which needs no encoder."
TO_WRITE = Lacking(
    "imageio-ffmpeg is not installed, which videos are written and read with. Install it with `pip install "
    "imageio-ffmpeg`, or choose the format 'png frames'.",
    "imageio-ffmpeg is installed, but without its ffmpeg program, which encodes videos. Install it again with "
    f"`pip install --force-reinstall imageio-ffmpeg`, install ffmpeg on this system, {_ELSE}",
)
_SYSTEM_ERRORS = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": getattr(errno, "EDQUOT", errno.ENOSPC),
    "File too large": errno.EFBIG,
    "Permission denied": errno.EACCES,
    "Read-only file system": errno.EROFS,
    "Input/output error": errno.EIO,
}


class Codec(NamedTuple):
    """What ffmpeg is told about the coding: the encoder, its pixel format and its options.

    `channels`: of the frames that it is given, 3 or, with opacity, 4.
    """

    name: str
    pixels: str
    parameters: tuple[str, ...]
    channels: int = 3


def check_codec(codec: Codec) -> None:
    """Encodes one small frame to nowhere, once in a process for each codec that works.

    Raises:
        MissingPackageError: there is no ffmpeg, it cannot be started, or it lacks the encoder or a filter.
    """
    program, side = ffmpeg_program(TO_WRITE), 64
    command = tuple(_command(program, (side, side), 16.0, codec))
    _try(program, codec.name, command, side * side * codec.channels, "one small frame")


def check_sound_codec(codec: SoundCodec) -> None:
    """As `check_codec`, a moment of silence.

    Raises:
        MissingPackageError: as there.
    """
    program = ffmpeg_program(TO_WRITE)
    silence = Sound(torch.zeros(1, codec.usual // 10), codec.usual)
    sound = coded(codec, silence, "-")
    command = (program, *sound.source, *sound.target, "-v", "error")
    _try(program, codec.name, command, silence.waveform.nbytes, "a tenth of a second of silence")


@functools.lru_cache
def _try(program: str, name: str, command: tuple[str, ...], zeros: int, what: str) -> None:
    try:
        with _started(program):
            done = subprocess.run(
                [*command, "-f", "null", "-"],
                input=bytes(zeros),
                capture_output=True,
                check=False,
                timeout=TRIAL_LIMIT_S,
                **APART,
            )
    except subprocess.TimeoutExpired:
        reason = f"it took longer than {TRIAL_LIMIT_S} s for {what}"
    else:
        if done.returncode == 0:
            return
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = said[0] if said else _ended(done.returncode)
    raise MissingPackageError(
        f"The ffmpeg at {program} cannot encode with {name}: {reason}. "
        f"Install a full one with `pip install --force-reinstall imageio-ffmpeg`, choose another format, {_ELSE}"
    )


@contextlib.contextmanager
def _started(program: str) -> Iterator[None]:
    """Says what is wrong with a program that cannot be started."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
    else:
        return
    if os.environ.get("IMAGEIO_FFMPEG_EXE") == program:
        remedy = "Correct or remove the environment variable IMAGEIO_FFMPEG_EXE, which names it"
    else:
        remedy = "Make it executable, install it again with `pip install --force-reinstall imageio-ffmpeg`"
    raise MissingPackageError(
        f"The ffmpeg at {program}, which encodes videos, cannot be started: {reason}. {remedy}, {_ELSE}"
    )


def _command(
    program: str, size: tuple[int, int], fps: float, codec: Codec, sound: CodedSound | None = None
) -> list[str]:
    """Raw frames in, one video stream out, and the sound beside it; size: width, height."""
    rate = str(Fraction(fps).limit_denominator())
    raw = ["-f", "rawvideo", "-vcodec", "rawvideo", "-s", "{}x{}".format(*size)]
    source = [*raw, "-pix_fmt", "rgba" if codec.channels == 4 else "rgb24", "-r", rate]
    heard = [] if sound is None else sound.source
    told = ["-an"] if sound is None else ["-map", "0:v", "-map", "1:a", *sound.target]
    target = [*told, "-vcodec", codec.name, "-pix_fmt", codec.pixels, "-v", "error", *codec.parameters]
    return [program, "-y", *source, "-i", "-", *heard, *target]


class Encoder:
    """A running ffmpeg that writes one file. Leave it by `finish`, or by `stop` when something went wrong."""

    def __init__(
        self,
        file: Path,
        size: tuple[int, int],
        fps: float,
        codec: Codec,
        container: Sequence[str],
        sound: CodedSound | None = None,
    ) -> None:
        """Starts it.

        Args:
            file: existing; it is written over. Its ending names the container.
            size: width, height.
            container: ffmpeg's options about the container: metadata, order.
            sound: what is heard, as long as the video.
        """
        program = ffmpeg_program(TO_WRITE)
        # Absolute: ffmpeg takes what stands before a colon for a protocol.
        command = [*_command(program, size, fps, codec, sound), *container, str(file.absolute())]
        with _started(program):
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **APART
            )
        assert self._process.stdin is not None and self._process.stderr is not None, "both are pipes"
        self._frames, self._errors = self._process.stdin, self._process.stderr
        self._said: deque[bytes] = deque(maxlen=50)
        # Read all the time: a full pipe would stop ffmpeg.
        self._listener = threading.Thread(target=self._said.extend, args=(self._errors,), daemon=True)
        self._listener.start()

    def write(self, frame: np.ndarray) -> None:
        """Hands over a frame [H, W, 3], or [H, W, 4] with opacity, uint8.

        Raises:
            OSError: ffmpeg could not write; OutputError: it failed otherwise.
        """
        try:
            self._frames.write(frame)
        except OSError:  # the pipe is broken, since ffmpeg has ended
            self._end()
            raise self._failure() from None

    def finish(self, check: Callable[[], None] = lambda: None) -> None:
        """Waits until the file is whole: what the encoder has not coded yet may take it long.

        Args:
            check: called now and again; what it raises ends the waiting, and `stop` the encoder.

        Raises:
            OSError: ffmpeg could not write; OutputError: it failed otherwise.
        """
        with contextlib.suppress(OSError):
            self._frames.close()
        while self._process.poll() is None:
            check()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(CHECK_S)
        self._end()
        if self._process.returncode:
            raise self._failure()

    def stop(self) -> None:
        """Ends it at once, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._end()

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self._frames.close()
        self._process.wait()
        self._listener.join()
        self._errors.close()

    def _failure(self) -> Exception:
        said = [line.decode(errors="replace").strip() for line in self._said]
        for words, number in _SYSTEM_ERRORS.items():
            if any(words in line for line in said):
                return OSError(number, os.strerror(number))
        code = self._process.returncode
        if hasattr(signal, "SIGXFSZ") and code == -signal.SIGXFSZ:
            return OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        reason = next(filter(None, said), _ended(code))
        return OutputError(
            f"The encoder failed, which was to write the video: {reason}. Choose another format; 'png frames' needs no "
            "encoder."
        )


def _ended(code: int) -> str:
    return f"it was ended by signal {-code}" if code < 0 else f"it ended with code {code}"


def count_frames(file: Path) -> int:
    """How many frames a video file holds.

    Raises:
        OSError: it cannot be read as a video.
    """
    try:
        return ffmpeg_package(TO_WRITE).count_frames_and_secs(str(file.absolute()))[0]
    except RuntimeError as error:
        raise OSError(errno.EIO, "the encoder did not finish the file") from error
