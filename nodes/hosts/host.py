"""Who runs the nodes: a ComfyUI server (`comfy`) or the command line (`command_line`). Nodes ask `host()`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

from ...engine.runtime import Runtime
from ...media.place import SavePlace
from ...model_loading.kinds import MODEL_KINDS
from ...model_loading.publishing.known_files import LORAS
from ..files.reading import InputFiles
from ..saving.names import NO_VALUES, NodeValues
from ..sockets.models import WanModel
from ..sockets.native_model import NativeModel

BUNDLED_MODELS = Path(__file__).resolve().parents[2] / "models"
BUNDLED_CLIPS = Path(__file__).resolve().parents[2] / "docs"
"""The folder of the examples to train on."""

EXAMPLE_VIDEOS = BUNDLED_CLIPS / "example_videos"
"""The folder of videos that the bundled workflows begin with, as if they lay in the input folder."""

LANGUAGE_MODELS = "LLM"
"""The folder of models that write prompts, as other packs call it too; each is a folder in it."""


def with_examples(names: Iterable[str], endings: Set[str]) -> list[str]:
    """Names of input files, sorted, and behind them those of the videos that come with the pack."""
    own = sorted(names)
    examples = sorted(path.name for path in EXAMPLE_VIDEOS.glob("*") if path.suffix.lower() in endings)
    return [*own, *(name for name in examples if name not in own)]


def or_example(path: Path, name: str) -> Path:
    """Where an input file lies; where there is none, the video of its name that comes with the pack, if one does."""
    example = EXAMPLE_VIDEOS / Path(name).name
    return example if example.name == name and not os.path.isfile(path) and os.path.isfile(example) else path


def model_folder_names() -> tuple[str, ...]:
    """The model folders, the same in ComfyUI, headless and in the bundled `models/` (without `loras` and `LLM`)."""
    return (*dict.fromkeys(kind.folder_name for kind in (*MODEL_KINDS.values(), LORAS)), LANGUAGE_MODELS)


class Host(Protocol):
    """What the nodes need from whoever runs them."""

    @property
    def runtime(self) -> Runtime:
        """What the models run on: handed to the engine."""
        ...

    @property
    def files(self) -> InputFiles:
        """What reads input files."""
        ...

    def model_files(self, kind: str) -> list[str]:
        """Names of the files in a model folder (see `model_folder_names`), sorted, as the dropdowns show them."""
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
        """Where the input file called `name` lies, see `or_example`; it may not exist."""
        ...

    def input_files(self, endings: Set[str]) -> list[str]:
        """Names of the input files with one of these endings, as the dropdowns show them, see `with_examples`."""
        ...

    def clips_place(self, name: str) -> Path:
        """Where the folder of clips, or the file that lists them, called `name` lies; it may not exist.

        A path, a name in an input folder or in that of the results, or an example that comes with the pack.

        Raises:
            InvalidInputError: clips are not read here.
        """
        ...

    def trained_folder(self) -> Path:
        """Where LoRAs go that are trained; `find_model` finds them there."""
        ...

    def own_folder(self) -> Path:
        """Where the pack keeps what is for nobody else: what trainings need again, tokens of queues."""
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

    def show_text(self, text: str) -> None:
        """Shows a text in the node that runs, where there is a canvas."""
        ...

    def from_native(self, model: Any) -> NativeModel:
        """What came over a wire of the type MODEL, with the LoRAs that lie on it, as a model for our sampler.

        Its weights are shared with the model that it comes from as far as both keep them in the same numbers.

        Raises:
            InvalidInputError: it is none, or carries something that would be lost; the message names it.
            CheckpointError: it is of a kind that does not run here.
        """
        ...

    def native_model(self, model: WanModel) -> Any:
        """A model of ours as what the host's own nodes take as MODEL: of the same weights, with its LoRAs.

        Raises:
            WanDirectorError: they have no such kind of model.
        """
        ...


_current: Host | None = None
_instead: ContextVar[Host | None] = ContextVar("host", default=None)


def host() -> Host:
    """The host of this process, which `__init__.py` installs for ComfyUI and `__main__.py` for the command line."""
    here = _instead.get() or _current
    assert here is not None, "a host is installed before any node is made"
    return here


@contextmanager
def hosted_by(instead: Host) -> Iterator[None]:
    """Another host inside of the context, for this thread alone."""
    token = _instead.set(instead)
    try:
        yield
    finally:
        _instead.reset(token)


def use_host(new: Host) -> None:
    """Makes `new` the host of this process."""
    global _current
    _current = new


def has_host() -> bool:
    """Whether a host is installed."""
    return _current is not None
