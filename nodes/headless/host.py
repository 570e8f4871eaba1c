"""The command line as the host: folders and device from its options, a progress bar in the terminal, Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...common.errors import InvalidInputError
from ...memory.policy import RESIDENT, MemoryPolicy, swapped_blocks
from ...memory.residency import Weights
from ...memory.slabs import Slabs
from ..host import BUNDLED_MODELS, SavePlace, refuse_outside

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

MODEL_ENDINGS = frozenset({".safetensors", ".sft", ".pth", ".pt", ".bin", ".ckpt", ".gguf"})


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
        candidates = [*(folder / name for folder in self.model_folders(kind)), Path(name)]
        return next((path for path in candidates if os.path.exists(path)), None)  # False for names too long

    def input_file(self, name: str) -> Path:
        candidates = [folder / name for folder in self.inputs]
        return next((path for path in candidates if path.is_file()), candidates[0])

    def save_place(self, prefix: str, width: int, height: int) -> SavePlace:
        prefix = _fill_in(prefix, width, height)
        refuse_outside(prefix, self.output)
        folder, name = self.output / Path(prefix).parent, Path(prefix).name
        return SavePlace(folder, name, _next_counter(folder, name), Path(prefix).parent.as_posix())

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
        device = torch.empty(0, device=chosen).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInputError(
            f"The device '{chosen}' cannot be used here ({reason}). Choose 'cpu' or 'auto'."
        ) from None
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what names no device then leaves the other GPUs alone
    if wanted == "gpu" and device.type == "cpu":
        raise InvalidInputError("Device 'gpu' was chosen, but this run is on the CPU. Choose 'auto' or 'cpu'.")
    return device


def _fill_in(prefix: str, width: int, height: int) -> str:
    """Fills the placeholders that ComfyUI's save nodes know: %width%, %height%, %year%, %month%, ..."""
    now = time.localtime()
    values = {"width": str(width), "height": str(height), "year": str(now.tm_year)}
    parts = {"month": now.tm_mon, "day": now.tm_mday, "hour": now.tm_hour, "minute": now.tm_min, "second": now.tm_sec}
    values |= {name: f"{value:02}" for name, value in parts.items()}
    return re.sub(r"%(\w+)%", lambda match: values.get(match[1], match[0]), prefix)


def _next_counter(folder: Path, name: str) -> int:
    """One more than the highest counter of the files `name_00001_...` in the folder."""
    pattern = re.compile(re.escape(name) + r"_(\d+)_", re.IGNORECASE)
    matches = (pattern.match(file.name) for file in folder.iterdir()) if folder.is_dir() else ()
    return max((int(match[1]) for match in matches if match), default=0) + 1
