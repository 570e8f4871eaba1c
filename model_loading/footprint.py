"""How much memory a model takes once it is loaded, from its header alone."""

from __future__ import annotations

import torch

from .checkpoint import Checkpoint
from .precision import Precision, choose_casting, choose_dtype
from .quantization.casting import is_cast
from .quantization.plain import FLOATS
from .spec import ModelSpec

_SCALE_BYTES = 4


def loaded_bytes(
    checkpoint: Checkpoint,
    spec: ModelSpec,
    precision: Precision = "auto",
    device: torch.device | str | None = None,
) -> int:
    """Bytes of the weights of a model as `build` loads it with this precision.

    Quantised matrices count as they are stored, those that are cast as fp8 with a scale per row, all others in the
    dtype of computation. Part of it may be windows into the file instead of memory of its own.

    Raises:
        InvalidInputError: see `precision.choose_dtype`.
    """
    casting, dtype = choose_casting(spec, precision), choose_dtype(spec, precision, device).dtype
    total = 0
    for key, source in spec.sources.items():
        infos = [checkpoint.tensors[part] for part in source.keys if part in checkpoint.tensors]
        elements = sum(info.elements for info in infos)
        if casting is not None and is_cast(key):
            total += elements + _SCALE_BYTES * sum(info.shape[0] for info in infos if info.shape)
        elif all(len(info.shape) == 2 and info.dtype not in FLOATS for info in infos):
            total += sum(info.size_bytes for info in infos)
        else:
            total += elements * dtype.itemsize
    return total
