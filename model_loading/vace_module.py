"""Adding a VACE module from a file of its own to a text-to-video model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..dit.config import DiTConfig
from ..dit.model import WanDiT
from .build import Loaded, layers_for
from .files.checkpoint import Checkpoint
from .filling import Progress, fill
from .kinds import VACE_MODULE
from .opening import open_checkpoint
from .pairing import check_pair
from .precision import Precision, choose_casting
from .recognition.detect import inspect_as
from .spec import ModelSpec

DiT = Loaded[DiTConfig, WanDiT, None]


def inspect_vace_module(checkpoint: Checkpoint, model: ModelSpec[DiTConfig]) -> ModelSpec[DiTConfig]:
    """What a file with a VACE module is, checked against the model it is for.

    Raises:
        CheckpointError: the file is damaged, or no VACE module.
        PairingError: the module does not belong onto the model.
    """
    spec = inspect_as(checkpoint, VACE_MODULE)
    check_pair(model, spec)
    return spec


def add_vace_module(
    loaded: DiT,
    path: str | Path,
    *,
    precision: Precision = "auto",
    on_tensor: Progress | None = None,
) -> DiT:
    """The text-to-video model with the VACE module of a file, which computes in the model's dtype.

    Args:
        loaded: its module is changed and not to be used elsewhere.
        precision: the fp8 ones cast the module's matrices too.

    Raises:
        MissingFileError, CheckpointError, PairingError: see `inspect_vace_module`.
    """
    checkpoint = open_checkpoint(path)
    spec = inspect_vace_module(checkpoint, loaded.spec)
    casting = choose_casting(spec, precision)
    with torch.device("meta"):
        module = VACE_MODULE.build(spec.config, layers_for(spec, casting))
    loaded.module.add_vace(fill(module, checkpoint, spec, loaded.dtype, on_tensor, casting))
    whole = replace(
        loaded.spec,
        config=loaded.module.config,
        preset=None,
        title=f"{loaded.spec.title} with {spec.title}",
        parameters=loaded.spec.parameters + spec.parameters,
        size_bytes=loaded.spec.size_bytes + spec.size_bytes,
    )
    return replace(loaded, spec=whole)
