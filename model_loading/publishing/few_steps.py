"""Which LoRAs and models are distilled to make a video in few steps at cfg 1, and what tells it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from .known_files import KNOWN_FILES, known_file

Telling = Literal["known", "by its size", "by its name"]
"""What tells that a file is distilled: it is a published one, is as large as one to the byte, or is called so."""

_DISTILLED = re.compile(
    r"distill|lightx2v|lightning|few[-_ ]?steps?|(?<!\d)[1-8][-_ ]?steps?(?![a-z])|turbo|fast[-_ ]?wan|caus[-_ ]?vid"
    r"|acc[-_ ]?vid|self[-_ ]?forcing|fusion[-_ ]?x|rapid|(?<![a-z])(dmd|rcm|lcm|hyper)(?![a-z])",
    re.IGNORECASE,
)
# The published LoRAs by their size, of which several files are copies under other names.
_SIZES = frozenset(file.size_bytes for file in KNOWN_FILES if file.for_few_steps and file.sha256)


def few_steps_lora(path: Path) -> Telling | None:
    """What tells that a LoRA is for few steps; None where nothing does. The file need not be here."""
    known = known_file(path.name)
    if known is not None:
        return "known" if known.for_few_steps else None
    if path.is_file() and path.stat().st_size in _SIZES:
        return "by its size"
    return "by its name" if _DISTILLED.search(path.stem) else None


def few_steps_model(path: Path) -> Telling | None:
    """What tells that a model is distilled for few steps; None where nothing does."""
    known = known_file(path.name)
    if known is not None:
        return "known" if known.for_few_steps else None
    return "by its name" if _DISTILLED.search(path.stem) else None
