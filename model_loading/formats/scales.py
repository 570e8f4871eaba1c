"""Reading the scale that belongs to a weight, and checking that it does."""

from __future__ import annotations

import torch
from torch import Tensor

from ...common.errors import FileFault
from ..files.checkpoint import Checkpoint

WEIGHT_SCALES = (".scale_weight", ".weight_scale")
"""Ends of the names of scales, behind the name of their layer: in older ComfyUI files and in newer ones."""

SCALE_COMPANIONS = (*WEIGHT_SCALES, ".scale_input", ".input_scale", "scaled_fp8")
"""Scales, those of inputs (see `fp8.Fp8Format`), and the tensor that marks ComfyUI's older files."""

OTHER_PUBLISHER = "Use a file of another publisher"
"""The advice where a file was written so, and downloading it again gives the same."""


def find_scale(checkpoint: Checkpoint, key: str) -> str | None:
    """The name of the scale of the weight called `key`, if the file has one."""
    if not key.endswith(".weight"):
        return None
    layer = key.removesuffix(".weight")
    return next((layer + end for end in WEIGHT_SCALES if layer + end in checkpoint.tensors), None)


def read_scale(checkpoint: Checkpoint, key: str) -> Tensor | None:
    """The scale of the weight called `key`: float32, one number [] or one per row [rows, 1]; None if it has none.

    Raises:
        FileFault: it has another number of elements, or is not finite.
    """
    name = find_scale(checkpoint, key)
    return None if name is None else shaped_scale(checkpoint, name, key)


def shaped_scale(checkpoint: Checkpoint, name: str, key: str) -> Tensor:
    """The scale called `name` of the weight called `key`; form and errors as `read_scale`."""
    scale, shape = checkpoint.read(name).float().clone(), checkpoint.tensors[key].shape
    rows = shape[0] if shape else 1
    if scale.numel() not in (1, rows) or (scale.ndim > 1 and scale.shape[0] != scale.numel()):
        raise FileFault(
            f"has the shape {list(scale.shape)}, but {key!r} needs one number or {rows}, one per row",
            OTHER_PUBLISHER,
            f"the scale {name!r}",
        )
    refuse_no_numbers(name, scale)
    return scale.reshape(()) if scale.numel() == 1 else scale.reshape(rows, 1)


def refuse_no_numbers(name: str, scale: Tensor) -> None:
    """Checks the scale called `name`, in float32.

    Raises:
        FileFault: it is not finite.
    """
    if not bool(torch.isfinite(scale).all()):
        raise FileFault(
            "is no number (NaN or infinite), so every video would be black",
            "The file is damaged: download it again",
            f"the scale {name!r}",
        )


def lost_scale(key: str) -> FileFault:
    """The fault of a weight that cannot be read without the scale the file does not have."""
    layer = key.removesuffix(".weight")
    return FileFault(
        f"is scaled, but neither {layer + WEIGHT_SCALES[0]!r} nor {layer + WEIGHT_SCALES[1]!r} is in the file",
        "It is incomplete: download it again, or use the bf16 file",
        f"the weight {key!r}",
    )
