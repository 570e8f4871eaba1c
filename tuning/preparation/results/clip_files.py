"""The files of the clips that are kept: their frames between the bars, in their size, and the caption beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ....media.video_writing import write_video
from ..captions import CAPTION_ENDING
from ..keeping import write_whole
from ..measuring import Measured, frames_of
from ..packages import opencv
from ..scores.pictures import NO_BARS, Bars
from ..settings import Preparation
from .records import Clip

_FORMAT, _QUALITY = "mp4-h264", 95
"""Hardly any loss: crf 12."""


def written_size(size: tuple[int, int], measured: Measured, settings: Preparation) -> tuple[int, int]:
    """Width and height of a clip: what is between the bars, smaller where its shorter side is too long; even."""
    left, top, right, bottom = _bars(measured, settings).inside(*size)
    width, height = right - left, bottom - top
    scale = min(1.0, settings.side / min(width, height))
    return max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)


def write_clip(clip: Clip, folder: Path, settings: Preparation) -> bool:
    """Writes a clip's video; one that is there is left alone, and the answer is False.

    Raises:
        InvalidInputError: it cannot be decoded.
        OutputError: it cannot be written.
    """
    target = folder / f"{clip.name(settings)}.mp4"
    if target.is_file():
        return False
    with contextlib.closing(_frames(clip, settings)) as frames:
        write_video(frames, target, format=_FORMAT, fps=settings.fps, quality=_QUALITY)
    return True


def write_caption(clip: Clip, folder: Path, settings: Preparation) -> None:
    """Writes a clip's caption beside it.

    Raises:
        OutputError: it cannot be written.
    """
    write_whole(folder / f"{clip.name(settings)}{CAPTION_ENDING}", f"{clip.caption}\n" if clip.caption else "")


def _frames(clip: Clip, settings: Preparation) -> Generator[Tensor, None, None]:
    left, top, right, bottom = _bars(clip.measured, settings).inside(*clip.source.shown_size)
    with contextlib.closing(frames_of(clip.source.video, clip.excerpt)) as frames:
        for frame in frames:
            inner = _in_size(frame[top:bottom, left:right], clip.width, clip.height)
            yield torch.from_numpy(np.ascontiguousarray(inner)).float() / 255


def _bars(measured: Measured, settings: Preparation) -> Bars:
    return NO_BARS if settings.keep_bars else measured.bars


def _in_size(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    if frame.shape[0] - height in (0, 1) and frame.shape[1] - width in (0, 1):  # only an odd line is left out
        return frame[:height, :width]
    cv2 = opencv()
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
