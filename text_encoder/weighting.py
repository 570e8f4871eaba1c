"""Emphasis in prompts: `a (red:1.2) ball`, in ComfyUI's syntax and with its numbers."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

_PARENTHESES = re.compile(r"(\\[()]|[()])")
_GROUP_WEIGHT = 1.1
# Deeper groups keep the weight of the last level: nobody means them, and the work grows with depth x length.
_DEEPEST = 32


class Segment(NamedTuple):
    """Words of a prompt that share a weight; 1.0 is no emphasis."""

    text: str
    weight: float


def parse_weights(prompt: str) -> list[Segment]:
    """Splits a prompt where its weight changes.

    `(words)` multiplies the weight around it by 1.1, `(words:1.2)` sets it to 1.2, groups nest, and `\\(` and `\\)`
    are plain parentheses. A group that is not closed, or closed twice, is plain text as far as ComfyUI takes it so.

    Source: the prompt syntax of ComfyUI's text nodes.
    """
    segments: list[Segment] = []
    _collect(_PARENTHESES.split(prompt), 1.0, 0, segments)
    return segments


def _collect(parts: list[str], weight: float, depth: int, segments: list[Segment]) -> None:
    """Appends the segments of one level; `parts` alternates between text and (escaped) parentheses."""
    for item in _split_level(parts):
        if item[0] == "(" and item[-1] == ")" and depth < _DEEPEST:
            inner, own_weight = _read_weight(item[1:-1], weight * _GROUP_WEIGHT)
            _collect(inner, own_weight, depth + 1, segments)
            continue
        text = "".join(part[1:] if part in (r"\(", r"\)") else part for part in item)
        if text:
            segments.append(Segment(text, weight))


def _split_level(parts: list[str]) -> list[list[str]]:
    """Cuts one level into plain items and whole groups (with their parentheses)."""
    items, current, depth = [], [], 0
    for part in parts:
        if part == "(" and depth == 0:
            items.append(current)
            current = []
        if part:
            current.append(part)
        depth += {"(": 1, ")": -1}.get(part, 0)
        if part == ")" and depth == 0:
            items.append(current)
            current = []
    items.append(current)
    return [item for item in items if item]


def _read_weight(inner: list[str], default: float) -> tuple[list[str], float]:
    """Takes `:1.2` off the end of a group: (what is left, its weight)."""
    if not inner:
        return inner, default
    words, colon, number = inner[-1].rpartition(":")
    if not colon or not (words or len(inner) > 1):
        return inner, default
    try:
        weight = float(number)
    except ValueError:
        return inner, default
    if not math.isfinite(weight):
        return inner, default
    return [*inner[:-1], words], weight
