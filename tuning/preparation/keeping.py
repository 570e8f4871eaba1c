"""What was found out about videos and clips, kept by their contents, so that a run that is broken off goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...common.log import logger
from ...media.faults import writing_to
from ...media.whole import replace_file, unfinished_file

VERSION = 1
"""Changes when the same question would be answered otherwise: what was kept before counts no more."""


def key_of(*facts: Any) -> str:
    """What an answer is kept under: 32 hexadecimal digits of all that it depends on."""
    return hashlib.sha256(json.dumps([VERSION, *facts], sort_keys=True).encode()).hexdigest()[:32]


def kept(folder: Path, key: str, find: Callable[[], Any]) -> Any:
    """The answer of an earlier run, else a new one, which is kept; JSON values.

    Raises:
        OutputError: it could not be written.
    """
    path = folder / f"{key}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass
    except (OSError, ValueError):
        logger.info("%s is damaged, and what it held is found out again.", path.name)
    answer = find()
    write_whole(path, json.dumps(answer))
    return answer


def write_whole(path: Path, text: str) -> bool:
    """Writes a text file, whole or not at all; one that holds it already is left alone, and the answer is False.

    Raises:
        OutputError: it could not be written.
    """
    data = text.encode("utf-8")
    with writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.read_bytes() == data:
            return False
        with unfinished_file(path.parent, path.suffix.lstrip(".") or "part") as unfinished:
            unfinished.write_bytes(data)
            replace_file(unfinished, path)
    return True
