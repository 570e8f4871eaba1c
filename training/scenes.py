"""Procedural clips: one coloured shape on a plain background that moves, rests, grows or shrinks."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.05, 0.10),
    "green": (0.10, 0.68, 0.20),
    "blue": (0.10, 0.22, 0.90),
    "yellow": (1.00, 0.92, 0.15),
    "orange": (0.98, 0.48, 0.05),
    "purple": (0.52, 0.12, 0.72),
    "pink": (0.98, 0.50, 0.75),
    "cyan": (0.15, 0.85, 0.92),
    "white": (0.97, 0.97, 0.97),
    "black": (0.04, 0.04, 0.04),
}
BACKGROUNDS: dict[str, tuple[float, float, float]] = {**COLOURS, "gray": (0.50, 0.50, 0.50)}
TAUGHT_COLOURS: dict[str, tuple[float, float, float]] = {"brown": (0.45, 0.27, 0.10)}
TAUGHT_BACKGROUNDS: dict[str, tuple[float, float, float]] = {"lavender": (0.55, 0.55, 0.95)}
"""What the model can be taught afterwards: far from all colours that its training shows (0.46 of RGB and more)."""

SHAPES = ("circle", "square", "triangle")
MOTIONS = ("right", "left", "up", "down", "still", "grow", "shrink")
SPEEDS = ("slow", "fast")
SIZES = ("small", "big")

MIN_CONTRAST = 0.42
"""Least RGB distance of object and background."""

TRAVEL = {"slow": (0.15, 0.21), "fast": (0.34, 0.42)}
"""Way over the whole clip, as a fraction of the frame's side along the motion."""

GROWTH = {"slow": (1.35, 1.50), "fast": (1.90, 2.10)}
"""Ratio of the radii at the two ends of a growing or shrinking clip."""

RADIUS = {"small": (0.14, 0.17), "big": (0.215, 0.25)}
"""Radius as a fraction of the shorter side; for growing and shrinking clips the geometric mean of both ends."""

TRIANGLE_RADIUS = 1.30
SQUARE_HALF_SIDE = 0.92
HELD_OUT_MODULUS = 6


@dataclass(frozen=True, slots=True)
class Scene:
    """One clip in words (the attributes) and numbers (fractions of the frame; colours in 0..1).

    `start` and `end` are the centre (x, y) as fractions of width and height, `radii` those at both ends as
    fractions of the shorter side.
    """

    colour: str
    background: str
    shape: str
    motion: str
    speed: str
    size: str
    colour_rgb: tuple[float, float, float]
    background_rgb: tuple[float, float, float]
    start: tuple[float, float]
    end: tuple[float, float]
    radii: tuple[float, float]


def contrast(colour: str, background: str) -> float:
    """RGB distance of an object colour and a background."""
    return math.dist(COLOURS[colour], BACKGROUNDS[background])


def is_held_out(colour: str, background: str, shape: str, motion: str) -> bool:
    """Whether this combination of attributes is kept out of all training (about one in six)."""
    return zlib.crc32(f"{colour}/{background}/{shape}/{motion}".encode()) % HELD_OUT_MODULUS == 0


def sample_scene(rng: np.random.Generator, *, held_out: bool = False, aspect: float = 1.0) -> Scene:
    """A random scene whose attribute combination is held out of training, or not.

    Args:
        rng: the source of randomness.
        held_out: which side of `is_held_out` the scene comes from.
        aspect: width / height of the frame it will be drawn in.
    """
    while True:
        colour, background = _pick(rng, COLOURS), _pick(rng, BACKGROUNDS)
        shape, motion = _pick(rng, SHAPES), _pick(rng, MOTIONS)
        if contrast(colour, background) > MIN_CONTRAST and is_held_out(colour, background, shape, motion) == held_out:
            break
    speed, size = _pick(rng, SPEEDS), _pick(rng, SIZES)
    scene = Scene(
        colour, background, shape, motion, speed, size,
        _jitter(rng, COLOURS[colour]), _jitter(rng, BACKGROUNDS[background]), (0.5, 0.5), (0.5, 0.5), (0.1, 0.1),
    )  # fmt: skip
    return place(scene, rng, aspect)


def place(scene: Scene, rng: np.random.Generator, aspect: float = 1.0) -> Scene:
    """The same attributes with a fresh path and radius that keep the shape inside the frame."""
    radii = _radii(scene, rng)
    wide, high = max(1.0, aspect), max(1.0, 1 / aspect)  # sides in units of the shorter one
    left, right, top, bottom = (max(radii) * reach for reach in extents(scene.shape))
    low = np.array([left / wide, top / high]) + 0.015
    high_end = 1 - np.array([right / wide, bottom / high]) - 0.015
    direction = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}.get(scene.motion, (0, 0))
    way = np.array(direction) * rng.uniform(*TRAVEL[scene.speed])
    way = np.clip(way, -(high_end - low), high_end - low)
    start = rng.uniform(np.maximum(low, low - way), np.minimum(high_end, high_end - way) + 1e-9)
    end = start + way
    return replace(scene, start=tuple(start.tolist()), end=tuple(end.tolist()), radii=radii)


def extents(shape: str) -> tuple[float, float, float, float]:
    """How far a shape of radius 1 reaches left, right, up and down from its centre of mass."""
    if shape == "triangle":
        half = TRIANGLE_RADIUS * math.sqrt(3) / 2
        return half, half, TRIANGLE_RADIUS, TRIANGLE_RADIUS / 2
    reach = SQUARE_HALF_SIDE if shape == "square" else 1.0
    return reach, reach, reach, reach


def unit_area(shape: str) -> float:
    """Area of a shape of radius 1."""
    if shape == "triangle":
        return 3 * math.sqrt(3) / 4 * TRIANGLE_RADIUS**2
    return 4 * SQUARE_HALF_SIDE**2 if shape == "square" else math.pi


def render(scenes: list[Scene], frames: int, height: int, width: int, swell: Tensor | None = None) -> Tensor:
    """Draws the scenes, anti-aliased: [B, 3, F, H, W] float32 in -1..1; `swell`: see `coverage`."""
    colour = torch.tensor([scene.colour_rgb for scene in scenes])[:, :, None, None, None]
    background = torch.tensor([scene.background_rgb for scene in scenes])[:, :, None, None, None]
    alpha = coverage(scenes, frames, height, width, swell)[:, None]
    return (background + (colour - background) * alpha) * 2 - 1


def coverage(scenes: list[Scene], frames: int, height: int, width: int, swell: Tensor | None = None) -> Tensor:
    """How much of each pixel the shape covers: [B, F, H, W] in 0..1.

    Args:
        swell: [B, F], by how much larger than the scene's the shape is in each frame; None for as large.
    """
    when = torch.linspace(0, 1, frames)[None, :, None]
    scale = torch.tensor([width, height], dtype=torch.float32)
    start = torch.tensor([scene.start for scene in scenes]) * scale
    end = torch.tensor([scene.end for scene in scenes]) * scale
    centre = start[:, None] + (end - start)[:, None] * when  # [B, F, 2] in pixels
    log_radii = torch.tensor([scene.radii for scene in scenes]).log()
    radius = (log_radii[:, :1] + (log_radii[:, 1:] - log_radii[:, :1]) * when[..., 0]).exp() * min(height, width)
    radius = radius if swell is None else radius * swell
    x = torch.arange(width) + 0.5 - centre[..., :1]  # [B, F, W]
    y = torch.arange(height) + 0.5 - centre[..., 1:]  # [B, F, H]
    alpha = torch.empty(len(scenes), frames, height, width)
    for index, scene in enumerate(scenes):
        offsets = x[index, :, None, :], y[index, :, :, None]
        alpha[index] = (0.5 - signed_distance(scene.shape, *offsets, radius[index, :, None, None])).clamp(0, 1)
    return alpha


def signed_distance(shape: str, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """Distance in pixels from the outline (negative inside) at offsets x, y (y down) from the centre of mass."""
    if shape == "circle":
        return (x * x + y * y).sqrt() - radius
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - SQUARE_HALF_SIDE * radius
    inner = radius * TRIANGLE_RADIUS / 2  # distance of the sides from the centre of mass
    return torch.maximum(y - inner, x.abs() * (math.sqrt(3) / 2) - y * 0.5 - inner)


def _radii(scene: Scene, rng: np.random.Generator) -> tuple[float, float]:
    radius = rng.uniform(*RADIUS[scene.size])
    if scene.motion not in ("grow", "shrink"):
        return radius, radius
    half = math.sqrt(rng.uniform(*GROWTH[scene.speed]))
    return (radius / half, radius * half) if scene.motion == "grow" else (radius * half, radius / half)


def _pick(rng: np.random.Generator, names) -> str:
    names = list(names)
    return names[int(rng.integers(len(names)))]


def _jitter(rng: np.random.Generator, rgb: tuple[float, float, float]) -> tuple[float, float, float]:
    shifted = np.clip(np.array(rgb) + rng.uniform(-0.04, 0.04, 3), 0.0, 1.0)
    return tuple(shifted.tolist())
