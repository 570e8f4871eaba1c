"""Reads colour, background, shape, motion, speed and size off a clip, as the judge of what the model makes.

It knows nothing of prompts. Anything that is not one plain shape on one plain background is called "none", so noise
and mush never count as right.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from wan_director.training.scenes import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    TAUGHT_BACKGROUNDS,
    TAUGHT_COLOURS,
    signed_distance,
    unit_area,
)

NONE = "none"
BACKGROUND_SHARE = 0.5
"""At least this share of all pixels must have the background's colour."""

PLAIN = 0.16
"""RGB distance within which a pixel counts as having the colour of its region."""

SOLID_SHARE = 0.5
"""At least this share of the object's pixels must have one colour."""

COLOUR_LIMIT = 0.26
"""RGB distance to a named colour beyond which a colour has no name (half the least contrast, and some)."""

MIN_IOU = 0.6
SCALE_CHANGE = math.log(1.18)
WAY = 0.09
FAST_WAY = 0.275
FAST_SCALE = math.log(1.7)
BIG_RADIUS = 0.192


@dataclass(frozen=True, slots=True)
class Finding:
    """What a clip shows, in the words of `scenes`, or "none".

    `shape` is the best-fitting template, `strict_shape` follows from how much of its bounding box the object fills.
    `overlap` is the mean intersection over union with the template, `jump` the largest movement between two
    neighbouring frames beyond the steady one, as a fraction of the side.
    """

    colour: str
    background: str
    shape: str
    strict_shape: str
    motion: str
    speed: str
    size: str
    overlap: float
    jump: float


NOTHING = Finding(NONE, NONE, NONE, NONE, NONE, NONE, NONE, 0.0, 1.0)


def detect(video: Tensor, *, taught: bool = False) -> Finding:
    """Describes one clip [3, F, H, W] with values in -1..1; one frame counts as a clip that stays still.

    Args:
        video: the clip.
        taught: whether the colours have names, too, that no clip of the training shows.
    """
    colours, backgrounds = COLOURS, BACKGROUNDS
    if taught:
        colours, backgrounds = COLOURS | TAUGHT_COLOURS, BACKGROUNDS | TAUGHT_BACKGROUNDS
    video = ((video.float() + 1) / 2).clamp(0, 1)
    if video.shape[1] == 1:
        video = video.expand(-1, 2, -1, -1)
    background = video.flatten(1).median(1).values  # [3]
    distance = _distance(video, background)
    if (distance < PLAIN).float().mean() < BACKGROUND_SHARE:
        return NOTHING
    background_name = nearest(background, backgrounds)
    core = distance > 0.30
    if core.flatten(1).sum(1).min() < 9:
        return replace(NOTHING, background=background_name)
    colour = torch.stack([channel[core].median() for channel in video])
    if (_distance(video, colour)[core] < PLAIN).float().mean() < SOLID_SHARE:
        return replace(NOTHING, background=background_name)
    axis = (colour - background) / (colour - background).square().sum()
    alpha = torch.einsum("cfhw,c->fhw", video - background[:, None, None, None], axis).clamp(0, 1)
    shape, overlap = _shape(alpha)
    motion, speed, size, jump = _motion(alpha, unit_area(shape) if shape != NONE else math.pi)
    return Finding(
        nearest(colour, colours),
        background_name,
        shape,
        _strict_shape(alpha) if shape != NONE else NONE,
        motion,
        speed,
        size,
        overlap,
        jump,
    )


def nearest(colour: Tensor, names: dict[str, tuple[float, float, float]]) -> str:
    """Name of the nearest colour, "none" when all are far."""
    distances = {name: math.dist(colour.tolist(), rgb) for name, rgb in names.items()}
    best = min(distances, key=distances.get)
    return best if distances[best] < COLOUR_LIMIT else NONE


def _distance(video: Tensor, colour: Tensor) -> Tensor:
    return (video - colour[:, None, None, None]).square().sum(0).sqrt()  # [F, H, W]


def _moments(alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Area [F] in pixels and centre of mass (x, y) [F] of each frame, from the clear part of the mask."""
    mask = torch.where(alpha > 0.3, alpha, 0.0)
    area = mask.sum((1, 2)).clamp(min=1e-3)
    columns, rows = torch.arange(alpha.shape[2]) + 0.5, torch.arange(alpha.shape[1]) + 0.5
    return area, (mask.sum(1) * columns).sum(1) / area, (mask.sum(2) * rows).sum(1) / area


def _shape(alpha: Tensor) -> tuple[str, float]:
    """The template of equal area at the centre of mass that covers the mask best, by vote of the frames."""
    area, x, y = _moments(alpha)
    columns, rows = torch.arange(alpha.shape[2]) + 0.5, torch.arange(alpha.shape[1]) + 0.5
    overlaps = {}
    for shape in SHAPES:
        radius = (area / unit_area(shape)).sqrt()[:, None, None]
        dx, dy = columns[None, None] - x[:, None, None], rows[None, :, None] - y[:, None, None]
        template = (0.5 - signed_distance(shape, dx, dy, radius)).clamp(0, 1)
        overlaps[shape] = torch.minimum(template, alpha).sum((1, 2)) / torch.maximum(template, alpha).sum((1, 2))
    table = torch.stack([overlaps[shape] for shape in SHAPES])  # [shapes, F]
    winner = Counter(table.argmax(0).tolist()).most_common(1)[0][0]
    overlap = float(table[winner].mean())
    return (SHAPES[winner] if overlap > MIN_IOU else NONE), overlap


def _strict_shape(alpha: Tensor) -> str:
    """By the share of its bounding box that the object fills: square 1, circle 0.79, triangle 0.5."""
    fills = []
    for frame in alpha:
        mask = frame > 0.5
        rows, columns = torch.where(mask.any(1))[0], torch.where(mask.any(0))[0]
        if len(rows):
            box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
            fills.append(float(mask.sum() / box))
    if not fills:
        return NONE
    fill = sorted(fills)[len(fills) // 2]
    if fill > 0.89:
        return "square"
    return "circle" if fill > 0.66 else ("triangle" if fill > 0.35 else NONE)


def _motion(alpha: Tensor, area_of_unit: float) -> tuple[str, str, str, float]:
    """Motion, speed, size and the largest jump; `area_of_unit` is the shape's area at radius 1."""
    area, x, y = _moments(alpha)
    frames, height, width = alpha.shape
    x, y, scale = x / width, y / height, area.sqrt().log()
    end = max(1, frames // 8)
    way_x, way_y, growth = (float(v[-end:].mean() - v[:end].mean()) * frames / (frames - end) for v in (x, y, scale))
    way = max(abs(way_x), abs(way_y))
    jump = max(float((v.diff() - v.diff().mean()).abs().max()) for v in (x, y))
    radius = float(scale.mean().exp() / math.sqrt(area_of_unit) / min(height, width))
    size = "big" if radius > BIG_RADIUS else "small"
    if abs(growth) > SCALE_CHANGE and way < 2 * WAY:
        return ("grow" if growth > 0 else "shrink"), ("fast" if abs(growth) > FAST_SCALE * 0.9 else "slow"), size, jump
    if way < WAY * 0.8:
        return "still", NONE, size, jump
    if min(abs(way_x), abs(way_y)) > 0.5 * way or abs(growth) > 2 * SCALE_CHANGE:
        return NONE, NONE, size, jump
    if abs(way_x) > abs(way_y):
        motion = "right" if way_x > 0 else "left"
    else:
        motion = "down" if way_y > 0 else "up"
    return motion, ("fast" if way > FAST_WAY else "slow"), size, jump
