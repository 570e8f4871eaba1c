"""What is said of a model file that is missing: where it was looked for, what lies there, and how to get it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from ...common.printable import printable_name
from ..files.file_type import human_bytes
from .known_files import KNOWN_FILES, LORAS, named_files
from .own_command import own_command

_NAMED = 5
"""Files that a sentence names at most."""


def missing_file_sentence(
    name: str, folder_name: str, folders: Iterable[str | Path] = (), present: Sequence[str] = ()
) -> str:
    """Which file is missing, where to get it and where to put it.

    Args:
        folder_name: of the model folder it belongs in ("vae").
        folders: where it is looked for; the first is where to put it.
        present: names of the files that lie in them.
    """
    places = [Path(folder) for folder in folders]
    place = places[0] if places else Path(f"models/{folder_name}")
    shown = printable_name(name)
    elsewhere = _in_another_subfolder(name, present)
    if elsewhere is not None:
        return f"{shown} is not in {place}, but {printable_name(elsewhere)} is: choose that, or move the file."
    known = next((file for file in named_files(name) if file.name == _base(name)), None)
    if known is not None and not known.is_run:
        return (
            f"{shown} is missing, and this version does not run it yet: it is {known.what} "
            f"({known.repo} on the Hugging Face Hub). Choose another file or workflow."
        )
    if known is not None:
        command = download_command(known.name, place if places else None)
        return (
            f"{shown} ({known.what}, {human_bytes(known.size_bytes)}) is missing. Get {known.path_in_repo} from "
            f"{known.repo} on the Hugging Face Hub and put it into {place}, or run: {command}"
        )
    it = "the LoRA" if folder_name == LORAS.folder_name else "it"
    if present:
        return f"{shown} is not in {place}. Put {it} there, or choose another: {_some(name, present)}."
    usual = ", ".join([file.name for file in KNOWN_FILES if file.kind.folder_name == folder_name][:_NAMED])
    return f"{shown} is not in {place}. Put {it} there, or choose another file; the usual ones are {usual}."


def download_command(name: str, folder: Path | None = None) -> str:
    """The command that downloads a known file into a folder; without one, to where it goes by default."""
    return own_command("download", name, *(["--to", str(folder)] if folder else []))


def _base(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1]


def _in_another_subfolder(name: str, present: Sequence[str]) -> str | None:
    wanted = _base(name).lower()
    return next((each for each in present if _base(each).lower() == wanted), None)


def _some(name: str, present: Sequence[str]) -> str:
    """A few of the files, those with names like the wanted one first."""
    stems = {PurePosixPath(_base(each)).stem: each for each in present}
    alike = difflib.get_close_matches(PurePosixPath(_base(name)).stem, stems, n=_NAMED, cutoff=0.6)
    named = [stems[stem] for stem in alike]
    named = [*named, *(each for each in present if each not in named)][:_NAMED]
    more = f" and {len(present) - len(named)} more" if len(present) > len(named) else ""
    return ", ".join(map(printable_name, named)) + more
