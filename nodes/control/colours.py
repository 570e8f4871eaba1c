"""Colours of persons in masks of SCAIL-2: who is who in a video and on pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from ...common.errors import InvalidInputError

BLACK, WHITE = 0.0, 1.0
"""Of the ground, where nobody is."""

PERSONS: Mapping[str, tuple[float, float, float]] = MappingProxyType({
    "blue": (0.0, 0.0, 1.0),
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "magenta": (1.0, 0.0, 1.0),
    "cyan": (0.0, 1.0, 1.0),
    "yellow": (1.0, 1.0, 0.0),
})  # fmt: skip
"""Colour -> red, green and blue, in the order in which persons get them.

Source: ComfyUI v0.33.0, comfy_extras/nodes_scail.py, DEFAULT_PALETTE: the model was trained on these.
"""
NAMES = tuple(PERSONS)


def ground_picture(frames: int, height: int, width: int, ground: float) -> Tensor:
    """Pictures [frames, height, width, 3] without anybody."""
    return torch.full((frames, height, width, 3), ground, dtype=torch.float32)


def painted(pictures: Tensor, mask: Tensor, colour: str, ground: float) -> Tensor:
    """Pictures [F, H, W, 3] with a person in a colour; who is there already stays in front.

    Args:
        mask: [F, H, W], bool, where the person is.
        ground: of the pictures.
    """
    is_free = (pictures == ground).all(dim=-1)
    return torch.where((mask & is_free)[..., None], pictures.new_tensor(PERSONS[colour]), pictures)


def colours_in(pictures: Tensor) -> list[str]:
    """The colours of persons that pictures [F, H, W, 3] have, in order."""
    is_on = pictures > 0.5
    code = is_on[..., 0].int() * 4 + is_on[..., 1].int() * 2 + is_on[..., 2].int()
    found = set(torch.unique(code).tolist())
    return [name for name, (red, green, blue) in PERSONS.items() if int(4 * red + 2 * green + blue) in found]


def has_persons(masks: Tensor) -> bool:
    """Whether a pixel of masks [F, H, W, 3] has the colour of a person."""
    return bool(colours_in(masks))


def next_colour(used: Sequence[str]) -> str:
    """The first colour that is not used.

    Raises:
        InvalidInputError: all are.
    """
    free = [name for name in NAMES if name not in used]
    if not free:
        raise InvalidInputError(
            f"All {len(NAMES)} colours of persons are in the masks already, and SCAIL-2 tells no more apart. Leave "
            "somebody out."
        )
    return free[0]
