"""What of a clip the model sees at once."""

from .blending import BLENDS
from .placing import PLACINGS
from .sliding import NOISES, SlidingWindows
from .tiles import SpatialTiles, TileSide
from .windows import WHOLE_CLIP, ClipShape, WholeClip, Windows

__all__ = [
    "BLENDS",
    "NOISES",
    "PLACINGS",
    "WHOLE_CLIP",
    "ClipShape",
    "SlidingWindows",
    "SpatialTiles",
    "TileSide",
    "WholeClip",
    "Windows",
]
