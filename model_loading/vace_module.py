"""Adding a VACE module from a file of its own to a text-to-video model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..dit.vace import VaceModule
from ..weights.multiplication import use_fp8_compute
from .build import LoadedDiT, layers_for
from .filling import Progress, fill
from .opening import open_checkpoint
from .pairing import check_pair
from .precision import Precision, choose_casting
from .recognition.detect import inspect_checkpoint
from .spec import ModelSpec, require_kind


def inspect_vace_module(path: str | Path, model: ModelSpec) -> ModelSpec:
    """What a file with a VACE module is, checked against the model it is for.

    Raises:
        CheckpointError: the file is damaged, or no VACE module.
        PairingError: the module does not belong onto the model.
    """
    spec = inspect_checkpoint(open_checkpoint(path), "vace_module")
    require_kind(spec, "vace_module")
    check_pair(model, spec)
    return spec


def add_vace_module(
    loaded: LoadedDiT,
    path: str | Path,
    *,
    precision: Precision = "auto",
    attention: str = "auto",
    on_tensor: Progress | None = None,
) -> LoadedDiT:
    """The text-to-video model with the VACE module of a file, which computes in the model's dtype.

    Args:
        loaded: its module is changed and not to be used elsewhere.
        precision: the fp8 ones cast the module's matrices too.
        attention: as for `WanDiT`.

    Raises:
        MissingFileError, CheckpointError, PairingError: see `inspect_vace_module`.
    """
    spec = inspect_vace_module(path, loaded.spec)
    casting = choose_casting(spec, precision)
    with torch.device("meta"):
        module = VaceModule(spec.config, layers_for(spec, casting), attention)
    loaded.module.add_vace(fill(module, open_checkpoint(path), spec, loaded.dtype, on_tensor, casting))
    if casting is not None and casting.multiplies:
        use_fp8_compute(loaded.module, True)
    return replace(loaded, spec=with_vace_module(loaded.spec, spec))


def with_vace_module(model: ModelSpec, module: ModelSpec) -> ModelSpec:
    """What a model is with a module that fits it."""
    config, added = model.config, module.config
    return replace(
        model,
        config=replace(config, vace_blocks=added.vace_blocks, vace_channels=added.vace_channels),
        preset=None,
        title=f"{model.title} with {module.title}",
        parameters=model.parameters + module.parameters,
        size_bytes=model.size_bytes + module.size_bytes,
    )
