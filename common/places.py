"""Where a user chooses or connects something: rooms below an interface do not know what it is called there."""

from __future__ import annotations

from .records import record


@record
class Place:
    """A part of whatever interface runs us, which may have a name of its own for it.

    Attributes:
        name: for programs.
        words: what it is called where there is no interface, in the midst of a sentence.
    """

    name: str
    words: str

    def __str__(self) -> str:
        return self.words
