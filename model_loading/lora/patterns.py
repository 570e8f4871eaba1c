"""Names of layers as regular expressions, as PEFT's settings write them, matched within bounds.

A pattern comes from a file that anybody may have made, and Python's matcher can take years over a short one. Only those
are tried whose time is bounded by their form: short, few repetitions, none of a group, no look-around and no reference
to what an earlier group found. Real settings are far below that.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_LONGEST, _LONGEST_NAME = 200, 200
_REPETITIONS = 3
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?:|\(\?|[()]|[*+?]|\{\d*,?\d*\}|.", re.DOTALL)


def layer_matcher(pattern: str) -> Callable[[str], bool] | None:
    """Whether a layer's name is meant by a pattern: the whole name, or its end after a dot. None: it is not tried.

    Source: huggingface/peft, src/peft/utils/other.py, get_pattern_key.
    """
    if re.fullmatch(r"[\w.]+", pattern):  # an ordinary name, of which only the dots mean anything here
        compiled = re.compile(rf"(?:.*\.)?{pattern}")
    elif not _is_bounded(pattern):
        return None
    else:
        try:
            compiled = re.compile(rf"(?:.*\.)?(?:{pattern})")
        except (re.error, OverflowError, RecursionError):
            return None
    return lambda name: len(name) <= _LONGEST_NAME and compiled.fullmatch(name) is not None


def _is_bounded(pattern: str) -> bool:
    if len(pattern) > _LONGEST:
        return False
    repetitions, before = 0, ""
    for token in _TOKEN.findall(pattern):
        if token == "(?" or re.fullmatch(r"\\\d", token):
            return False
        if token in "*+" or (token[0] == "{" and len(token) > 2):
            repetitions += 1
            if before == ")":
                return False
        before = token
    return repetitions <= _REPETITIONS
