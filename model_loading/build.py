"""Building a module and filling it with the weights of a file, strictly and one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..common.errors import CheckpointError
from ..common.log import logger
from ..dit.model import WanDiT
from ..text_encoder.clip_vision import ClipVisionEncoder
from ..text_encoder.tokenizer import Tokenizer
from ..text_encoder.umt5 import UMT5Encoder
from ..vae3d.vae import CausalVAE
from .checkpoint import Checkpoint, human_bytes, open_checkpoint
from .detect import inspect_checkpoint
from .key_maps.layouts import Kind
from .key_maps.renaming import Source
from .precision import Precision, all_finite, choose_dtype
from .quantization import layers
from .quantization.plain import PLAIN
from .quantization.stored import StoredWeight
from .spec import KIND_TITLES, ModelSpec, require_kind
from .tokenizer_source import find_tokenizer

Progress = Callable[[int, int], None]
"""Called as (tensors done, tensors in all) while a model loads; it may raise to stop."""


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
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.is_file()]
    stamp = tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)
    return ModelKey(str(path.absolute()), stamp, precision, options)


def load_dit(
    path: str | Path,
    *,
    precision: Precision = "auto",
    attention: str = "auto",
    fp32_residual: bool = False,
    device: torch.device | str | None = None,
    on_tensor: Progress | None = None,
) -> LoadedDiT:
    """Loads a Wan transformer onto the CPU, ready for inference.

    Args:
        path: a file, a folder of parts or an index.
        precision: see `precision.choose_dtype`.
        attention, fp32_residual: as for `WanDiT`.
        device: where the model will run (it matters for the choice of precision); None for the accelerator, if any.
        on_tensor: told of progress.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: the file is damaged, not a transformer, or not one this version runs.
    """
    checkpoint, spec = _open(path, "dit")
    dtype = _announce(spec, precision, device)
    with torch.device("meta"):
        module = WanDiT(spec.config, _operations(spec), attention, fp32_residual)
    return LoadedDiT(fill(module, checkpoint, spec, dtype, on_tensor), spec, dtype)


def load_vae(
    path: str | Path,
    *,
    precision: Precision = "auto",
    device: torch.device | str | None = None,
    on_tensor: Progress | None = None,
) -> LoadedVAE:
    """Loads a Wan VAE onto the CPU; arguments and errors as `load_dit`."""
    checkpoint, spec = _open(path, "vae")
    dtype = _announce(spec, precision, device)
    with torch.device("meta"):
        module = CausalVAE(spec.config, _operations(spec))
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
    dtype = _announce(spec, precision, device)
    with torch.device("meta"):
        module = UMT5Encoder(spec.config, _operations(spec))
    return LoadedTextEncoder(fill(module, checkpoint, spec, dtype, on_tensor), tokenizer, spec, dtype)


def load_clip_vision(
    path: str | Path,
    *,
    precision: Precision = "auto",
    device: torch.device | str | None = None,
    on_tensor: Progress | None = None,
) -> LoadedClipVision:
    """Loads a CLIP vision encoder onto the CPU; arguments and errors as `load_dit`."""
    checkpoint, spec = _open(path, "clip_vision")
    dtype = _announce(spec, precision, device)
    with torch.device("meta"):
        module = ClipVisionEncoder(spec.config, _operations(spec))
    return LoadedClipVision(fill(module, checkpoint, spec, dtype, on_tensor), spec, dtype)


def fill(
    module: nn.Module,
    checkpoint: Checkpoint,
    spec: ModelSpec,
    dtype: torch.dtype,
    on_tensor: Progress | None = None,
) -> Any:
    """Gives a module on the meta device its weights, and returns it ready for inference.

    Weights already in `dtype` are windows into the file and take no memory of their own; others are cast one at a
    time. So memory peaks at the final weights plus one tensor. Loaded weights must not be written to.

    Raises:
        CheckpointError: a weight is missing, has another shape than the module's, or is not finite.
    """
    expected = module.state_dict()
    _check_names(expected, spec)
    weights: dict[str, Tensor] = {}
    for done, (key, place) in enumerate(expected.items(), start=1):
        layer = _storing_layer(module, key)
        weight = _read(checkpoint, spec, key, tuple(place.shape), dtype, keep_stored=layer is not None)
        if isinstance(weight, StoredWeight):
            layer.store(weight)
            layer.output_dtype = dtype
        else:
            weights[key] = weight
        if on_tensor is not None:
            on_tensor(done, len(expected))
    # Stored weights are in their place already; that nothing is missing is checked below.
    module.requires_grad_(False).load_state_dict(weights, strict=False, assign=True)
    left = [name for name, value in _values(module) if value.is_meta]
    if left:
        raise CheckpointError(
            f"{spec.path.name}: {left[0]!r} was left without a value; report this as a fault of ours."
        )
    return module.eval()


def _operations(spec: ModelSpec) -> ModuleType:
    """The layers to build a model of: torch's own where every weight is plain."""
    return nn if spec.weight_format is PLAIN else layers


def _storing_layer(module: nn.Module, key: str) -> layers.Linear | layers.Embedding | None:
    """The layer that can take the weight `key` as it is stored, if it is one."""
    owner, _, leaf = key.rpartition(".")
    layer = module.get_submodule(owner)
    return layer if leaf == "weight" and isinstance(layer, (layers.Linear, layers.Embedding)) else None


def _open(path: str | Path, kind: Kind) -> tuple[Checkpoint, ModelSpec]:
    checkpoint = open_checkpoint(path)
    spec = inspect_checkpoint(checkpoint)
    require_kind(spec, kind)
    return checkpoint, spec


def _announce(spec: ModelSpec, precision: Precision, device: torch.device | str | None) -> torch.dtype:
    choice = choose_dtype(spec, precision, device)
    size = human_bytes(spec.parameters * choice.dtype.itemsize)
    name = str(choice.dtype).removeprefix("torch.")
    logger.info("Loading %s: %s, %s, %s.", spec.path.name, spec.title, size, name)
    if choice.reason is not None:
        logger.info("%s is loaded in %s.", spec.path.name, choice.reason)
    return choice.dtype


def _check_names(expected: Mapping[str, Tensor], spec: ModelSpec) -> None:
    missing = [key for key in expected if key not in spec.sources]
    unexpected = sorted(key for key in spec.sources if key not in expected)
    if missing:
        names = ", ".join(missing[:5])
        raise CheckpointError(
            f"{spec.path.name} lacks {len(missing)} of the {len(expected)} tensors of {spec.title} (first: {names}). "
            "It is incomplete or of another model: download it again."
        )
    if unexpected:
        logger.warning(
            "%s has %d tensors that %s does not use (first: %s): they are left out.",
            spec.path.name, len(unexpected), spec.title, ", ".join(unexpected[:5]),
        )  # fmt: skip
    if spec.extras:
        logger.debug("%s: left out beside the weights: %s.", spec.path.name, ", ".join(spec.extras[:20]))


def _read(
    checkpoint: Checkpoint,
    spec: ModelSpec,
    key: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    *,
    keep_stored: bool,
) -> Tensor | StoredWeight:
    """One official tensor from its place or places in the file: checked, and cast unless it stays as it is stored."""
    source = spec.sources[key]
    weight = _assemble(checkpoint, spec, source, keep_stored=keep_stored)
    squeezed = tuple(size for size in weight.shape if size != 1)
    if tuple(weight.shape) != shape and squeezed != tuple(size for size in shape if size != 1):
        raise CheckpointError(
            f"{spec.path.name}: tensor {source.keys[0]!r} has the shape {list(weight.shape)}, but {spec.title} needs "
            f"{list(shape)}. It is of another model: download it again."
        )
    if isinstance(weight, StoredWeight):
        _check_scales(spec, source.keys[0], weight)
        return weight
    cast = weight.to(dtype).reshape(shape)
    if not all_finite(cast):
        raise _not_finite(spec, source.keys[0], weight, dtype)
    return cast


def _assemble(checkpoint: Checkpoint, spec: ModelSpec, source: Source, *, keep_stored: bool) -> Tensor | StoredWeight:
    lost = [key for key in source.keys if key not in checkpoint.tensors]
    if lost:
        raise CheckpointError(f"{spec.path.name} lacks the tensor {lost[0]!r}: it is incomplete; download it again.")
    parts = [spec.weight_format.read(checkpoint, key) for key in source.keys]
    if keep_stored and len(parts) == 1 and not source.transposed:
        return parts[0]
    parts = [part.dense() if isinstance(part, StoredWeight) else part for part in parts]
    weight = torch.cat(parts) if len(parts) > 1 else parts[0]
    return weight.T.contiguous() if source.transposed else weight


def _check_scales(spec: ModelSpec, key: str, weight: StoredWeight) -> None:
    """Floating-point parts must be finite; so must fp8 weights, which have a pattern for NaN."""
    for part in weight.parts.values():
        if part.dtype.is_floating_point and not all_finite(part):
            raise _not_finite(spec, key, part, part.dtype)


def _not_finite(spec: ModelSpec, key: str, weight: Tensor, dtype: torch.dtype) -> CheckpointError:
    if all_finite(weight):
        return CheckpointError(
            f"{spec.path.name}: tensor {key!r} has values too large for {str(dtype).removeprefix('torch.')}. "
            "Choose the precision bf16 or fp32."
        )
    return CheckpointError(
        f"{spec.path.name}: tensor {key!r} holds values that are no numbers (NaN or infinite), so every video would be "
        f"black. The {KIND_TITLES[spec.kind]} file is damaged: download it again."
    )


def _values(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]
