"""The clips of a shot: which of its pictures each frame is, by the times at which they are shown."""

from __future__ import annotations

import math
from bisect import bisect_right

from ...common.records import record
from ...common.shapes import TEMPORAL_STRIDE
from ...media.video_reading import VideoFile
from .cuts import Shot

_EARLY = 0.25
"""A picture may be taken so much of a frame before its time: containers round times to a millisecond."""


@record
class Excerpt:
    """A clip that can be taken of a video.

    Attributes:
        numbers: the picture of each frame, by number.
        start_s, end_s: when it begins and ends in the video.
        gap_s: the longest time that one of its pictures is shown.
    """

    numbers: tuple[int, ...]
    start_s: float
    end_s: float
    gap_s: float


def excerpts_of(video: VideoFile, shot: Shot, fps: float, longest: int, shortest: int) -> list[Excerpt]:
    """A shot cut into clips of 1 + 4k frames, from its beginning; what is left at its end is shorter than `shortest`.

    Args:
        fps: frames per second of the clips.
        longest, shortest: frames of a clip.
    """
    begin = float(video.times[shot.first])
    end = float(video.times[shot.end] if shot.end < len(video.times) else video.end)
    early = _EARLY / fps
    total = max(0, math.ceil((end - begin - early) * fps))
    excerpts = []
    start = 0
    while total - start >= shortest:
        count = min(longest, total - start)
        count -= (count - 1) % TEMPORAL_STRIDE
        moments = [begin + frame / fps for frame in range(start, start + count)]
        numbers = tuple(_shown_at(video, shot, moment + early) for moment in moments)
        excerpts.append(Excerpt(numbers, moments[0], moments[-1] + 1 / fps, _longest_shown(video, numbers)))
        start += count
    return excerpts


def _shown_at(video: VideoFile, shot: Shot, moment: float) -> int:
    number = bisect_right(video.times, moment) - 1
    return min(max(number, shot.first), shot.end - 1)


def _longest_shown(video: VideoFile, numbers: tuple[int, ...]) -> float:
    times = [*video.times[numbers[0] : numbers[-1] + 2]]
    times += [video.end] if numbers[-1] + 1 == len(video.times) else []
    return float(max(after - before for before, after in zip(times, times[1:])))
