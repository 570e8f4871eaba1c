"""Sockets for pictures that each have a shape of their own, and what is connected to them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...media.pictures import clean_clip
from ..api import io


def picture_inputs(count: int, first: str, others: str) -> list[Any]:
    """Sockets `reference_image_1`, ... for so many pictures or batches; tooltips of the first and of the others."""
    return [
        io.Image.Input(f"reference_image_{number}", optional=True, tooltip=first if number == 1 else others)
        for number in range(1, count + 1)
    ]


def pictures_of(piles: tuple[Any, ...], ground: float = 0.0) -> list[Tensor]:
    """Every picture [1, H, W, 3] of what is connected to those sockets, in order; see `clean_clip` for `ground`.

    Raises:
        InvalidInputError: they are no pictures.
    """
    named = [(f"reference_image_{number}", pile) for number, pile in enumerate(piles, 1) if pile is not None]
    return [picture[None] for name, pile in named for picture in clean_clip(pile, name, ground=ground)]
