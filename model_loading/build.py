"""Loading a model: from the path of a file to a module with its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import nn

from ..common.log import logger
from ..dit.model import WanDiT
from ..text_encoder.clip_vision import ClipVisionEncoder
from ..text_encoder.tokenizer import Tokenizer
from ..text_encoder.umt5 import UMT5Encoder
from ..vae3d.vae import CausalVAE
from ..weights import layers
from ..weights.casting import Casting
from .files.checkpoint import Checkpoint
from .files.file_type import human_bytes
from .filling import Progress, check_names, fill
from .footprint import loaded_bytes
from .formats.plain import PLAIN
from .key_maps.layouts import Kind
from .kinds import MODEL_KINDS
from .opening import files_of, open_checkpoint
from .precision import Precision, choose_casting, choose_dtype
from .recognition.detect import inspect_checkpoint
from .spec import ModelSpec, require_kind
from .tokenizer_source import find_tokenizer


@dataclass(frozen=True, slots=True)
class LoadedDiT:
    """A transformer with its weights, on the CPU."""

    module: WanDiT
    spec: ModelSpec
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class LoadedVAE:
    """A video autoencoder with its weights, on the CPU."""

    module: CausalVAE
    spec: ModelSpec
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class LoadedTextEncoder:
    """A text encoder with its weights, on the CPU, and its tokenizer."""

    module: UMT5Encoder
    tokenizer: Tokenizer
    spec: ModelSpec
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class LoadedClipVision:
    """A CLIP vision encoder with its weights, on the CPU."""

    module: ClipVisionEncoder
    spec: ModelSpec
    dtype: torch.dtype


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
    stats = [file.stat() for file in files_of(path)]
    stamp = tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)
    return ModelKey(str(path.absolute()), stamp, precision, options)


def load_dit(
    path: str | Path,
    *,
    precision: Precision = "auto",
    fp32_residual: bool = False,
    device: torch.device | str | None = None,
    on_tensor: Progress | None = None,
) -> LoadedDiT:
    """Loads a Wan transformer onto the CPU, ready for inference.

    Args:
        path: a file, a folder of parts or an index.
        precision: see `precision.choose_dtype`.
        fp32_residual: as for `WanDiT`.
        device: where the model will run (it matters for the choice of precision); None for the accelerator, if any.
        on_tensor: told of progress.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: the file is damaged, not a transformer, or not one this version runs.
    """
    checkpoint, spec = _open(path, "dit")
    casting = choose_casting(spec, precision)
    dtype = _announce(checkpoint, spec, precision, device)
    with torch.device("meta"):
        module = WanDiT(spec.config, layers_for(spec, casting), fp32_residual)
    module = fill(module, checkpoint, spec, dtype, on_tensor, casting)
    return LoadedDiT(module, spec, dtype)


def load_vae(
    path: str | Path,
    *,
    precision: Precision = "auto",
    device: torch.device | str | None = None,
    on_tensor: Progress | None = None,
) -> LoadedVAE:
    """Loads a Wan VAE onto the CPU; arguments and errors as `load_dit`."""
    checkpoint, spec = _open(path, "vae")
    dtype = _announce(checkpoint, spec, precision, device)
    with torch.device("meta"):
        module = CausalVAE(spec.config, layers_for(spec))
    return LoadedVAE(fill(module, checkpoint, spec, dtype, on_tensor), spec, dtype)


def load_text_encoder(
    path: str | Path,
    *,
    precision: Precision = "auto",
    device: torch.device | str | None = None,
    on_tensor: Progress | None = None,
) -> LoadedTextEncoder:
    """Loads a UMT5 encoder and its tokenizer onto the CPU; arguments and errors as `load_dit`.

    Raises:
        MissingFileError: the file has no tokenizer in it, and there is none beside it or in the Hub cache either.
    """
    checkpoint, spec = _open(path, "text_encoder")
    tokenizer = find_tokenizer(checkpoint, spec)
    casting = choose_casting(spec, precision)
    dtype = _announce(checkpoint, spec, precision, device)
    with torch.device("meta"):
        module = UMT5Encoder(spec.config, layers_for(spec, casting))
    module = fill(module, checkpoint, spec, dtype, on_tensor, casting)
    return LoadedTextEncoder(module, tokenizer, spec, dtype)


def load_clip_vision(
    path: str | Path,
    *,
    precision: Precision = "auto",
    device: torch.device | str | None = None,
    on_tensor: Progress | None = None,
) -> LoadedClipVision:
    """Loads a CLIP vision encoder onto the CPU; arguments and errors as `load_dit`."""
    checkpoint, spec = _open(path, "clip_vision")
    dtype = _announce(checkpoint, spec, precision, device)
    with torch.device("meta"):
        module = ClipVisionEncoder(spec.config, layers_for(spec))
    return LoadedClipVision(fill(module, checkpoint, spec, dtype, on_tensor), spec, dtype)


def check_complete(spec: ModelSpec) -> None:
    """Checks by names alone whether a file has every tensor of its model.

    Raises:
        CheckpointError: some are missing; the message says how many, and the first.
    """
    with torch.device("meta"):
        module = MODEL_KINDS[spec.kind].build(spec.config)
    check_names(module.state_dict(), spec)


def layers_for(spec: ModelSpec, casting: Casting | None = None) -> ModuleType:
    """The layers to build a model of: torch's own where every weight is plain."""
    return nn if spec.weight_format is PLAIN and casting is None else layers


def _open(path: str | Path, kind: Kind) -> tuple[Checkpoint, ModelSpec]:
    checkpoint = open_checkpoint(path)
    spec = inspect_checkpoint(checkpoint, kind)
    require_kind(spec, kind)
    return checkpoint, spec


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
