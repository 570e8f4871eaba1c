"""Where the command line looks for models: a folder, a ComfyUI installation, or ComfyUI's extra_model_paths.yaml."""

from __future__ import annotations

from pathlib import Path

from ...common.errors import InvalidInputError, MissingFileError

ALIASES = {
    "diffusion_models": ("diffusion_models", "unet"),
    "vae": ("vae",),
    "text_encoders": ("text_encoders", "clip"),
    "clip_vision": ("clip_vision",),
    "loras": ("loras",),
}
"""Model kind -> the folder names it goes by, today's first."""

Folders = dict[str, list[Path]]


def models_in(folder: Path) -> Folders:
    """The folders of each kind in a models folder (one that holds diffusion_models, vae, ...).

    Raises:
        MissingFileError: there is no such folder.
    """
    if not folder.is_dir():
        raise MissingFileError(
            f"There is no models folder {folder}. Give the folder that holds diffusion_models and vae."
        )
    return {kind: [folder / name for name in names] for kind, names in ALIASES.items()}


def models_of_comfyui(folder: Path) -> Folders:
    """The folders of a ComfyUI installation, with those of its extra_model_paths.yaml.

    Raises:
        MissingFileError: there is no ComfyUI.
    """
    if not (folder / "models").is_dir():
        raise MissingFileError(f"{folder} is no ComfyUI folder: it holds no folder 'models'. Give the one that does.")
    extra = folder / "extra_model_paths.yaml"
    return joined(models_in(folder / "models"), extra_model_paths(extra) if extra.is_file() else {})


def extra_model_paths(file: Path) -> Folders:
    """The folders that an extra_model_paths.yaml names, in its order; relative ones start at `base_path` or the file.

    Raises:
        MissingFileError: there is no such file.
        InvalidInputError: it is no YAML of that form.
    """
    import yaml

    if not file.is_file():
        raise MissingFileError(f"There is no file {file}. Give the path of an extra_model_paths.yaml.")
    try:
        sections = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        found = [_section(section, file.parent) for section in sections.values() if section]
    except (yaml.YAMLError, AttributeError, TypeError, UnicodeDecodeError):
        raise InvalidInputError(
            f"{file.name} is not in the form of ComfyUI's extra_model_paths.yaml (sections with base_path and folders "
            "by kind). Compare it with extra_model_paths.yaml.example."
        ) from None
    return joined(*found)


def joined(*folders: Folders) -> Folders:
    """All folders of each kind, in order."""
    return {kind: [path for each in folders for path in each.get(kind, [])] for kind in ALIASES}


def _section(section: dict[str, str], beside: Path) -> Folders:
    base = beside / Path(section.get("base_path", "")).expanduser()
    return {
        kind: [
            base / line.strip() for name in names for line in str(section.get(name, "")).splitlines() if line.strip()
        ]
        for kind, names in ALIASES.items()
    }
