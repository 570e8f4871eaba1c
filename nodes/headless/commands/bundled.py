"""The workflows that come with the pack, by name."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ....common.errors import MissingFileError
from ....model_loading.publishing.own_command import own_command

FOLDER = Path(__file__).resolve().parents[3] / "workflows"


def workflow_path(given: Path) -> Path:
    """The file itself, or the bundled workflow of that name.

    Raises:
        MissingFileError: there is neither.
    """
    names = bundled_names()
    found = next((name for name in names if name.lower() == given.name.lower()), None)
    # A name may hold a dot, as t2v_1.3B does.
    is_path = given.parent != Path(".") or (found is None and given.suffix != "")
    is_there = os.path.exists(given) and (found is None or not os.path.isdir(given))  # a folder of results, perhaps
    if is_there or is_path:
        return given
    if found is None:
        near = difflib.get_close_matches(given.name, names, n=3, cutoff=0.6)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise MissingFileError(
            f"There is no workflow file {given}, and no bundled workflow of that name.{meant} "
            f"`{own_command('workflows')}` lists the bundled ones."
        )
    return FOLDER / f"{found}.json"


def bundled_names() -> list[str]:
    """The names of the bundled workflows: those that run without a download first."""
    names = [path.stem for path in FOLDER.glob("*.json")]
    return sorted(names, key=lambda name: (not name.startswith("tiny"), name))


def bundled_models(name: str) -> Iterator[str]:
    """The files of models that a bundled workflow loads."""
    graph = json.loads((FOLDER / "api" / f"{name}.json").read_text(encoding="utf-8"))
    for node in graph.values():
        yield from (
            str(value) for key, value in node["inputs"].items() if key in ("model_name", "unet_name", "lora_name")
        )


def bundled_title(name: str) -> str:
    """What a bundled workflow makes: the heading of the note on its canvas."""
    nodes = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["nodes"]
    note = next(node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote")
    return note.splitlines()[0].lstrip("# ")
