"""Where the tokenizer of a text encoder comes from: the file itself, a file beside it, or the Hugging Face cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..common.errors import MissingFileError, PairingError
from ..common.families import TINY
from ..common.log import logger
from ..text_encoder.tokenizer import Tokenizer
from ..text_encoder.umt5 import UMT5Config
from .files.checkpoint import Checkpoint
from .files.faults import naming
from .files.gguf_file import GgufFile
from .files.gguf_tokenizer import piece_count, read_gguf_tokenizer
from .spec import ModelSpec

EMBEDDED_SPIECE = "spiece_model"
EMBEDDED_JSON = "tokenizer_json"
_HUB_REPO = "google/umt5-xxl"
_NAMES = ("tokenizer.json", "spiece.model")
# Where the official repositories and diffusers folders keep the tokenizer, seen from the text encoder file.
_FOLDERS = ("", "google/umt5-xxl", "tokenizer", "../tokenizer")


def find_tokenizer(checkpoint: Checkpoint, spec: ModelSpec[UMT5Config]) -> Tokenizer:
    """The tokenizer that belongs to a text encoder file.

    Raises:
        MissingFileError: there is none in the file, beside it, or on the Hub.
        PairingError: it has more pieces than the encoder has embeddings.
    """
    tokenizer = _embedded(checkpoint, spec.config) or _beside(checkpoint.path) or _from_hub(spec)
    if tokenizer.vocab_size > spec.config.vocab:
        raise PairingError(
            f"The tokenizer of {spec.path.name} has {tokenizer.vocab_size} pieces, but the encoder knows only "
            f"{spec.config.vocab}: they do not belong together. Use the tokenizer of {_HUB_REPO}."
        )
    return tokenizer


def _embedded(checkpoint: Checkpoint, config: UMT5Config) -> Tokenizer | None:
    if isinstance(checkpoint, GgufFile):
        return _of_gguf(checkpoint, config)
    for key in checkpoint.tensors:
        name = key.rsplit(".", 1)[-1]
        if name == EMBEDDED_SPIECE:
            return Tokenizer.from_spiece(checkpoint.read(key).numpy().tobytes())
        if name == EMBEDDED_JSON:
            return Tokenizer.from_json(checkpoint.read(key).numpy().tobytes().decode("utf-8", "replace"))
    return None


def _of_gguf(file: GgufFile, config: UMT5Config) -> Tokenizer | None:
    count = piece_count(file)
    if count > config.vocab:
        raise PairingError(
            f"The tokenizer in {file.path.name} has {count} pieces, but the encoder knows only {config.vocab}: they do "
            "not belong together. Download the file again, or use one of another publisher."
        )
    with naming(file.path):
        model = read_gguf_tokenizer(file)
    return Tokenizer.from_model(model) if model is not None else None


def _beside(path: Path) -> Tokenizer | None:
    found = next((file for file in _candidates(path) if file.is_file()), None)
    if found is None:
        return None
    logger.info("Tokenizer: %s.", found)
    return Tokenizer.from_file(found)


def _candidates(path: Path) -> Iterator[Path]:
    """Files named after the text encoder first, then the usual names in the usual folders."""
    folder = path if path.is_dir() else path.parent
    for name in _NAMES:
        yield folder / f"{path.stem}.{name}"
    for inner in _FOLDERS:
        for name in _NAMES:
            yield folder / inner / name


def _from_hub(spec: ModelSpec[UMT5Config]) -> Tokenizer:
    if spec.family is TINY:
        raise MissingFileError(
            f"{spec.path.name} carries no tokenizer, though every text encoder of {TINY.title} does: "
            "install Wan Director again."
        )
    logger.info("Tokenizer: %s from the Hugging Face cache.", _HUB_REPO)
    return Tokenizer.from_hub(_HUB_REPO)
