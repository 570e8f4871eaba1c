"""What the names given to `download` stand for: files, workflows, tasks."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import NamedTuple

from ....common.errors import MissingFileError
from ....common.printable import printable_name
from ....model_loading.files.file_type import human_bytes
from ....model_loading.publishing.known_files import (
    KNOWN_FILES,
    NON_COMMERCIAL,
    WAITING_FILES,
    KnownFile,
    named_files,
)
from ....model_loading.publishing.tasks import TASKS, TaskFiles, named_tasks
from ..core_nodes import CORE_NODES
from ..wanted_models import WantedModel, wanted_models
from .bundled import bundled_names, workflow_path
from .session import Session

NOT_RUN = "not run by this version"
_SHORTEST, _NAMED = 3, 4
"""Letters of a word that is looked for inside of names, and how many of those are named."""


class Asked(NamedTuple):
    """What one name stands for."""

    title: str
    models: list[WantedModel]


def asked(name: str, session: Session) -> Asked:
    """What a name stands for: a workflow's file, a published file, a bundled workflow or a task.

    Raises:
        MissingFileError: none of them, or several.
    """
    path = Path(name)
    file, tasks = file_named(name), named_tasks(name)
    if path.suffix.lower() != ".json" and file is not None:
        return Asked(file.name, [WantedModel(file.name, file.name, file)])
    if path.suffix.lower() == ".json" or name.lower() in map(str.lower, bundled_names()):
        found = workflow_path(path)
        return Asked(found.stem, models_of(found, session))
    if len(tasks) == 1:
        return Asked(tasks[0].name, [WantedModel(file.name, file.name, file) for file in tasks[0].files])
    if tasks:
        choices = ", ".join(f"{task.name} ({human_bytes(task.size_bytes)})" for task in tasks)
        raise MissingFileError(f"'{printable_name(name)}' stands for several tasks: {choices}. Choose one of them.")
    raise MissingFileError(_not_known(name))


def models_of(workflow: Path, session: Session) -> list[WantedModel]:
    """The files that a workflow loads; errors as `wanted_models`."""
    return wanted_models(workflow, {**CORE_NODES, **session.nodes()})


def _not_known(name: str) -> str:
    near = [file.name for file in named_files(name)]
    choices = {each.lower(): each for each in (*(task.name for task in TASKS), *bundled_names())}
    near += [choices[each] for each in difflib.get_close_matches(name.lower(), choices, n=3, cutoff=0.7)]
    if near:
        return f"'{printable_name(name)}' is not a file known here. Did you mean {' or '.join(near[:3])}?"
    word = name.strip().lower()
    holding = [each for each in (*choices.values(), *(file.name for file in KNOWN_FILES)) if word in each.lower()]
    if len(word) >= _SHORTEST and holding:
        more = [f"one of {len(holding) - _NAMED} more"] if len(holding) > _NAMED else []
        *first, last = [*holding[:_NAMED], *more]
        meant = f"{', '.join(first)} or {last}" if first else last
        return (
            f"'{printable_name(name)}' is not a file known here, but a part of names. Did you mean {meant}? Give the "
            "whole name; '?' in its place lists all."
        )
    known = what_is_known().replace("\n", "\n  ")
    return f"'{printable_name(name)}' is not a file known here. The known ones are:\n  {known}"


def file_named(name: str) -> KnownFile | None:
    """The published file of that very name, in any case and with or without its ending."""
    found = named_files(name)
    return found[0] if len(found) == 1 and _plain(found[0].name) == _plain(name) else None


def _plain(name: str) -> str:
    return name.strip().replace("\\", "/").rsplit("/", 1)[-1].lower().removesuffix(".safetensors")


def what_is_known() -> str:
    """A line for each task and each published file."""
    return "\n".join([*map(_about_task, TASKS), *map(_about_file, (*KNOWN_FILES, *WAITING_FILES))])


def _about_file(file: KnownFile) -> str:
    return f"{file.name}  {file.what}{_terms(file)}{'' if file.is_run else '; ' + NOT_RUN}"


def _about_task(task: TaskFiles) -> str:
    return f"{task.name}  {task.what} ({len(task.file_names)} files, {human_bytes(task.size_bytes)}){_terms(task)}"


def _terms(named: KnownFile | TaskFiles) -> str:
    return f"; {NON_COMMERCIAL}" if named.is_non_commercial else ""
