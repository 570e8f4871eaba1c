"""Adding a VACE module from a file of its own to a text-to-video model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..dit.branches.module import BranchModule
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
    on_tensor: Progress | None = None,
) -> LoadedDiT:
    """The text-to-video model with the VACE module of a file, which computes in the model's dtype.

    Args:
        loaded: stays as it is; its layers are those of the result, too.
        precision: the fp8 ones cast the module's matrices too.

    Raises:
        MissingFileError, CheckpointError, PairingError: see `inspect_vace_module`.
    """
    spec = inspect_vace_module(path, loaded.spec)
    casting = choose_casting(spec, precision)
    with torch.device("meta"):
        module = BranchModule(spec.config, layers_for(spec, casting))
    module = loaded.module.with_branches(fill(module, open_checkpoint(path), spec, loaded.dtype, on_tensor, casting))
    whole = replace(
        loaded.spec,
        config=module.config,
        preset=None,
        title=f"{loaded.spec.title} with {spec.title}",
        parameters=loaded.spec.parameters + spec.parameters,
        size_bytes=loaded.spec.size_bytes + spec.size_bytes,
    )
    return replace(loaded, module=module, spec=whole)
