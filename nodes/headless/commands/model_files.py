"""`inspect` and `download`."""

from __future__ import annotations

import argparse

from ....common.errors import CheckpointError, MissingFileError
from ....common.printable import printable_name
from ....engine.terminal import shown_bytes
from ....model_loading.build import check_complete
from ....model_loading.describe import describe
from ....model_loading.lora import describe_lora
from ....model_loading.opening import open_checkpoint
from ....model_loading.publishing.download import download as fetch
from ....model_loading.publishing.known_files import KNOWN_FILES, KnownFile, named_files
from ....model_loading.recognition.detect import inspect_checkpoint
from ....model_loading.recognition.foreign import is_lora
from ...files.places import LOAD_LORA, TITLES
from .folders import download_folder
from .session import Session
from .terminal import say


def inspect(options: argparse.Namespace, _session: Session) -> None:
    """Prints what a model file is; then refuses one that lacks tensors."""
    try:
        checkpoint = open_checkpoint(options.file)
        if is_lora(checkpoint.tensors):
            say(describe_lora(checkpoint, TITLES[LOAD_LORA]))
            return
        spec = inspect_checkpoint(checkpoint)
        text = describe(spec, checkpoint)
    except OSError as error:
        if isinstance(error, MissingFileError):
            raise
        raise CheckpointError(
            f"{options.file} cannot be read ({error.strerror or type(error).__name__}). Check its permissions and the "
            "disk, or copy it anew."
        ) from None
    say(text)
    check_complete(spec)


def download(options: argparse.Namespace, _session: Session) -> None:
    """Downloads a published model file to where `run` finds it, and prints the path."""
    if options.name == "?":
        say(_known())
        return
    file = _chosen(options.name)
    folder = download_folder(options, file)
    with shown_bytes(f"Downloading {file.name}") as on_bytes:
        path = fetch(file, folder, on_bytes=on_bytes)
    say(path)


def _chosen(name: str) -> KnownFile:
    found = named_files(name)
    if len(found) == 1 and _plain(found[0].name) == _plain(name):
        return found[0]
    if found:
        names = " or ".join(file.name for file in found)
        raise MissingFileError(f"'{printable_name(name)}' is not a file known here. Did you mean {names}?")
    known = _known().replace("\n", "\n  ")
    raise MissingFileError(f"'{printable_name(name)}' is not a file known here. The known ones are:\n  {known}")


def _known() -> str:
    """A line for each published file."""
    return "\n".join(f"{file.name}  {file.what}" for file in KNOWN_FILES)


def _plain(name: str) -> str:
    return name.strip().replace("\\", "/").rsplit("/", 1)[-1].lower().removesuffix(".safetensors")
