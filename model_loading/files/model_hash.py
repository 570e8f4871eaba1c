"""The hashes by which trainers name the model that a LoRA was trained on, in the LoRA's header."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from ...common.printable import printable_name

BASE_NAME, BASE_HASH, BASE_SHA256 = "ss_sd_model_name", "ss_sd_model_hash", "ss_new_sd_model_hash"
_START, _LENGTH = 0x100000, 0x10000
_PIECE = 1 << 24


def short_hash(path: Path) -> str | None:
    """Eight hexadecimal digits of 64 KiB that begin 1 MiB into a file; None where it is no file, or is shorter.

    Source: kohya-ss/sd-scripts library/train_util.py, model_hash.
    """
    try:
        with path.open("rb") as file:
            file.seek(_START)
            piece = file.read(_LENGTH)
    except OSError:  # a folder of parts, or a file that is gone
        return None
    return sha256(piece).hexdigest()[:8] if piece else None


def full_hash(path: Path, check: Callable[[], None] = lambda: None) -> str | None:
    """SHA-256 of a whole file in hexadecimal digits; None where it is no file.

    Args:
        check: called between pieces; may raise to stop.

    Source: kohya-ss/sd-scripts library/train_util.py, calculate_sha256.
    """
    whole = sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                check()
                whole.update(piece)
    except OSError:
        return None
    return whole.hexdigest()


def base_metadata(path: Path, name: str, check: Callable[[], None] = lambda: None) -> dict[str, str]:
    """What the header of a LoRA says of the model called so that it was trained on; errors of `check` go through."""
    found = {BASE_NAME: name, BASE_HASH: short_hash(path), BASE_SHA256: full_hash(path, check)}
    return {key: value for key, value in found.items() if value is not None}


def base_words(metadata: Mapping[str, str]) -> str | None:
    """The model that a LoRA was trained on, by its header; None where it does not say."""
    name, digits = metadata.get(BASE_NAME), metadata.get(BASE_HASH)
    if not name:
        return None
    return f"{printable_name(name)} ({printable_name(digits)})" if digits else printable_name(name)


def other_base(metadata: Mapping[str, str], model: Path) -> str | None:
    """The name of the model that a LoRA was trained on, where that is another file by its hash; else None."""
    digits = metadata.get(BASE_HASH)
    own = short_hash(model) if digits else None
    if own is None or own == digits:
        return None
    return printable_name(metadata.get(BASE_NAME) or f"a model of the hash {digits}")
