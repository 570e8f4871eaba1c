"""Reading sound from files, whole or the part that belongs to some pictures."""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ...common.empty_tensors import empty
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.memory.free_ram import require_ram
from ..ffmpeg import source_of, start_ffmpeg
from .clip import Sound

_PART_BYTES = 1 << 20
_SAMPLE_BYTES = 4
_NAMED = {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4, "quad(side)": 4, "hexagonal": 6, "octagonal": 8, "cube": 8}
_STREAM = re.compile(r"Stream #0:(\d+).*?: Audio: (\S+).*?, (\d+) Hz, ([^,\n]+)")
_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d\.\d+)")


class SoundTrack(NamedTuple):
    """What is known of a file's sound without decoding it.

    Attributes:
        stream: its number in the file.
        sample_rate: samples per second.
        channels: how many; one where the file does not tell.
        duration_s: of the file; 0 where it does not tell.
    """

    stream: int
    sample_rate: int
    channels: int
    duration_s: float


class SoundSpan(NamedTuple):
    """A part of a file: from a second on, so many seconds; None: to the end."""

    start_s: float = 0.0
    duration_s: float | None = None


WHOLE_SOUND = SoundSpan()


def sound_track(header: str) -> SoundTrack | None:
    """The first sound track that can be decoded, in what ffmpeg reports of a file; None where there is none."""
    found = _DURATION.search(header)
    duration = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else 0.0
    for stream, codec, rate, layout in _STREAM.findall(header):
        if codec != "none":
            return SoundTrack(int(stream), int(rate), _channels(layout.strip()), duration)
    return None


def probe_sound(path: Path) -> SoundTrack | None:
    """The sound track of a file; None where it has none.

    Raises:
        MissingPackageError: there is no ffmpeg.
    """
    _, header = start_ffmpeg(source_of(path)).communicate()  # without a target it only reports
    return sound_track(header.decode("utf-8", "replace"))


def outlined_sound(track: SoundTrack, span: SoundSpan = WHOLE_SOUND) -> Sound:
    """What `read_sound` gives, without its values; a length that is not given is what the file tells."""
    length = max(0.0, track.duration_s - span.start_s) if span.duration_s is None else span.duration_s
    return Sound(empty(track.channels, max(1, round(length * track.sample_rate))), track.sample_rate)


def read_sound(
    path: Path, track: SoundTrack, span: SoundSpan = WHOLE_SOUND, *, each: Callable[[], None] = lambda: None
) -> Sound:
    """A part of a sound track; before its beginning and after its end there is silence.

    Args:
        path: a file.
        track: see `probe_sound`.
        span: which part, in seconds from the start of the file, as the times of pictures are.
        each: called now and again, for example to stop when the user asks for it.

    Raises:
        InvalidInputError: the whole was asked for, and nothing could be decoded.
        MissingPackageError: there is no ffmpeg.
        OutOfMemory: it would not fit into RAM.
    """
    length = track.duration_s if span.duration_s is None else span.duration_s
    wanted = round(length * track.sample_rate) * track.channels * _SAMPLE_BYTES * 2
    require_ram(wanted, f"The {length:.0f} seconds of sound of {path.name}", "Take a shorter part.")
    channels, rate, data = _parsed(_decoded(path, track, span, each), track)
    samples = torch.from_numpy(data.reshape(-1, channels).T.copy())
    if span.duration_s is not None:
        return Sound(samples, rate).fitted(span.duration_s)
    if not samples.shape[1]:
        raise InvalidInputError(f"{path.name} has no sound that can be read. Use another file.")
    return Sound(samples, rate)


def _channels(layout: str) -> int:
    """Of a layout as ffmpeg names it: "stereo", "5.1(side)", "3 channels (FL+FR+FC)"."""
    counted = re.match(r"(\d+) channels", layout)
    ambisonic = re.match(r"ambisonic (\d+)", layout)
    numbered = re.match(r"\d+(\.\d+)+", layout)
    if counted:
        return int(counted[1])
    if ambisonic:
        return (int(ambisonic[1]) + 1) ** 2
    if numbered:
        return sum(map(int, numbered[0].split(".")))
    return _NAMED.get(layout, 1)


def _decoded(path: Path, track: SoundTrack, span: SoundSpan, each: Callable[[], None]) -> bytes:
    """A WAV file of float32, as much of it as could be decoded."""
    # aresample puts silence where the track begins later than the file, or has gaps: then samples count the time.
    end = "" if span.duration_s is None else f":end={span.start_s + span.duration_s:.6f}"
    filters = f"aresample=async=1:first_pts=0,atrim=start={span.start_s:.6f}{end}"
    target = ["-af", filters, "-c:a", "pcm_f32le", "-bitexact", "-f", "wav", "pipe:1"]
    process = start_ffmpeg(["-v", "error", *source_of(path), "-map", f"0:{track.stream}", *target])
    assert process.stdout is not None and process.stderr is not None, "both are pipes"
    stdout, stderr = process.stdout, process.stderr
    complaints: list[bytes] = []
    listener = threading.Thread(target=lambda: complaints.extend(stderr), daemon=True)
    listener.start()
    data = bytearray()
    try:
        while part := stdout.read(_PART_BYTES):
            each()
            data += part
        process.wait()
    finally:
        process.kill()
        process.wait()
        listener.join()
        stdout.close()
        stderr.close()
    if complaints:
        first = complaints[0].decode("utf-8", "replace").strip()
        logger.warning("The sound of %s is damaged (%s); what could be read of it is used.", path.name, first)
    return bytes(data)


def _parsed(wav: bytes, track: SoundTrack) -> tuple[int, int, np.ndarray]:
    """Channels, rate and samples [samples * channels] of a WAV file whose sizes are not known, being from a pipe."""
    place, channels, rate = 12, track.channels, track.sample_rate
    while place + 8 <= len(wav):
        name, size = struct.unpack_from("<4sI", wav, place)
        place += 8
        if name == b"data":
            samples = (len(wav) - place) // (_SAMPLE_BYTES * channels) * channels
            return channels, rate, np.frombuffer(wav, "<f4", samples, place)
        if name == b"fmt ":
            channels, rate = struct.unpack_from("<HI", wav, place + 2)
        place += size
    return channels, rate, np.empty(0, np.float32)
