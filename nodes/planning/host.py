"""The host of a run that is planned."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any

from ...engine.record import RecordingRuntime
from ...media.place import SavePlace
from ..files.model_names import model_name
from ..hosts.host import BUNDLED_MODELS, Host
from ..saving.names import NO_VALUES, NodeValues
from ..sockets.models import WanModel
from ..sockets.native_model import NativeModel, native_model_alone
from .input_files import OutlinedFiles


class RecordingHost:
    """See `host.Host`: one whose runtime notes what it is asked for. Models that are not here yet may come."""

    def __init__(self, actual: Host, runtime: RecordingRuntime, files: OutlinedFiles) -> None:
        self._actual = actual
        self.runtime = runtime
        self.files = files

    def model_files(self, kind: str) -> list[str]:
        return self._actual.model_files(kind)

    def model_folders(self, kind: str) -> list[Path]:
        return self._actual.model_folders(kind)

    def find_model(self, kind: str, name: str) -> Path | None:
        return self._actual.find_model(kind, name) or BUNDLED_MODELS / kind / model_name(name)

    def input_file(self, name: str) -> Path:
        return self._actual.input_file(name)

    def input_files(self, endings: Set[str]) -> list[str]:
        return self._actual.input_files(endings)

    def clips_place(self, name: str) -> Path:
        return self._actual.clips_place(name)

    def trained_folder(self) -> Path:
        return self._actual.trained_folder()

    def own_folder(self) -> Path:
        return self._actual.own_folder()

    def output_folder(self) -> Path:
        return self._actual.output_folder()

    def save_place(self, prefix: str, width: int, height: int, values: NodeValues = NO_VALUES) -> SavePlace:
        return self._actual.save_place(prefix, width, height, values)

    def preview_folder(self) -> Path | None:
        return None

    def saves_metadata(self) -> bool:
        return self._actual.saves_metadata()

    def show_text(self, text: str) -> None:
        """A plan has none."""

    def from_native(self, model: Any) -> NativeModel:
        return native_model_alone(model)  # a plan knows the loaders as the command line does

    def native_model(self, model: WanModel) -> NativeModel:
        return NativeModel.of(model)
