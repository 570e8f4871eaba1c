"""What of a large clip a model sees at once."""

from __future__ import annotations

from ...common.shapes import latent_frames
from ...engine.models import VideoModel
from ...sampling.windows import WHOLE_CLIP, SlidingWindows
from ...sampling.windows.repeated_noise import fresh_noise
from ..options.tiles import ByPixels, with_tiles
from ..options.windows import windows_of, with_windows

WINDOW_OVERLAP = 8
"""Latent frames that windows in time share, where the model comes with none."""


def seen_in_parts(model: VideoModel, tiles: ByPixels, frames: int) -> VideoModel:
    """The model with tiles; and with windows in time, where it has none and a clip is longer than in its training.

    Raises:
        InvalidInputError: it has tiles already, or no tiles have this size.
    """
    family = model.spec.family
    if windows_of(model) == WHOLE_CLIP and frames > family.trained_frames:
        size = latent_frames(family.trained_frames)
        model = with_windows(model, SlidingWindows(size, WINDOW_OVERLAP, noising=fresh_noise))
    return with_tiles(model, tiles.tiles(family))
