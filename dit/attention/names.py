"""Attention by name."""

from __future__ import annotations

from collections.abc import Callable

from ...common.errors import InvalidInputError
from .kernel import Attention, load_sdpa
from .packages import PACKAGES

ATTENTION: dict[str, Callable[[], Attention]] = {
    "auto": load_sdpa,
    "sdpa": load_sdpa,
    **{package.name: package.load for package in PACKAGES},
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
