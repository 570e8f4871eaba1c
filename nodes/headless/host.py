"""The command line as the host: folders and device from its options, a progress bar in the terminal, Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...common.errors import InvalidInputError
from ...common.printable import printable_name
from ...memory.policy import RESIDENT, MemoryPolicy, swapped_blocks
from ...memory.residency import Weights
from ...memory.slabs import Slabs
from ..host import BUNDLED_MODELS, SavePlace, refuse_outside
from ..model_names import model_name
from ..saving.faults import writing_to
from ..saving.finding import result_in_subfolder
from ..saving.names import NO_VALUES, NodeValues, file_prefix
from ..saving.place import folder_and_name
from ..saving.whole import next_number

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

MODEL_ENDINGS = frozenset({".safetensors", ".sft", ".pth", ".pt", ".bin", ".ckpt", ".gguf"})

# The folder that the canvas writes behind the name of a file that is not in the input folder.
_ANNOTATED = re.compile(r"(.*?) ?\[(input|output|temp)\]", re.DOTALL)


class Interrupted(Exception):  # noqa: N818  (it is no error)
    """The user asked to stop."""


@dataclass
class HeadlessHost:
    """See `host.Host`.

    Attributes:
        folders: model kind -> the user's folders; the bundled models come after them.
        inputs: folders searched for input files, in order.
        output: where results are saved.
        device_name: auto, cpu, cuda, cuda:1, mps, ...
        interrupted: set it to stop the run at the next block.
        show_progress: whether bars are drawn.
    """

    folders: Mapping[str, list[Path]] = field(default_factory=dict)
    inputs: tuple[Path, ...] = (Path("."),)
    output: Path = Path("output")
    device_name: str = "auto"
    interrupted: bool = False
    show_progress: bool = False

    def model_folders(self, kind: str) -> list[Path]:
        return [*self.folders.get(kind, ()), BUNDLED_MODELS / kind]

    def model_files(self, kind: str) -> list[str]:
        names = set()
        for folder in self.model_folders(kind):
            files = (file for file in folder.rglob("*") if file.suffix.lower() in MODEL_ENDINGS and file.is_file())
            names.update(str(file.relative_to(folder)) for file in files)
        return sorted(names)

    def find_model(self, kind: str, name: str) -> Path | None:
        name = model_name(name)
        candidates = [folder / name for folder in self.model_folders(kind)]
        return next((path for path in candidates if os.path.exists(path)), None)  # False for names too long

    def input_file(self, name: str) -> Path:
        match = _ANNOTATED.fullmatch(name)
        plain, kind = (match[1], match[2]) if match else (name, "input")
        beside = [folder.parent / kind for folder in self.inputs if folder.name == "input"]
        folders = {"input": self.inputs, "output": (self.output, *beside)}.get(kind, beside) or self.inputs
        spellings = dict.fromkeys((plain, plain.replace("\\", "/")))
        candidates = [folder / spelling for folder in folders for spelling in spellings]
        found = next((path for path in candidates if os.path.isfile(path)), None)  # False for names too long
        if found is None and kind == "output":
            found = next(filter(None, (result_in_subfolder(plain, folder) for folder in folders)), None)
        return found or candidates[0]

    def input_files(self, endings: Set[str]) -> list[str]:
        files = (file for folder in self.inputs if os.path.isdir(folder) for file in folder.iterdir())
        return sorted({file.name for file in files if file.suffix.lower() in endings and file.is_file()})

    def output_folder(self) -> Path:
        return self.output

    def save_place(self, prefix: str, width: int, height: int, values: NodeValues = NO_VALUES) -> SavePlace:
        prefix = file_prefix(prefix, width, height, values)
        refuse_outside(prefix, self.output)
        folder, name = folder_and_name(prefix, self.output)
        with writing_to(folder):
            return SavePlace(folder, name, next_number(folder, name), Path(prefix).parent.as_posix())

    def preview_folder(self) -> Path | None:
        return None

    def progress(self, total: int, title: str) -> TerminalProgress:
        return TerminalProgress(total, title, visible=self.show_progress)

    def wants_previews(self) -> bool:
        return False

    def check_interrupt(self) -> None:
        if self.interrupted:
            raise Interrupted

    def device(self, kind: str, choice: str = "auto") -> torch.device:
        return _find_device(self.device_name, choice)

    def check_device(self) -> None:
        """Refuses a device that cannot be used, before anything else is done.

        Raises:
            InvalidInputError: it cannot.
        """
        _find_device(self.device_name, "auto")

    def residence(self, module: nn.Module, device: torch.device) -> HeadlessResidence:
        return HeadlessResidence(module, device)

    def saves_metadata(self) -> bool:
        return True

    def free_bytes(self, device: torch.device) -> int | None:
        import torch

        return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None

    def available_bytes(self, device: torch.device) -> int | None:
        import torch

        free = self.free_bytes(device)
        return free and free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)

    def free_memory(self, device: torch.device) -> None:
        import torch

        empty_cache = getattr(getattr(torch, device.type, None), "empty_cache", None)
        if empty_cache is not None:
            empty_cache()


class TerminalProgress:
    """A tqdm bar on standard error."""

    def __init__(self, total: int, title: str, *, visible: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, desc=title, disable=not visible, leave=True)

    def update(self, step: int, preview: Tensor | None = None) -> None:
        self._bar.update(step - self._bar.n)
        if step >= self._bar.total:
            self._bar.close()


class HeadlessResidence:
    """Weights wait in RAM, or in their file, and are copied to the device while they compute."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.device = device
        self.module = module
        self.slabs = Slabs()
        self._weights = Weights(module)

    @contextlib.contextmanager
    def loaded(self, working_bytes: int = 0, memory: MemoryPolicy = RESIDENT) -> Iterator[nn.Module]:
        self._weights.leave_out(swapped_blocks(memory, self.module))
        try:
            if self.device.type != "cpu":
                self._weights.load(self.device)
            yield self.module
        finally:
            self._weights.unload()

    def unload(self) -> None:
        self._weights.unload()

    def host_tensors(self) -> list[Tensor]:
        return self._weights.host_tensors()

    def reload(self) -> None:
        """Nobody unloads in between."""


def _find_device(chosen: str, wanted: str) -> torch.device:
    import torch

    if wanted == "cpu":
        return torch.device("cpu")
    if chosen == "auto":
        chosen = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.empty(0, device=chosen).device if _DEVICE.fullmatch(chosen) else None
    except (RuntimeError, AssertionError):
        device = None
    if device is None:
        raise InvalidInputError(
            f"The device '{printable_name(chosen)}' cannot be used here{_why_not(chosen)}. Choose one of: "
            f"{', '.join(_usable_devices())}."
        )
    if device.type == "cpu":
        device = torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what names no device then leaves the other GPUs alone
    if wanted == "gpu" and device.type == "cpu":
        raise InvalidInputError("Device 'gpu' was chosen, but this run is on the CPU. Choose 'auto' or 'cpu'.")
    return device


_DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:\d{1,3})?")


def _usable_devices() -> list[str]:
    import torch

    kinds = {"cuda": torch.cuda, "xpu": torch.xpu}
    cards = [f"{kind}:{index}" for kind, module in kinds.items() for index in range(module.device_count())]
    return ["auto", "cpu", *cards, *(["mps"] if torch.backends.mps.is_available() else [])]


def _why_not(chosen: str) -> str:
    """The reason in words, as far as it is known."""
    import torch

    kind, _, index = chosen.partition(":")
    if not _DEVICE.fullmatch(chosen):
        return ": there is no device of that name"
    if kind == "cuda" and torch.cuda.is_available() and index:
        return f": the GPUs are numbered from 0 to {torch.cuda.device_count() - 1}"
    lacking = {
        "cuda": "no GPU that this build of torch can use was found",
        "mps": "it needs a Mac with an Apple GPU and a build of torch for it",
        "xpu": "no Intel GPU that this build of torch can use was found",
    }
    return f": {lacking[kind]}" if kind in lacking else ""
