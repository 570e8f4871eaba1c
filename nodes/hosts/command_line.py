"""The command line as the host: folders from its options, results into its output folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...engine.local import LocalRuntime
from ...media.faults import writing_to
from ...media.place import SavePlace, refuse_outside
from ...media.whole import next_number
from ...model_loading.publishing.known_files import LORAS
from ..files.model_names import model_name
from ..files.reading import FilesOnDisk, existing_place
from ..saving.finding import result_in_subfolder
from ..saving.names import NO_VALUES, NodeValues, file_prefix
from ..saving.place import folder_and_name
from ..sockets.models import WanModel
from ..sockets.native_model import NativeModel, native_model_alone
from .host import BUNDLED_CLIPS, BUNDLED_MODELS, or_example, with_examples

MODEL_ENDINGS = frozenset({".safetensors", ".sft", ".pth", ".pt", ".bin", ".ckpt", ".gguf"})

# The folder that the canvas writes behind the name of a file that is not in the input folder.
_ANNOTATED = re.compile(r"(.*?) ?\[(input|output|temp)\]", re.DOTALL)


@dataclass
class HeadlessHost:
    """See `host.Host`.

    Attributes:
        folders: model kind -> the user's folders; the bundled models come after them.
        inputs: folders searched for input files, in order.
        output: where results are saved.
        runtime: what the models run on.
        files: reads input files.
    """

    folders: Mapping[str, list[Path]] = field(default_factory=dict)
    inputs: tuple[Path, ...] = (Path("."),)
    output: Path = Path("output")
    runtime: LocalRuntime = field(default_factory=LocalRuntime)
    files: FilesOnDisk = FilesOnDisk()

    def model_folders(self, kind: str) -> list[Path]:
        own = [self.output / kind] if kind == LORAS.folder_name else []  # where LoRAs go that are trained
        return [*(self.folders.get(kind) or own), BUNDLED_MODELS / kind]

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
        return found or or_example(candidates[0], name)

    def input_files(self, endings: Set[str]) -> list[str]:
        files = (file for folder in self.inputs if os.path.isdir(folder) for file in folder.iterdir())
        return with_examples(
            {file.name for file in files if file.suffix.lower() in endings and file.is_file()}, endings
        )

    def clips_place(self, name: str) -> Path:
        return existing_place(name, [*self.inputs, self.output, BUNDLED_CLIPS])

    def trained_folder(self) -> Path:
        return next(iter(self.folders.get(LORAS.folder_name, ())), self.output / LORAS.folder_name)

    def own_folder(self) -> Path:
        return self.output / ".wan_director"

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

    def saves_metadata(self) -> bool:
        return True

    def show_text(self, text: str) -> None:
        """The log has it."""

    def from_native(self, model: Any) -> NativeModel:
        return native_model_alone(model)  # the loaders of this name give it already

    def native_model(self, model: WanModel) -> NativeModel:
        return NativeModel.of(model)
