"""Where the command line looks for models: a folder, a ComfyUI installation, or ComfyUI's extra_model_paths.yaml."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ...common.errors import InvalidInputError, MissingFileError
from ...common.printable import printable_name
from ..hosts.host import model_folder_names

_OLD_NAMES = {"diffusion_models": ("unet",), "text_encoders": ("clip",)}

Folders = dict[str, list[Path]]


def todays_folder(name: str) -> str:
    """The name that a model folder has today: diffusion_models for unet."""
    return next((today for today, old in _OLD_NAMES.items() if name in old), name)


def _aliases(more: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Model folder -> the names it goes by, today's first."""
    return {folder: (folder, *_OLD_NAMES.get(folder, ())) for folder in (*model_folder_names(), *more)}


def models_in(folder: Path, more: Sequence[str] = ()) -> Folders:
    """The folders of each kind in a models folder (one that holds diffusion_models, vae, ...).

    Args:
        folder: the models folder.
        more: kinds beside those that the nodes load, here as in the other functions.

    Raises:
        MissingFileError: there is no such folder.
    """
    if not os.path.isdir(folder):
        raise MissingFileError(
            f"There is no models folder {folder}. Give the folder that holds diffusion_models and vae."
        )
    return {kind: [folder / name for name in names] for kind, names in _aliases(more).items()}


def models_of_comfyui(folder: Path, more: Sequence[str] = ()) -> Folders:
    """The folders of a ComfyUI installation, with those of its extra_model_paths.yaml.

    Raises:
        MissingFileError: there is no ComfyUI.
    """
    if not os.path.isdir(folder / "models"):
        raise MissingFileError(f"{folder} is no ComfyUI folder: it holds no folder 'models'. Give the one that does.")
    extra = folder / "extra_model_paths.yaml"
    return joined(models_in(folder / "models", more), extra_model_paths(extra, more) if os.path.isfile(extra) else {})


def extra_model_paths(file: Path, more: Sequence[str] = ()) -> Folders:
    """The folders that an extra_model_paths.yaml names, in its order; relative ones start at `base_path` or the file.

    A section with `is_default` comes before the others, as in ComfyUI.

    Raises:
        MissingFileError: there is no such file.
        InvalidInputError: it is no YAML of that form.
    """
    import yaml

    if not os.path.isfile(file):
        raise MissingFileError(f"There is no file {file}. Give the path of an extra_model_paths.yaml.")
    try:
        sections = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read ({error.strerror}). Check its permissions.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _wrong_form(file, "it is no YAML" + _place(error)) from None
    if sections is None:
        return joined()
    if not isinstance(sections, dict):
        raise _wrong_form(file, "it holds no sections")
    read = [_section(file, name, section, more) for name, section in sections.items() if section is not None]
    read.sort(key=lambda section: not section[0])
    return joined(*(folders for _, folders in read))


def joined(*folders: Folders) -> Folders:
    """All folders of each kind, in order."""
    kinds = dict.fromkeys([*model_folder_names(), *(kind for each in folders for kind in each)])
    return {kind: [path for each in folders for path in each.get(kind, [])] for kind in kinds}


def _section(file: Path, name: object, section: object, more: Sequence[str]) -> tuple[bool, Folders]:
    """Whether a section comes first, and its folders."""
    if not isinstance(section, dict):
        raise _wrong_form(file, f"section '{_shown(name)}' is no list of folders by kind")
    base = file.parent / _expanded(_text(file, name, "base_path", section.get("base_path")))
    folders = {
        kind: [
            base / _expanded(line.strip())
            for key in names
            for line in _text(file, name, key, section.get(key)).splitlines()
            if line.strip()
        ]
        for kind, names in _aliases(more).items()
    }
    return section.get("is_default") is True, folders


def _text(file: Path, section: object, key: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value:
        raise _wrong_form(file, f"'{key}' in section '{_shown(section)}' is no path")
    return value


def _expanded(path: str) -> str:
    """With `~` and `$HOME` filled in; an unknown user or variable stays as it is, as in ComfyUI."""
    return os.path.expandvars(os.path.expanduser(path))


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f" (line {mark.line + 1})"


def _shown(name: object) -> str:
    return printable_name(name if isinstance(name, (str, int, float)) else type(name).__name__)[:40]


def _wrong_form(file: Path, found: str) -> InvalidInputError:
    return InvalidInputError(
        f"{file.name} is not in the form of ComfyUI's extra_model_paths.yaml (sections with base_path and folders by "
        f"kind): {found}. Compare it with extra_model_paths.yaml.example."
    )
