"""The loss of a training drawn as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...common.empty_tensors import empty
from ...common.shapes import PictureSize
from .record import Losses

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SIZE = PictureSize(768, 432)
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 20, 40, 44
_PAPER, _INK, _GRID = (24, 26, 30), (220, 222, 226), (58, 62, 70)
_OWN, _PRIOR = (92, 158, 255), (255, 170, 76)
_FAINT = 0.35
"""How much of its colour a single step has; the mean of its neighbours has all of it."""
_LINES = 4
_SMOOTHED = 25
"""The mean is over the steps of a 25th of the training."""


def loss_curve(losses: Losses, steps: int, name: str) -> Tensor:
    """The losses so far as a picture [1, H, W, 3] in 0..1: each step faintly, and the mean of those around it.

    Args:
        losses: of the steps that were made.
        steps: of the whole training.
        name: of what is trained.
    """
    from PIL import Image, ImageDraw

    image = Image.new("RGB", SIZE, _PAPER)
    drawing = ImageDraw.Draw(image)
    low, high = _span([*losses.own, *losses.prior])
    axes = _Axes(drawing, max(steps, len(losses), 2), low, high)
    axes.draw()
    has_prior = any(math.isfinite(each) for each in losses.prior)
    for values, colour in ((losses.prior, _PRIOR), (losses.own, _OWN)):
        axes.line(values, tuple(round(_FAINT * part + (1 - _FAINT) * paper) for part, paper in zip(colour, _PAPER)), 1)
        axes.line(smoothed(values), colour, 3)
    last = next((each for each in reversed(smoothed(losses.own)) if math.isfinite(each)), None)
    drawing.text((_LEFT, 12), _title(name, len(losses), steps, last), fill=_OWN, font=_font(15))
    if has_prior:
        drawing.text((SIZE.width - _RIGHT, 12), "prior", fill=_PRIOR, font=_font(15), anchor="ra")
    return torch.from_numpy(np.asarray(image).copy()).float()[None] / 255


def outline_of_curve() -> Tensor:
    """As `loss_curve`, without values: for a plan."""
    return empty(1, SIZE.height, SIZE.width, 3)


def smoothed(values: Sequence[float]) -> list[float]:
    """To each value the mean of those around it; NaN counts nowhere."""
    reach = max(1, len(values) // (2 * _SMOOTHED))
    means = []
    for place in range(len(values)):
        around = [each for each in values[max(0, place - reach) : place + reach + 1] if math.isfinite(each)]
        means.append(sum(around) / len(around) if around else math.nan)
    return means


class _Axes:
    """Where values lie in the picture; the loss is drawn by its logarithm, in which a fall looks alike anywhere."""

    def __init__(self, drawing: ImageDraw, steps: int, low: float, high: float) -> None:
        self._drawing, self._steps = drawing, steps
        self._low, self._high = math.log(low), math.log(high)

    def draw(self) -> None:
        bottom = SIZE.height - _BOTTOM
        for number in range(_LINES + 1):
            value = self._low + (self._high - self._low) * number / _LINES
            y = self._y(value)
            self._drawing.line((_LEFT, y, SIZE.width - _RIGHT, y), fill=_GRID)
            self._drawing.text((_LEFT - 8, y), f"{math.exp(value):.3g}", fill=_INK, font=_font(13), anchor="rm")
            step = round(1 + (self._steps - 1) * number / _LINES)
            anchor = "ra" if number == _LINES else "ma"
            self._drawing.text((self._x(step), bottom + 6), str(step), fill=_INK, font=_font(13), anchor=anchor)
        self._drawing.text((SIZE.width - _RIGHT, bottom + 24), "step", fill=_INK, font=_font(13), anchor="ra")

    def line(self, values: Sequence[float], colour: tuple[int, ...], width: int) -> None:
        points: list[tuple[float, float]] = []
        for step, value in enumerate(values, start=1):
            if math.isfinite(value) and value > 0:
                points.append((self._x(step), self._y(math.log(value))))
        if len(points) > 1:
            self._drawing.line(points, fill=colour, width=width, joint="curve")
        elif points:
            self._drawing.ellipse([*(each - 2 for each in points[0]), *(each + 2 for each in points[0])], fill=colour)

    def _x(self, step: float) -> float:
        return _LEFT + (SIZE.width - _LEFT - _RIGHT) * (step - 1) / (self._steps - 1)

    def _y(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return SIZE.height - _BOTTOM - (SIZE.height - _TOP - _BOTTOM) * share


def _span(values: Sequence[float]) -> tuple[float, float]:
    """The lowest and the highest loss drawn, a little apart where all are one."""
    found = [value for value in values if math.isfinite(value) and value > 0]
    low, high = (min(found), max(found)) if found else (0.01, 1.0)
    return (low / 1.05, high * 1.05) if high < 1.1 * low else (low, high)


def _title(name: str, made: int, steps: int, last: float | None) -> str:
    of = f"{made} steps" if made >= steps else f"{made} of {steps} steps"
    return f"{name}: " + (of if last is None else f"loss {last:.4f} after {of}")


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
