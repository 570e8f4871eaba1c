"""Who runs the nodes: a ComfyUI server (`comfy`) or the command line (`command_line`). Nodes ask `host()`."""

from __future__ import annotations

import re
from collections.abc import Set
from pathlib import Path
from typing import NamedTuple, Protocol

from ...common.errors import InvalidInputError
from ...engine.runtime import Runtime
from ..saving.names import NO_VALUES, NodeValues

PACK_FOLDER = Path(__file__).resolve().parents[2]
BUNDLED_MODELS = PACK_FOLDER / "models"

MODEL_KINDS = ("diffusion_models", "vae", "text_encoders", "clip_vision", "loras")
"""Names of the model folders, the same in ComfyUI, headless and in the bundled `models/` (which has no `loras`)."""


class SavePlace(NamedTuple):
    """Where the next file of a name goes: `folder / f"{name}_{counter:05}_.ext"`, if no other run is faster.

    `subfolder` leads from the host's output folder to `folder`, with forward slashes.
    """

    folder: Path
    name: str
    counter: int
    subfolder: str

    def subfolder_of(self, file: Path) -> str:
        """The way from the output folder to the folder of a file in `folder` or below."""
        way = (Path(self.subfolder) / file.parent.relative_to(self.folder)).as_posix()
        return "" if way == "." else way


def refuse_outside(prefix: str, output: Path) -> None:
    """Refuses a file name that leads out of the output folder.

    Raises:
        InvalidInputError: it does.
    """
    try:
        # A drive is absolute on Windows only, but nowhere meant as a folder's name.
        is_inside = not re.match(r"[A-Za-z]:[\\/]", prefix) and (output / prefix).resolve().is_relative_to(
            output.resolve()
        )
    except (OSError, RuntimeError):  # links in a circle
        is_inside = False
    if not is_inside:
        raise InvalidInputError(
            f"The file name '{prefix}' leads out of the output folder {output}. Use a name inside it."
        )


class Host(Protocol):
    """What the nodes need from whoever runs them."""

    @property
    def runtime(self) -> Runtime:
        """What the models run on: handed to the engine."""
        ...

    def model_files(self, kind: str) -> list[str]:
        """Names of the files in the folders of a kind (see MODEL_KINDS), sorted, as the dropdowns show them."""
        ...

    def model_folders(self, kind: str) -> list[Path]:
        """The folders of a kind, the user's first, the bundled one last."""
        ...

    def find_model(self, kind: str, name: str) -> Path | None:
        """Where the model called `name` lies in the folders of a kind; None when it is in none.

        Raises:
            InvalidInputError: it is no name of a file in them (see `model_names.model_name`).
        """
        ...

    def input_file(self, name: str) -> Path:
        """Where the input file called `name` lies; it may not exist."""
        ...

    def input_files(self, endings: Set[str]) -> list[str]:
        """Names of the input files with one of these endings, sorted, as the dropdowns show them."""
        ...

    def output_folder(self) -> Path:
        """Where results go; it may not exist yet."""
        ...

    def save_place(self, prefix: str, width: int, height: int, values: NodeValues = NO_VALUES) -> SavePlace:
        """The next free name in the output folder; `prefix` may name a subfolder and hold placeholders."""
        ...

    def preview_folder(self) -> Path | None:
        """Where pictures lie that only the canvas shows; None where there is no canvas."""
        ...

    def saves_metadata(self) -> bool:
        """Whether saved files carry the workflow."""
        ...


_current: Host | None = None


def host() -> Host:
    """The host of this process, which `__init__.py` installs for ComfyUI and `__main__.py` for the command line."""
    assert _current is not None, "a host is installed before any node is made"
    return _current


def use_host(new: Host) -> None:
    """Makes `new` the host of this process."""
    global _current
    _current = new


def has_host() -> bool:
    """Whether a host is installed."""
    return _current is not None
