"""Scores whose packages carry models: the part of a frame that is text, and BRISQUE."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....common.errors import MissingPackageError
from ..packages import quality_model, text_detector


def text_part(pictures: Sequence[np.ndarray]) -> float:
    """The part of the frame that boxes of text cover, of the frame with the most.

    Args:
        pictures: each [h, w, 3], uint8, RGB.

    Raises:
        MissingPackageError: RapidOCR is not installed.
    """
    return max(_text_part(picture) for picture in pictures)


def brisque_of(pictures: Sequence[np.ndarray]) -> float:
    """BRISQUE, 0 is flawless, 100 bad; the mean of the pictures, each [h, w, 3], uint8, RGB.

    Raises:
        MissingPackageError: its package is not installed.

    Source: Mittal, Moorthy, Bovik, No-Reference Image Quality Assessment in the Spatial Domain, 2012.
    """
    model = _quality_model()
    return float(np.mean([float(model.score(picture)) for picture in pictures]))


def check_package(name: str) -> None:
    """Raises:
    MissingPackageError: what measures this score is not installed, or does not work here.
    """
    {"text": _text_detector, "brisque": _quality_model}[name]()


def _text_part(picture: np.ndarray) -> float:
    found = _text_detector()(np.ascontiguousarray(picture[..., ::-1]), use_det=True, use_cls=False, use_rec=False)
    boxes = found.boxes if found.boxes is not None else ()
    return float(sum(_area(np.asarray(box)) for box in boxes) / (picture.shape[0] * picture.shape[1]))


def _area(corners: np.ndarray) -> float:
    """Of a box by its corners in order, [n, 2]."""
    x, y = corners[:, 0], corners[:, 1]
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


@functools.cache
def _text_detector() -> Any:
    made = text_detector()
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)  # it tells of each file, and of each frame without text
    return made()


@functools.cache
def _quality_model() -> Any:
    model = quality_model()(url=False)
    try:
        model.score(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    except (TypeError, ValueError, AttributeError) as error:  # brisque 0.2.0 does, with NumPy 2.4
        raise MissingPackageError(
            f"The package brisque that is installed does not work with NumPy {np.__version__} ({error}). Install a "
            "newer one, or do not measure brisque."
        ) from None
    return model
