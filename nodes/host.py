"""Who runs us: a ComfyUI server or the command line. Paths, devices, progress and interruption come from here.

Nodes ask `host()`. What a host does: `comfy_host` and `headless.host`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..common.errors import InvalidInputError
from ..memory.policy import RESIDENT, MemoryPolicy
from ..memory.slabs import Slabs
from .api import HOSTED
from .saving.names import NO_VALUES, NodeValues

PACK_FOLDER = Path(__file__).resolve().parent.parent
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


class Progress(Protocol):
    """A bar that counts the steps of one node."""

    def update(self, step: int, preview: Tensor | None = None) -> None:
        """`step` steps are done; `preview`: [h, w, 3] in 0..1, a small picture of the state."""
        ...


class Residence(Protocol):
    """Where the weights of one model live, and where they go to compute.

    Attributes:
        device: to compute on.
        module: the model, wherever its weights are.
        slabs: host memory from which blocks are swapped in (see `memory.policy`), kept as long as the model.
    """

    device: torch.device
    module: nn.Module
    slabs: Slabs

    def loaded(self, working_bytes: int = 0, memory: MemoryPolicy = RESIDENT) -> AbstractContextManager[nn.Module]:
        """The model, with its weights on `device` inside the context, but for the blocks that `memory` swaps.

        Args:
            working_bytes: memory needed beside the weights; room for the slots of swapped blocks is asked for too.
            memory: which blocks stay on the CPU; its `streaming` then brings them in.
        """
        ...

    def unload(self) -> None:
        """Takes all weights to the CPU, outside of `loaded`: to compute there, or to leave the device to others."""
        ...

    def host_tensors(self) -> list[Tensor]:
        """The weights as they lie in RAM or in their file, wherever their copies are."""
        ...

    def reload(self) -> None:
        """Inside `loaded`: brings back the weights if the host has unloaded them in between; free when it has not."""
        ...


class Host(Protocol):
    """What the nodes need from whoever runs them."""

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

    def progress(self, total: int, title: str) -> Progress:
        """A new bar of `total` steps for the node that runs now."""
        ...

    def wants_previews(self) -> bool:
        """Whether `Progress.update` shows its preview to anyone."""
        ...

    def check_interrupt(self) -> None:
        """Raises when the user asked to stop; called between blocks and frames."""
        ...

    def device(self, kind: str, choice: str = "auto") -> torch.device:
        """Where a model of a kind (see MODEL_KINDS) computes; choice: auto, cpu or gpu."""
        ...

    def residence(self, module: nn.Module, device: torch.device) -> Residence:
        """Looks after the weights of `module`, which is on the CPU now and will compute on `device`."""
        ...

    def saves_metadata(self) -> bool:
        """Whether saved files carry the workflow."""
        ...

    def free_bytes(self, device: torch.device) -> int | None:
        """Memory of a device that is free now; None where that cannot be asked."""
        ...

    def available_bytes(self, device: torch.device) -> int | None:
        """As `free_bytes`, with what models take that can be unloaded."""
        ...

    def free_memory(self, device: torch.device) -> None:
        """Takes from a device what nothing uses now: models that do not run, and torch's cache."""
        ...


_current: Host | None = None


def host() -> Host:
    """The host of this process."""
    global _current
    if _current is None:
        _current = _make_host()
    return _current


def use_host(new: Host) -> None:
    """Makes `new` the host of this process (the command line does, and tests)."""
    global _current
    _current = new


def _make_host() -> Host:
    if HOSTED:
        from .comfy_host import ComfyHost

        return ComfyHost()
    from .headless.host import HeadlessHost

    return HeadlessHost()


def interrupt_hook() -> Callable[[int], None]:
    """A hook for the transformer's blocks that stops the run when the user asked to."""
    current = host()
    return lambda _block: current.check_interrupt()
