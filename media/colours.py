"""The colours of clips: what brings those of one to those of another, and the space in which they are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..common.errors import InvalidInputError

ColourMethod = Literal["reinhard_lab", "mean_std_rgb", "histogram"]
COLOUR_METHODS: tuple[ColourMethod, ...] = ("reinhard_lab", "mean_std_rgb", "histogram")

_FLAT = 1e-6
"""A channel whose deviation is smaller has one value, and no contrast that could be stretched."""
_LEVELS = 256
_RGB_TO_XYZ = torch.tensor([
    [0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227],
])  # fmt: skip
"""sRGB with the white of D65, ITU-R BT.709."""
_WHITE = torch.tensor([0.95047, 1.0, 1.08883])
_LINEAR_BELOW, _CUBE_ROOT_ABOVE, _CUBE_ABOVE = 0.04045, 0.008856, 0.2068966


class ColourMap(Protocol):
    """How the colours of a clip change."""

    def of(self, frame: Tensor) -> Tensor:
        """A frame [H, W, 3] in 0..1 in the new colours, cut to 0..1."""
        ...


class ColourShift(NamedTuple):
    """How the channels of a clip change: value + (value - mean) * stretch + shift, each of the three [3], float32."""

    mean: Tensor
    stretch: Tensor
    shift: Tensor

    def of(self, frame: Tensor) -> Tensor:
        """A frame [H, W, 3] in the new colours, cut to 0..1."""
        return self.moved(frame).clamp(0, 1)

    def moved(self, values: Tensor) -> Tensor:
        """Values [..., 3] of the space in which it was found."""
        return values + (values - self.mean) * self.stretch + self.shift

    def softened(self, strength: float) -> ColourShift:
        """A part of the way: 0 changes nothing."""
        return self._replace(stretch=self.stretch * strength, shift=self.shift * strength)


UNCHANGED = ColourShift(torch.zeros(3), torch.zeros(3), torch.zeros(3))


class LabShift(NamedTuple):
    """A shift in the CIE L*a*b* space."""

    shift: ColourShift

    def of(self, frame: Tensor) -> Tensor:
        """As `ColourShift.of`, by way of that space."""
        return lab_to_rgb(self.shift.moved(rgb_to_lab(frame))).clamp(0, 1)


class Levels(NamedTuple):
    """What each of 256 levels of a channel becomes: `table` [3, 256], and how much of that, 0..1."""

    table: Tensor
    strength: float

    def of(self, frame: Tensor) -> Tensor:
        """As `ColourShift.of`; values between two levels become values between what the levels become."""
        place = frame.clamp(0, 1) * (_LEVELS - 1)
        below = place.floor().long().clamp(max=_LEVELS - 2)
        channels = [table[below[..., c]].lerp(table[below[..., c] + 1], (place - below)[..., c])
                    for c, table in enumerate(self.table)]  # fmt: skip
        return frame.lerp(torch.stack(channels, dim=-1), self.strength).clamp(0, 1)


def colour_map(method: ColourMethod, reference: Iterable[Tensor], strength: float) -> Callable[[Tensor], ColourMap]:
    """What finds, for the frames [F, H, W, 3] of a clip, how they come to the colours of a reference.

    Args:
        method: reinhard_lab gives each channel of L*a*b* the mean and the deviation of the reference's, mean_std_rgb
            each of red, green and blue; histogram gives each of these the reference's share of every level.
        reference: its frames, each [H, W, 3] in 0..1, of any size.
        strength: 0..1, how much of the way.

    Source: Color Transfer between Images (IEEE CG&A 21, 2001), in L*a*b* in place of its l-alpha-beta; matching of
        histograms as scikit-image skimage/exposure/histogram_matching.py 0.26.
    """
    if method == "histogram":
        wanted = _shares(reference)
        return lambda clip: Levels(_matching_levels(_shares(clip), wanted), strength)
    if method == "mean_std_rgb":
        target = statistics(reference)
        return lambda clip: _towards(target, statistics(clip)).softened(strength)
    target = statistics(map(rgb_to_lab, reference))
    return lambda clip: LabShift(_towards(target, statistics(map(rgb_to_lab, clip))).softened(strength))


def check_strength(strength: float) -> None:
    """Refuses what is no part of the way.

    Raises:
        InvalidInputError: the message has the number.
    """
    if not 0 <= strength <= 1:
        raise InvalidInputError(f"strength must be from 0 (no change) to 1 (all of it), got {strength:g}. Usual is 1.")


def mean_shift(overlap_in_a: Tensor, overlap_in_b: Tensor) -> ColourShift:
    """What brings the mean colour of the frames [F, H, W, 3] that both clips show from that in b to that in a."""
    (in_a, _), (in_b, _) = statistics(overlap_in_a), statistics(overlap_in_b)
    return UNCHANGED._replace(shift=(in_a - in_b).float())


def match_to(reference: Tensor, clip: Tensor) -> ColourShift:
    """What gives a clip [F, H, W, 3] the mean and the deviation of another one, channel by channel."""
    return _towards(statistics(reference), statistics(clip))


def statistics(frames: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the channels of frames, each [H, W, 3]: [3] each, float64, frame by frame."""
    total, squares, pixels = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 0
    for frame in frames:
        values = frame.double().flatten(0, 1)
        total += values.sum(0)
        squares += values.square().sum(0)
        pixels += len(values)
    mean = total / pixels
    return mean, (squares / pixels - mean.square()).clamp(min=0).sqrt()


def _towards(target: tuple[Tensor, Tensor], own: tuple[Tensor, Tensor]) -> ColourShift:
    (to_mean, to_deviation), (mean, deviation) = target, own
    stretch = torch.where(deviation > _FLAT, to_deviation / deviation.clamp(min=_FLAT) - 1, 0.0)
    return ColourShift(mean.float(), stretch.float(), (to_mean - mean).float())


def _shares(frames: Iterable[Tensor]) -> np.ndarray:
    """How many of all values lie at each of 256 levels, by channel: [3, 256], float64."""
    counts = torch.zeros(3, _LEVELS, dtype=torch.float64)
    for frame in frames:
        levels = (frame.clamp(0, 1) * (_LEVELS - 1)).round().long().flatten(0, 1)
        counts += torch.stack([torch.bincount(channel, minlength=_LEVELS) for channel in levels.unbind(1)])
    return (counts / counts.sum(1, keepdim=True)).numpy()


def _matching_levels(own: np.ndarray, wanted: np.ndarray) -> Tensor:
    """What each level becomes, so that as many values lie below it as in the reference: [3, 256], float32."""
    tables = []
    for have, want in zip(own, wanted):
        levels = np.flatnonzero(want)
        if np.count_nonzero(have) == 1:  # without contrast no level lies below: the mean stands for all
            tables.append(np.full(_LEVELS, (want * np.arange(_LEVELS)).sum() / want.sum() / (_LEVELS - 1)))
            continue
        tables.append(np.interp(np.cumsum(have), np.cumsum(want[levels]), levels / (_LEVELS - 1)))
    return torch.from_numpy(np.stack(tables)).float()


def rgb_to_lab(picture: Tensor) -> Tensor:
    """sRGB [..., 3] in 0..1 as CIE L*a*b* of D65: L in 0..100."""
    linear = torch.where(
        picture > _LINEAR_BELOW, ((picture.clamp(min=_LINEAR_BELOW) + 0.055) / 1.055) ** 2.4, picture / 12.92
    )
    xyz = linear @ _RGB_TO_XYZ.T / _WHITE
    x, y, z = torch.where(
        xyz > _CUBE_ROOT_ABOVE, xyz.clamp(min=_CUBE_ROOT_ABOVE) ** (1 / 3), 7.787 * xyz + 4 / 29
    ).unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """The reverse of `rgb_to_lab`; what no screen shows lies outside of 0..1."""
    lightness, a, b = lab.unbind(-1)
    y = (lightness + 16) / 116
    scaled = torch.stack([y + a / 500, y, (y - b / 200).clamp(min=0)], dim=-1)
    xyz = torch.where(scaled > _CUBE_ABOVE, scaled**3, (scaled - 4 / 29) / 7.787) * _WHITE
    linear = xyz @ torch.linalg.inv(_RGB_TO_XYZ.double()).float().T
    curved = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curved, 12.92 * linear)
