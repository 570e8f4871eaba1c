"""Pictures, videos and sounds of which a plan knows the shape alone; of those that are not here yet it guesses one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from ...common.empty_tensors import empty
from ...common.printable import printable_name
from ...common.shapes import VideoShape
from ...media.picture_reading import outlined_pictures
from ...media.sound.clip import Sound
from ...media.sound.reading import WHOLE_SOUND, SoundSpan, outlined_sound, probe_sound
from ...media.video_reading import WHOLE, Cut, Fitting, VideoFile, no_frames, outlined_video, probe_video

_GUESSED_FPS = 16
_GUESSED_S, _GUESSED_RATE = 10.0, 44_100
"""Of a sound, whose length matters little: one of two minutes takes 2 GB while it is encoded."""


class OutlinedFiles:
    """See `reading.InputFiles`.

    Args:
        size: of what is not here.
        is_lenient: whether a video may be damaged, and have fewer frames than it says.

    Attributes:
        has_guessed: whether something was not here.
        missing: the names of the files that were not.
    """

    def __init__(self, size: VideoShape, *, is_lenient: bool = False) -> None:
        self._size = size
        self._is_lenient = is_lenient
        self.has_guessed = False
        self.missing: list[str] = []

    def is_there(self, path: Path) -> bool:
        """A plan is made before the files are there."""
        return True

    def pictures(self, path: Path) -> tuple[Tensor, Tensor | None]:
        if not os.path.isfile(path):
            _, height, width = self._guess(path)
            return empty(1, height, width, 3), empty(1, height, width)
        frames, height, width, has_opacity = outlined_pictures(path)
        self.has_guessed |= frames > 1  # later pictures may have opacity, or another size
        return empty(frames, height, width, 3), empty(frames, height, width) if frames > 1 or has_opacity else None

    def probe(self, path: Path) -> VideoFile:
        if os.path.isfile(path):
            return probe_video(path)
        frames, height, width = self._guess(path)
        times = tuple(Fraction(number, _GUESSED_FPS) for number in range(frames))
        return VideoFile(path, width, height, times, Fraction(frames, _GUESSED_FPS))

    def video(
        self, path: Path, cut: Cut = WHOLE, *, fitting: Fitting | None = None, each: Callable[[], None]
    ) -> tuple[Tensor, float]:
        frames, height, width = self._outlined(path, cut, fitting)
        video = self.probe(path)
        fps = cut.fps or (video.rate(cut.first, frames) if frames < len(video.times) else video.fps)
        return empty(frames, height, width, 3), fps

    def sound(self, path: Path, span: SoundSpan = WHOLE_SOUND, *, each: Callable[[], None]) -> Sound | None:
        if not os.path.isfile(path):
            if printable_name(path.name) in self.missing:  # a video, which may have none
                return None
            self.has_guessed = True
            length = _GUESSED_S if span.duration_s is None else span.duration_s
            return Sound(empty(2, max(1, round(length * _GUESSED_RATE))), _GUESSED_RATE)
        track = probe_sound(path)
        return None if track is None else outlined_sound(track, span)

    def frames(self, path: Path, cut: Cut = WHOLE) -> Iterator[Tensor]:
        frames, height, width = self._outlined(path, cut)
        return (empty(height, width, 3, dtype=torch.uint8) for _ in range(frames))

    def _outlined(self, path: Path, cut: Cut, fitting: Fitting | None = None) -> VideoShape:
        video = self.probe(path)
        shape = outlined_video(video, cut, fitting)
        if not os.path.isfile(path):
            return shape._replace(frames=cut.count or len(video.times))
        if not shape.frames:
            raise no_frames(video)
        is_exact = not cut.fps and not self._is_lenient
        if is_exact or shape.frames < outlined_video(video, replace(cut, count=0)).frames - 1:
            return shape
        # At another rate a frame may lack, of a damaged file many: any length that a clip can have is taken.
        return shape._replace(frames=max(1, (shape.frames - 1) // 4 * 4 + 1 - (self._guess().frames - 1)))

    def _guess(self, missing: Path | None = None) -> VideoShape:
        self.has_guessed = True
        self.missing += [] if missing is None else [printable_name(missing.name)]
        return self._size
