"""The form of every key map: where each official tensor comes from in a file with other names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple


class Source(NamedTuple):
    """The tensor or tensors in the file that make one official tensor.

    Several `keys` are joined along their first dimension, in this order; `transposed` swaps the two dimensions.
    """

    keys: tuple[str, ...]
    transposed: bool = False


Sources = dict[str, Source]
"""Official key -> its source. Keys a map does not know keep their name, so that strict loading reports them."""

KeyMap = Callable[[Iterable[str]], Sources]


def same_names(keys: Iterable[str]) -> Sources:
    """The map of files that already have the official names."""
    return {key: Source((key,)) for key in keys}


class Renaming:
    """A key map made of patterns, tried in order on the whole name; the first that matches renames it.

    Args:
        rules: (pattern, replacement) as for `re.sub`.
    """

    def __init__(self, *rules: tuple[str, str]) -> None:
        self._rules = tuple((re.compile(pattern), replacement) for pattern, replacement in rules)

    def __call__(self, keys: Iterable[str]) -> Sources:
        return {self.official(key): Source((key,)) for key in keys}

    def official(self, key: str) -> str:
        """The official name of `key`, or `key` itself."""
        for pattern, replacement in self._rules:
            if pattern.fullmatch(key):
                return pattern.sub(replacement, key)
        return key
