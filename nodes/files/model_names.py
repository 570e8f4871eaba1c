"""Names of model files as graphs hold them: inside the models folders, with either kind of slash, nothing else."""

from __future__ import annotations

import re

from ...common.errors import InvalidInputError
from ...common.printable import printable_name

_SHOWN = 100
"""Characters of a wrong name that a sentence shows."""


def model_name(name: object) -> str:
    """A model's name with forward slashes, as a graph from any system means it.

    Raises:
        InvalidInputError: it is empty, no text, or leads out of the models folders.
    """
    if not isinstance(name, str):
        raise InvalidInputError(f"A model is chosen by the name of its file, got {_shown(name)}. Choose a file.")
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts:
        raise InvalidInputError("The name of a model file is empty. Choose a file.")
    if name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise InvalidInputError(
            f"The model name '{_shown(name)}' leads out of the models folders. Put the file into one of them and "
            "choose it by its name there, or name its folder in extra_model_paths.yaml."
        )
    return "/".join(parts)


def _shown(name: object) -> str:
    text = printable_name(name)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
