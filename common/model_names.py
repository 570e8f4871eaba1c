"""How errors call a model, and the files that go with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from .places import Place
from .records import record

Words = tuple[str | Place, ...]
"""Pieces of a sentence, see `errors.WanDirectorError`."""


@record
class ModelNames:
    """What a sentence about a model says of it; a room that knows its file gives its name.

    Attributes:
        model: in the middle of a sentence.
        files: by part of a model (or branch), what to get that fits it.
        source: the file that what is refused comes from; None where nobody knows.
    """

    model: str = "this model"
    files: Mapping[str, Words] = field(default_factory=dict)
    source: str | None = None

    @property
    def subject(self) -> str:
        """The model at the start of a sentence."""
        return "This model" if self == THIS_MODEL else self.model

    def file(self, part: str, otherwise: str) -> Words:
        """What to get of a part, or other words where no file is known."""
        return self.files.get(part, (otherwise,))


THIS_MODEL = ModelNames()
"""Where nobody knows its file."""
