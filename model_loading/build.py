"""Loading a model: from the path of a file to a module with its weights."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import nn

from ..common.log import logger
from ..common.records import record
from ..weights import layers
from ..weights.casting import Casting
from .files.checkpoint import Checkpoint
from .files.file_type import human_bytes
from .filling import check_names, fill
from .footprint import loaded_bytes
from .formats.plain import PLAIN
from .meter import OnBytes, untold
from .opening import files_of, missing, open_checkpoint
from .precision import Precision, choose_casting, choose_dtype
from .recognition.detect import inspect_as
from .spec import ConfigT, ConfigT_co, ModelKind, ModelSpec, ModuleT, TokenizerT

ModuleT_co = TypeVar("ModuleT_co", covariant=True)
TokenizerT_co = TypeVar("TokenizerT_co", covariant=True)


@record
class Loaded(Generic[ConfigT_co, ModuleT_co, TokenizerT_co]):
    """A model with its weights, on the CPU; `tokenizer`: that of a text encoder, None of all others."""

    module: ModuleT_co
    spec: ModelSpec[ConfigT_co]
    dtype: torch.dtype
    tokenizer: TokenizerT_co


class ModelKey(NamedTuple):
    """Identifies a loaded model: two equal keys give equal modules, and a changed file gives another key."""

    path: str
    stamp: tuple[tuple[int, int], ...]
    precision: Precision
    options: tuple[Any, ...]


def model_key(path: str | Path, precision: Precision = "auto", *options: Any) -> ModelKey:
    """The key to cache a loaded model by: place, modification time and size of its files, precision and options.

    Raises:
        MissingFileError: a file is not there.
    """
    path = Path(path)
    try:
        stats = [file.stat() for file in files_of(path)]
    except FileNotFoundError as error:
        raise missing(error.filename or path) from None
    stamp = tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)
    return ModelKey(str(path.absolute()), stamp, precision, options)


def load(
    kind: ModelKind[ConfigT, ModuleT, TokenizerT],
    path: str | Path,
    *,
    precision: Precision = "auto",
    device: torch.device | str | None = None,
    on_bytes: OnBytes = untold,
    **options: Any,
) -> Loaded[ConfigT, ModuleT, TokenizerT]:
    """Loads a model of a kind onto the CPU, ready for inference.

    Args:
        kind: one of `kinds`.
        path: a file, a folder of parts or an index.
        precision: see `precision.choose_dtype`.
        device: where the model will run (it matters for the choice of precision); None for the accelerator, if any.
        on_bytes: told of progress, and may stop it; see `filling.fill`.
        options: of the kind's module, see `ModelKind.build`.

    Raises:
        MissingFileError: there is no such file; or a text encoder has no tokenizer in it, beside it or in the Hub's
            cache.
        CheckpointError: the file is damaged, of another kind, or not one this version runs.
    """
    return load_checkpoint(
        kind, open_checkpoint(path), precision=precision, device=device, on_bytes=on_bytes, **options
    )


def load_checkpoint(
    kind: ModelKind[ConfigT, ModuleT, TokenizerT],
    checkpoint: Checkpoint,
    *,
    precision: Precision = "auto",
    device: torch.device | str | None = None,
    on_bytes: OnBytes = untold,
    **options: Any,
) -> Loaded[ConfigT, ModuleT, TokenizerT]:
    """As `load`, from what is open already.

    Raises:
        CheckpointError: see there.
    """
    spec = inspect_as(checkpoint, kind)
    tokenizer = kind.find_tokenizer(checkpoint, spec)
    casting = choose_casting(spec, precision)
    dtype = _announce(checkpoint, spec, precision, device)
    with torch.device("meta"):
        module = kind.build(spec.config, layers_for(spec, casting), **options)
    return Loaded(fill(module, checkpoint, spec, dtype, on_bytes, casting), spec, dtype, tokenizer)


def check_complete(spec: ModelSpec[Any]) -> None:
    """Checks by names alone whether a file has every tensor of its model.

    Raises:
        CheckpointError: some are missing; the message says how many, and the first.
    """
    check_names(_names_of(spec.kind.build, spec.config), spec)


@lru_cache(maxsize=16)
def _names_of(build: Callable[..., nn.Module], config: Hashable) -> Collection[str]:
    """The names of a model's tensors; a quarter of a second for the largest, and plans ask again and again."""
    with torch.device("meta"):
        return dict.fromkeys(build(config).state_dict())


def layers_for(spec: ModelSpec, casting: Casting | None = None) -> ModuleType:
    """The layers to build a model of: torch's own where every weight is plain."""
    return nn if spec.weight_format is PLAIN and casting is None else layers


def _announce(
    checkpoint: Checkpoint, spec: ModelSpec, precision: Precision, device: torch.device | str | None
) -> torch.dtype:
    """Logs what will be loaded and how; gives the dtype to compute in."""
    choice = choose_dtype(spec, precision, device)
    size, loaded = checkpoint.size_bytes, loaded_bytes(checkpoint, spec, precision, device)
    name = str(choice.dtype).removeprefix("torch.")
    if spec.weight_format is not PLAIN:
        name = f"{spec.weight_format.name}, computed in {name}"
    if choose_casting(spec, precision) is not None:
        name = f"{precision}, the rest in {name}"
    if abs(loaded - size) > 0.1 * size:
        name = f"{name} ({human_bytes(loaded)} in memory)"
    logger.info("Loading %s: %s, %s, %s.", spec.path.name, spec.title, human_bytes(size), name)
    for note in spec.notes:
        logger.warning("%s: %s", spec.path.name, note)
    if choice.reason is not None:
        logger.info("%s is loaded in %s.", spec.path.name, choice.reason, extra={"once": choice.reason})
    return choice.dtype
