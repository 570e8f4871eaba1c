"""Which kind of model a file's names are those of, and in which of its layouts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from ..key_maps.layouts import Layout
from ..kinds import MODEL_KINDS
from ..spec import ModelKind


class FoundLayout(NamedTuple):
    """A kind of model, the layout its names have, and what stands in front of every one."""

    kind: ModelKind[Any, Any, Any]
    layout: Layout
    prefix: str


def find_layout(names: Collection[str], wanted: ModelKind[Any, Any, Any] | None = None) -> FoundLayout | None:
    """The layout that `names` (see `layouts.plain_name`) have; None if none fits.

    Prefixes of published files come first; any other is found by the names behind it. Of a model that is there twice,
    as training code keeps it, the averaged one (with "ema" in its prefix) is meant.

    Args:
        wanted: the kind to look for first, where a file holds several.
    """
    names = set(names)
    kinds = sorted(MODEL_KINDS.values(), key=lambda kind: kind != wanted)
    layouts = [(kind, layout) for kind in kinds for layout in kind.layouts]
    for kind, layout in layouts:
        for prefix in layout.prefixes:
            if layout.fits(prefix, names):
                return FoundLayout(kind, layout, prefix)
    for kind, layout in layouts:
        found = layout.all_prefixes(names)
        if found:
            return FoundLayout(kind, layout, next((prefix for prefix in found if "ema" in prefix), found[0]))
    return None
