"""All that is measured of a clip, from one decoding of its pictures."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Generator
from dataclasses import asdict
from typing import Any

import numpy as np

from ...common.records import record
from ...media.video_reading import VideoFile, read_span
from .excerpts import Excerpt
from .packages import opencv
from .scores.likeness import difference_hash
from .scores.motion import SHORTER_SIDE as FLOW_SIDE
from .scores.motion import motion_of
from .scores.optional import brisque_of, text_part
from .scores.pictures import SHORTER_SIDE, Bars, bars_of, look_of
from .settings import Preparation

_SHOWN_HEIGHT, _SHOWN_QUALITY = 120, 80
_LOOKED_AT = 5
"""Frames of a clip that are looked at one by one."""


@record
class Measured:
    """What is known of a clip.

    Attributes:
        scores: name -> number, see `settings.SCORES`.
        camera: what the camera does, a word.
        bars: its black bars.
        hashes: of its first, middle and last frame.
        shown: those three frames in one JPEG, base64.
    """

    scores: dict[str, float]
    camera: str
    bars: Bars
    hashes: tuple[int, ...]
    shown: str

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "bars": list(self.bars), "hashes": list(self.hashes)}

    @classmethod
    def of_json(cls, found: dict[str, Any]) -> Measured:
        bars, hashes = Bars(*found["bars"]), tuple(found["hashes"])
        return cls(found["scores"], found["camera"], bars, hashes, found["shown"])


def measure(video: VideoFile, size: tuple[int, int], excerpt: Excerpt, settings: Preparation) -> Measured:
    """Measures a clip.

    Args:
        size: width and height as the video is shown.

    Raises:
        InvalidInputError: its pictures cannot be decoded.
        MissingPackageError: what measures a score that is asked for is not installed.
    """
    cv2 = opencv()
    scale = min(1.0, SHORTER_SIDE / min(size))
    seen = (max(16, round(size[0] * scale)), max(16, round(size[1] * scale)))
    looked_at = set(np.linspace(0, len(excerpt.numbers) - 1, _LOOKED_AT).round().astype(int).tolist())
    colours: list[np.ndarray] = []
    small, brightest = [], np.zeros((seen[1], seen[0]), np.uint8)
    with contextlib.closing(frames_of(video, excerpt, seen)) as frames:
        for number, frame in enumerate(frames):
            grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            np.maximum(brightest, grey, out=brightest)
            small.append(grey)
            if number in looked_at:
                colours.append(frame)
    bars = bars_of(brightest)
    left, top, right, bottom = bars.inside(*seen)
    inner = [frame[top:bottom, left:right] for frame in small]
    colours = [np.ascontiguousarray(frame[top:bottom, left:right]) for frame in colours]
    motion = motion_of([_shrunk(frame, FLOW_SIDE) for frame in inner], settings.fps)
    look = look_of([inner[number] for number in sorted(looked_at)])
    scores = {
        "motion": motion.mean,
        "fastest": motion.fastest,
        "still": motion.still,
        "object": motion.object,
        **asdict(look),
        "gap": excerpt.gap_s,
    }
    scores |= {"text": text_part(colours)} if "text" in settings.measured else {}
    scores |= {"brisque": brisque_of(colours)} if "brisque" in settings.measured else {}
    three = [colours[0], colours[len(colours) // 2], colours[-1]]
    hashes = tuple(difference_hash(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)) for frame in three)
    rounded = {name: round(value, 4) for name, value in scores.items()}
    return Measured(rounded, motion.camera, bars, hashes, _shown(three))


def frames_of(
    video: VideoFile, excerpt: Excerpt, size: tuple[int, int] | None = None
) -> Generator[np.ndarray, None, None]:
    """The frames of a clip, each [H, W, 3], uint8, RGB: a picture may be several of them, or none.

    Raises:
        InvalidInputError: they cannot be decoded.
    """
    first = excerpt.numbers[0]
    count = excerpt.numbers[-1] - first + 1
    wanted = iter(excerpt.numbers)
    next_one = next(wanted)
    with contextlib.closing(read_span(video, first, count, size)) as pictures:
        for number, picture in enumerate(pictures, first):
            while next_one == number:
                yield picture.numpy()
                next_one = next(wanted, -1)


def _shrunk(frame: np.ndarray, side: int) -> np.ndarray:
    cv2 = opencv()
    height, width = frame.shape[:2]
    scale = side / min(height, width)
    if scale >= 1:
        return np.ascontiguousarray(frame)
    return cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)


def _shown(pictures: list[np.ndarray]) -> str:
    from PIL import Image

    image = Image.fromarray(np.concatenate(pictures, 1))
    image.thumbnail((_SHOWN_HEIGHT * 12, _SHOWN_HEIGHT))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_SHOWN_QUALITY)
    return base64.b64encode(file.getvalue()).decode("ascii")
