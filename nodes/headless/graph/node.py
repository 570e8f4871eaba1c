"""The one form of a workflow: nodes with their inputs by name."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

from ....common.records import record

LONGEST_NAME = 80
"""Characters of a title that messages show."""
_INVISIBLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNING = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Link(NamedTuple):
    """A wire: the node it comes from, and which of that node's outputs."""

    node: str
    slot: int


@record
class GraphNode:
    """One node that may run: `inputs` by name, each a value or a `Link`."""

    id: str
    class_type: str
    title: str
    inputs: Mapping[str, Any]

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"{shown(self.title)} (node {shown(self.id)})"

    @property
    def links(self) -> list[Link]:
        """The wires into it."""
        return [value for value in self.inputs.values() if isinstance(value, Link)]


Graph = dict[str, GraphNode]


def shown(text: object, longest: int = LONGEST_NAME) -> str:
    """A text from a file as one line for a message: what steers a terminal or turns the line is spelt out, and the
    rest of a long one left out."""
    text = str(text)
    return spelt_out(text if len(text) <= longest else f"{text[: longest - 1]}…")


def spelt_out(text: str) -> str:
    """A text without what steers a terminal or turns the line."""
    return "".join(_spelt(letter) for letter in text)


def _spelt(letter: str) -> str:
    if unicodedata.category(letter) in _INVISIBLE or letter in _TURNING:
        return letter.encode("unicode_escape").decode("ascii")
    return letter
