"""Text from files, names and servers, made safe for a terminal: its control characters are shown, not obeyed."""

from __future__ import annotations

import re

# C0 but tab and newline, DEL, C1; marks that reorder text; line separators; halves of surrogate pairs.
_REFUSED = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT = re.compile(f"[{_REFUSED}]")
_IN_NAMES = re.compile(f"[\t\n{_REFUSED}]")


def printable(text: object) -> str:
    r"""`str(text)` with every character that a terminal would obey written out, as in '\x1b'; lines stay lines."""
    return _IN_TEXT.sub(_written_out, str(text))


def printable_name(text: object) -> str:
    """As `printable`, on one line: for titles, file names and values inside a sentence."""
    return _IN_NAMES.sub(_written_out, str(text))


def _written_out(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
