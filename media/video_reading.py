"""Reading video files: all pictures or some of them, each once, and how many there are per second."""

from __future__ import annotations

import io
import math
import re
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..common.errors import InvalidInputError
from ..common.log import logger
from ..common.memory.free_ram import require_ram
from ..common.places import Place
from ..common.records import record
from ..common.shapes import VideoShape
from .ffmpeg import each_frame_once, source_of, start_ffmpeg
from .sound.reading import SoundTrack, sound_track

LOAD_VIDEO = Place("load video", "the video reader")

# The first video that is no cover picture of a song.
_VIDEO = ["-map", "0:V:0"]
_FLOAT_BYTES = 4
_BEGIN = Fraction(0)
_INDEXED = {".mp4", ".m4v", ".mov", ".mkv", ".webm"}
"""Files that are entered at a picture: of others ffmpeg finds the place by guessing from the size."""
_NO_TIME = -(1 << 63)
"""What stands for the time of a packet that has none."""


@record
class VideoFile:
    """What is known of a video file without decoding it.

    Attributes:
        width, height: as stored.
        times: of each picture, in order, in seconds from the start of the file.
        end: of the last picture, in seconds.
        sound: the sound track, if there is one.
        is_turned: whether it is shown with width and height exchanged.
    """

    path: Path
    width: int
    height: int
    times: tuple[Fraction, ...]
    end: Fraction
    sound: SoundTrack | None = None
    is_turned: bool = False

    @property
    def duration_s(self) -> float:
        """Seconds from the first picture to the end of the last one."""
        return float(self.end - self.times[0])

    @property
    def fps(self) -> float:
        """Pictures per second, on average."""
        return self.rate(0, len(self.times))

    def rate(self, first: int, count: int) -> float:
        """Pictures per second of `count` pictures from `first` on, on average: count / fps is their length."""
        if first >= len(self.times):
            return self.fps
        after = first + count
        end = self.times[after] if after < len(self.times) else self.end
        return float(count / (end - self.times[first]))

    def begin_s(self, cut: Cut) -> float:
        """When the first picture of a cut is shown, in seconds: the sound that goes with it begins there."""
        taken = [time for time in self.times if time >= cut.start_s]
        if not taken:
            return float(self.end)
        if cut.fps:  # the filter puts each picture onto the nearest moment of the new rate
            return (math.floor(float(taken[0]) * cut.fps + 0.5) + cut.first) / cut.fps
        return float(taken[cut.first] if cut.first < len(taken) else self.end)


@record
class Cut:
    """Which pictures of a video.

    Attributes:
        fps: how many per second: pictures are left out or repeated where the file has another number; 0 as in the file.
        first: the first one taken, from 0, counted after `fps`.
        count: how many at most; 0 all.
        start_s, end_s: only those shown from this second on, and before that one; counted before `fps`.
    """

    fps: float = 0.0
    first: int = 0
    count: int = 0
    start_s: float = 0.0
    end_s: float | None = None

    def filters(self) -> str:
        """As ffmpeg's filters; empty for all pictures."""
        steps = []
        if self.start_s or self.end_s is not None:
            end = "" if self.end_s is None else f"*lt(t\\,{self.end_s:.9f})"
            steps.append(f"select=gte(t\\,{self.start_s:.9f}){end}")
        if self.fps:
            steps.append(f"fps={self.fps:.9f}")
        if self.first:
            steps.append(f"select=gte(n\\,{self.first})")
        return ",".join(steps)


WHOLE = Cut()


@record
class Fitting:
    """How each picture is brought to a size as it comes: `apply` takes and gives [1, H, W, 3], float, in 0..1."""

    width: int
    height: int
    apply: Callable[[Tensor], Tensor]


def probe_video(path: Path) -> VideoFile:
    """Times, size and sound of a video file, from its packets.

    Raises:
        InvalidInputError: it is no video, or holds no pictures.
        MissingPackageError: there is no ffmpeg.
    """
    process = start_ffmpeg([*source_of(path), *_VIDEO, "-c", "copy", "-f", "framecrc", "pipe:1"])
    packets, header = process.communicate()
    facts = _facts(path, packets.decode("ascii", "replace"), header.decode("utf-8", "replace"))
    if facts is None:
        raise _unreadable(path)
    return facts


def read_video(
    path: Path,
    cut: Cut = WHOLE,
    *,
    fitting: Fitting | None = None,
    each: Callable[[], None] = lambda: None,
) -> tuple[Tensor, float]:
    """Pictures of a video file [F, H, W, 3], float, in 0..1, and how many there are per second: F / fps is the length.

    Memory is asked for before anything is decoded.

    Args:
        path: a file.
        cut: which pictures.
        fitting: brings each picture to a size as it comes.
        each: called before each picture, for example to stop when the user asks for it.

    Raises:
        InvalidInputError: it is no video, or holds no such pictures.
        MissingPackageError: there is no ffmpeg.
        OutOfMemory: the pictures would not fit into RAM.
    """
    video = probe_video(path)
    wanted = _wanted(video, cut)
    _require_ram(video, wanted, fitting)
    clip, count = torch.empty(0, dtype=torch.float32), 0
    with closing(_decoded(video, cut)) as frames:
        for frame in frames:
            each()
            picture = frame.float() / 255
            picture = picture if fitting is None else fitting.apply(picture[None])[0]
            if count == len(clip):
                clip = _with_room(clip, max(1, wanted), picture)
            clip[count] = picture
            count += 1
    if not count:
        raise no_frames(video)
    return clip[:count], cut.fps or _rate(video, cut, count)


def outlined_video(video: VideoFile, cut: Cut = WHOLE, fitting: Fitting | None = None) -> VideoShape:
    """The shape of what `read_video` gives, without decoding it: where the rate is changed, a frame more at most."""
    height, width = (video.width, video.height) if video.is_turned else (video.height, video.width)
    height, width = (height, width) if fitting is None else (fitting.height, fitting.width)
    return VideoShape(_wanted(video, cut), height, width)


def no_frames(video: VideoFile) -> InvalidInputError:
    """That a cut leaves none."""
    return InvalidInputError(
        f"{video.path.name} has {len(video.times)} frames in {video.duration_s:.2f} seconds, and none where they were "
        "to be taken from. Start earlier."
    )


def _with_room(clip: Tensor, more: int, picture: Tensor) -> Tensor:
    """A clip with room for so many more pictures: in a list that is joined at the end they would be there twice."""
    larger = torch.empty(len(clip) + more, *picture.shape, dtype=torch.float32)
    if len(clip):
        larger[: len(clip)] = clip
    return larger


def read_frames(path: Path, cut: Cut = WHOLE) -> Iterator[Tensor]:
    """The pictures of `read_video` one after another, each [H, W, 3], uint8; errors as there."""
    return _decoded(probe_video(path), cut)


def read_span(
    video: VideoFile, first: int = 0, count: int = 0, size: tuple[int, int] | None = None
) -> Generator[Tensor, None, None]:
    """Pictures of a video by their numbers, one after another, each [H, W, 3], uint8, decoded from near the first.

    A file whose container has no index is decoded from its beginning.

    Args:
        first: the number of the first one, from 0.
        count: how many; 0 all that follow.
        size: width and height that they are brought to.

    Raises:
        InvalidInputError: the file holds fewer pictures than it tells of.
    """
    wanted = count or len(video.times) - first
    is_indexed = video.path.suffix.lower() in _INDEXED
    enter = (video.times[first - 1] + video.times[first]) / 2 if first and is_indexed else Fraction(0)
    filters = [] if is_indexed or not first else [f"select=gte(n\\,{first})"]
    filters += [] if size is None else [f"scale={size[0]}:{size[1]}:flags=area"]
    came = 0
    with closing(_piped(video.path, filters, wanted, enter)) as frames:
        for frame in frames:
            came += 1
            yield frame
    if came < wanted:
        raise InvalidInputError(
            f"{video.path.name} is damaged: of the {wanted} pictures from number {first} on {came} can be decoded. "
            "Leave it out, or convert what is left of it."
        )


def _facts(path: Path, packets: str, header: str) -> VideoFile | None:
    """`packets`: a line each, "stream, dts, pts, duration, ..." in units of "#tb"; `header`: what ffmpeg reports."""
    base = re.search(r"^#tb 0: (\d+)/(\d+)", packets, re.MULTILINE)
    size = re.search(r"^#dimensions 0: (\d+)x(\d+)", packets, re.MULTILINE)
    shown = _shown(packets)
    if base is None or size is None or not shown:
        return None
    unit = Fraction(int(base[1]), int(base[2]))
    times = tuple(pts * unit for pts, _ in shown)
    end = times[-1] + shown[-1][1] * unit
    if end == times[-1]:
        end += times[-1] - times[-2] if len(times) > 1 else Fraction(1, 25)
    sound = sound_track(header)
    # FFmpeg before 6 copies the first picture's duration to all packets: then the file knows more of the last one.
    total = re.search(r"Duration: (\d+):(\d\d):(\d\d\.\d\d)", header)
    if total and " Audio: " not in header:
        length = int(total[1]) * 3600 + int(total[2]) * 60 + Fraction(total[3])
        end = length if length > end + Fraction(2, 100) else end
    angle = re.search(r"rotation of (-?[\d.]+) degrees", header)
    is_turned = angle is not None and round(float(angle[1]) / 90) % 2 == 1
    return VideoFile(path, int(size[1]), int(size[2]), times, end, sound, is_turned)


def _shown(packets: str) -> list[tuple[int, int]]:
    """When each picture is shown, and for how long, in order."""
    found = re.findall(r"^0, *(-?\d+), *(-?\d+), *(\d+)", packets, re.MULTILINE)
    lines = [(int(dts), int(pts), int(length)) for dts, pts, length in found]
    timed = [pts for _, pts, _ in lines if pts != _NO_TIME]
    if timed and len(timed) < len(lines):  # MPEG streams tell some: the others are shown in the order of decoding
        later = min(timed) - min(dts for dts, _, _ in lines if dts != _NO_TIME)
        lines = [(dts, dts + later, length) for dts, _, length in lines if dts != _NO_TIME]
    # What an edit list cuts off has a time before 0.
    return sorted({pts: length for _, pts, length in lines if pts >= 0}.items())


def _wanted(video: VideoFile, cut: Cut) -> int:
    """How many pictures a cut will give, at most."""
    end_s = float(video.end) if cut.end_s is None else min(cut.end_s, float(video.end))
    if cut.fps:
        available = round((end_s - max(cut.start_s, float(video.times[0]))) * cut.fps) + 1
    else:
        available = sum(cut.start_s <= time < end_s for time in video.times)
    available = max(0, available - cut.first)
    return min(available, cut.count) if cut.count else available


def _require_ram(video: VideoFile, frames: int, fitting: Fitting | None) -> None:
    width, height = (video.width, video.height) if fitting is None else (fitting.width, fitting.height)
    require_ram(
        frames * height * width * 3 * _FLOAT_BYTES,
        f"The {frames} frames of {video.path.name}, {width}x{height},",
        "Take fewer of them, or make them smaller while they are read: with ", LOAD_VIDEO, ", or a shorter clip.",
    )  # fmt: skip


def _rate(video: VideoFile, cut: Cut, count: int) -> float:
    before = sum(time < cut.start_s for time in video.times) + cut.first
    if not before and not cut.count and cut.end_s is None:
        return float(count / (video.end - video.times[0]))
    return video.rate(before, count)


def _decoded(video: VideoFile, cut: Cut) -> Generator[Tensor, None, None]:
    return _piped(video.path, [cut.filters()] if cut.filters() else [], cut.count)


def _piped(path: Path, filters: Sequence[str], count: int, enter: Fraction = _BEGIN) -> Generator[Tensor, None, None]:
    """The pictures that ffmpeg gives of a file from the second `enter` on."""
    seek = ["-ss", f"{float(enter):.6f}"] if enter else []
    steps = ["-vf", ",".join(filters)] if filters else []
    limit = ["-frames:v", str(count)] if count else []
    # In the file's rate as unit, which is a guess for Matroska, two pictures get one time, and ffmpeg complains.
    unit = ["-enc_time_base", "1:90000"]
    pictures = [*unit, "-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe", "pipe:1"]
    process = start_ffmpeg(
        ["-v", "error", *seek, *source_of(path), *_VIDEO, *steps, *each_frame_once(), *limit, *pictures]
    )
    stdout, stderr = cast(io.BufferedReader, process.stdout), cast(io.BufferedReader, process.stderr)
    complaints: list[bytes] = []
    listener = threading.Thread(target=lambda: complaints.extend(stderr), daemon=True)
    listener.start()
    try:
        yield from _pictures(stdout, path)
        process.wait()
        listener.join()
        if complaints:
            first = complaints[0].decode("utf-8", "replace").strip()
            logger.warning("%s is damaged (%s); what could be read of it is used.", path.name, first)
    finally:
        process.kill()
        process.wait()
        listener.join()
        stdout.close()
        stderr.close()


def _pictures(stream: io.BufferedReader, path: Path) -> Iterator[Tensor]:
    """The pictures of a stream of PPM files, each after a line with its size."""
    first = None
    while stream.readline():  # the mark "P6"
        width, height = (int(side) for side in stream.readline().split())
        stream.readline()  # the largest value, 255
        first = first or (width, height)
        if (width, height) != first:
            raise InvalidInputError(
                f"{path.name} changes its size from {first[0]}x{first[1]} to {width}x{height}; a clip has one size. "
                "Cut it there, or convert it to one size."
            )
        pixels = np.empty(height * width * 3, np.uint8)
        if stream.readinto(pixels.data) < len(pixels):
            return
        yield torch.from_numpy(pixels).view(height, width, 3)


def _unreadable(path: Path) -> InvalidInputError:
    return InvalidInputError(f"{path.name} cannot be read as a video. Use an mp4, webm or gif file.")
