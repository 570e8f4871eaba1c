"""Filling a module with the weights of a file, strictly and one tensor at a time."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from ..common.errors import CheckpointError
from ..common.log import logger
from ..common.records import record
from ..weights import layers
from ..weights.casting import Casting, cast_matrix, is_cast
from ..weights.multiplication import allow_fp8
from ..weights.stored import StoredWeight
from .files.checkpoint import Checkpoint
from .files.faults import naming
from .formats.comfy_quant import COMFY_QUANT
from .formats.scales import SCALE_COMPANIONS
from .key_maps.renaming import Source
from .meter import Meter, OnBytes, ReadAhead, Watch, untold, unwatched
from .precision import all_finite, cast_if_finite
from .recognition.refusals import more_than_known
from .spec import ModelSpec, ModuleT


def fill(
    module: ModuleT,
    checkpoint: Checkpoint,
    spec: ModelSpec[Any],
    dtype: torch.dtype,
    on_bytes: OnBytes = untold,
    casting: Casting | None = None,
) -> ModuleT:
    """Gives a module on the meta device its weights, and returns it ready for inference.

    Weights already in `dtype`, and quantised matrices, are windows into the file and take no memory of their own;
    others are cast one at a time. So memory peaks at the final weights plus one tensor. Loaded weights must not be
    written to.

    Args:
        on_bytes: told of progress, and may stop it, every `meter.RUN_BYTES` or oftener.

    Raises:
        CheckpointError: a weight is missing, has another shape than the module's, or is not finite.
    """
    expected = module.state_dict()
    check_names(expected, spec)
    meter = Meter([_size_bytes(checkpoint, spec.sources[key]) for key in expected], on_bytes)
    reader = _Reader(checkpoint, spec, dtype, casting, meter.watch)
    weights: dict[str, Tensor] = {}
    with ReadAhead(checkpoint, [name for key in expected for name in spec.sources[key].keys]) as ahead:
        for key, place in expected.items():
            ahead.reach(meter.done_bytes)
            layer = _storing_layer(module, key)
            weight = reader.read(key, tuple(place.shape), layer)
            if not isinstance(weight, StoredWeight):
                weights[key] = weight
            elif layer is not None:
                _store(layer, weight, dtype)
            meter.next()
    # Stored weights are in their place already; that nothing is missing is checked below.
    module.requires_grad_(False).load_state_dict(weights, strict=False, assign=True)
    left = [name for name, value in (*module.named_parameters(), *module.named_buffers()) if value.is_meta]
    if left:
        raise CheckpointError(
            f"{spec.path.name}: {left[0]!r} was left without a value; report this as a fault of ours."
        )
    allow_fp8(module)
    return module.eval()


def plain_weight(checkpoint: Checkpoint, spec: ModelSpec[Any], key: str, shape: tuple[int, ...]) -> Tensor:
    """One official tensor as plain float32 numbers of this shape, however the file stores it.

    A window into the file where that holds float32; treat it as read-only.

    Raises:
        CheckpointError: it is missing, has another shape, or is not finite.
    """
    weight = _Reader(checkpoint, spec, torch.float32, None, unwatched).read(key, shape, None)
    assert isinstance(weight, Tensor)
    return weight


def _size_bytes(checkpoint: Checkpoint, source: Source) -> int:
    return sum(checkpoint.tensors[key].size_bytes for key in source.keys if key in checkpoint.tensors)


def _storing_layer(module: nn.Module, key: str) -> layers.Linear | layers.Embedding | None:
    """The layer that can take the weight `key` as it is stored, if it is one."""
    owner, _, leaf = key.rpartition(".")
    layer = module.get_submodule(owner)
    return layer if leaf == "weight" and isinstance(layer, (layers.Linear, layers.Embedding)) else None


def _store(layer: layers.Linear | layers.Embedding, weight: StoredWeight, dtype: torch.dtype) -> None:
    layer.store(weight)
    if isinstance(layer, layers.Embedding):
        layer.output_dtype = dtype


def check_names(expected: Collection[str], spec: ModelSpec) -> None:
    """Compares the names in a file with those of the module.

    What a transformer has beside the module's is a part of what it does, so that the file is refused; marks, counters
    and scales without use, and what any other model has beside, are told of in the log.

    Raises:
        CheckpointError: some are missing, or a transformer has more.
    """
    missing = [key for key in expected if key not in spec.sources]
    unexpected = sorted(key for key in spec.sources if key not in expected)
    parts = [key for key in unexpected if "." in key and not _belongs_to_a_weight(key, expected, spec)]
    if parts and spec.kind.is_transformer:
        raise more_than_known(spec.path.name, spec.title, parts)
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


def _belongs_to_a_weight(key: str, expected: Collection[str], spec: ModelSpec) -> bool:
    """Whether a tensor lies beside a quantised weight; where its format is unknown, reading the weight tells so."""
    is_marked = spec.weight_format is COMFY_QUANT and key.rpartition(".")[0] + ".weight" in expected
    return is_marked or key.endswith(SCALE_COMPANIONS)


@record
class _Reader:
    """Reads official tensors from their places in a file."""

    checkpoint: Checkpoint
    spec: ModelSpec
    dtype: torch.dtype
    casting: Casting | None
    watch: Watch

    def read(self, key: str, shape: tuple[int, ...], layer: nn.Module | None) -> Tensor | StoredWeight:
        """One official tensor: checked, and in `dtype` unless `layer` takes it as it is stored or cast to fp8."""
        source = self.spec.sources[key]
        weight = self._assemble(source, keep_stored=layer is not None)
        self._check_shape(source.keys[0], tuple(weight.shape), shape)
        if self.casting is not None and isinstance(layer, layers.Linear) and is_cast(key):
            weight = self._cast_matrix(source, weight, self.casting)
        if isinstance(weight, StoredWeight) and not (weight.needs_all_rows and isinstance(layer, layers.Embedding)):
            return weight
        weight = weight.dense() if isinstance(weight, StoredWeight) else weight
        cast = cast_if_finite(weight, self.dtype, self.watch)
        if cast is None:
            raise self._not_finite(source.keys[0], weight)
        if weight.dtype != self.dtype:
            self._release(source)
        return cast.reshape(shape)

    def _assemble(self, source: Source, *, keep_stored: bool) -> Tensor | StoredWeight:
        lost = [key for key in source.keys if key not in self.checkpoint.tensors]
        if lost:
            raise CheckpointError(
                f"{self.spec.path.name} lacks the tensor {lost[0]!r}: it is incomplete; download it again."
            )
        with naming(self.checkpoint.path):
            parts = [self._checked(key, self.spec.weight_format.read(self.checkpoint, key)) for key in source.keys]
        if keep_stored and len(parts) == 1 and not source.transposed:
            return parts[0]
        parts = [part.dense() if isinstance(part, StoredWeight) else part for part in parts]
        weight = torch.cat(parts) if len(parts) > 1 else parts[0]
        return weight.T.contiguous() if source.transposed else weight

    def _checked(self, key: str, weight: Tensor | StoredWeight) -> Tensor | StoredWeight:
        """Floating-point parts must be finite; so must fp8 codes, which have a pattern for NaN."""
        if isinstance(weight, StoredWeight):
            for part in weight.parts.values():
                if part.dtype.is_floating_point and not all_finite(part, self.watch):
                    raise self._not_finite(key, part)
        return weight

    def _cast_matrix(self, source: Source, weight: Tensor | StoredWeight, casting: Casting) -> StoredWeight:
        cast = cast_matrix(weight, casting)
        if cast is not weight:
            self._checked(source.keys[0], cast)
            self._release(source)
        return cast

    def _release(self, source: Source) -> None:
        for key in source.keys:
            self.checkpoint.release(key)

    def _check_shape(self, key: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        if found == wanted or _without_ones(found) == _without_ones(wanted):
            return
        raise CheckpointError(
            f"{self.spec.path.name}: tensor {key!r} has the shape {list(found)}, but {self.spec.title} needs "
            f"{list(wanted)}. It is of another model: download it again."
        )

    def _not_finite(self, key: str, weight: Tensor) -> CheckpointError:
        name = self.spec.path.name
        if all_finite(weight):
            return CheckpointError(
                f"{name}: tensor {key!r} has values too large for {str(self.dtype).removeprefix('torch.')}. "
                "Choose the precision bf16 or fp32."
            )
        return CheckpointError(
            f"{name}: tensor {key!r} holds values that are no numbers (NaN or infinite), so every video would be "
            f"black. The {self.spec.kind.title} file is damaged: download it again."
        )


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
