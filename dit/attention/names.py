"""Attention by name."""

from __future__ import annotations

from collections.abc import Callable

from ...common.errors import InvalidInputError
from .kernel import Attention, load_sdpa
from .packages import PACKAGES
from .pattern import Pattern, every_token, radial, sliding_tile

PATTERNS: dict[str, Pattern] = {"sliding_tile": sliding_tile, "radial": radial}
"""Those of attention that is sparse in the video itself; the kernel of the rest is sdpa."""

ATTENTION: dict[str, Callable[[], Attention]] = {
    "auto": load_sdpa,
    "sdpa": load_sdpa,
    **{package.name: package.load for package in PACKAGES},
    **dict.fromkeys(PATTERNS, load_sdpa),
}


def resolve_attention(name: str) -> Attention:
    """The kernel called `name`; optional packages are imported here, when chosen.

    Raises:
        InvalidInputError: no kernel has this name.
        MissingPackageError: its package is not installed, or not one that works here.
    """
    if name not in ATTENTION:
        raise InvalidInputError(f"Attention '{name}' is unknown. Choose one of {', '.join(ATTENTION)}.")
    return ATTENTION[name]()


def resolve_pattern(name: str) -> Pattern:
    """Which tokens of a video look at which with the attention called `name`."""
    return PATTERNS.get(name, every_token)
