"""Adding a branch from a file of its own to a model without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..dit.branches.module import BranchModule
from ..dit.config import DiTConfig
from ..dit.model import WanDiT
from .build import Loaded, layers_for
from .files.checkpoint import Checkpoint
from .filling import Progress, fill
from .footprint import ModelBytes, model_bytes
from .opening import open_checkpoint
from .pairing import check_pair
from .precision import Precision, choose_casting
from .recognition.detect import inspect_as
from .spec import ModelKind, ModelSpec

DiT = Loaded[DiTConfig, WanDiT, None]
ModuleKind = ModelKind[DiTConfig, BranchModule, None]
"""A kind of file that holds a branch by itself."""


def inspect_module(checkpoint: Checkpoint, kind: ModuleKind, model: ModelSpec[DiTConfig]) -> ModelSpec[DiTConfig]:
    """What a file with a branch by itself is, checked against the model it is for.

    Raises:
        CheckpointError: the file is damaged, or of another kind.
        PairingError: the branch does not belong onto the model.
    """
    spec = inspect_as(checkpoint, kind)
    check_pair(model, spec)
    return spec


def add_module(
    loaded: DiT,
    path: str | Path,
    kind: ModuleKind,
    *,
    precision: Precision = "auto",
    on_tensor: Progress | None = None,
) -> DiT:
    """The model with the branch of a file, which computes in the model's dtype.

    Args:
        loaded: stays as it is; its layers are those of the result, too.
        kind: of the file.
        precision: the fp8 ones cast the branch's matrices too.

    Raises:
        MissingFileError, CheckpointError, PairingError: see `inspect_module`.
    """
    checkpoint = open_checkpoint(path)
    spec = inspect_module(checkpoint, kind, loaded.spec)
    casting = choose_casting(spec, precision)
    with torch.device("meta"):
        module = kind.build(spec.config, layers_for(spec, casting))
    whole = loaded.module.with_branches(fill(module, checkpoint, spec, loaded.dtype, on_tensor, casting))
    described = replace(
        loaded.spec,
        config=whole.config,
        preset=None,
        title=f"{loaded.spec.title} with {spec.title}",
        parameters=loaded.spec.parameters + spec.parameters,
        size_bytes=loaded.spec.size_bytes + spec.size_bytes,
    )
    return replace(loaded, module=whole, spec=described)


def bytes_with_module(
    weights: ModelBytes, spec: ModelSpec[DiTConfig], path: Path, kind: ModuleKind, precision: Precision, device: str
) -> tuple[ModelBytes, DiTConfig]:
    """What a model takes with the branch of a file, and its sizes; see `footprint.model_bytes`.

    Args:
        weights: of the model without it.

    Raises:
        MissingFileError, CheckpointError, PairingError: see `inspect_module`.
    """
    checkpoint = open_checkpoint(path)
    module = inspect_module(checkpoint, kind, spec)
    added = model_bytes(checkpoint, module, precision, device)
    config = spec.config.with_branches(module.config.branches)
    kinds = {type(branch) for branch in module.config.branches}
    sizes = {False: iter(weights.blocks), True: iter(added.blocks)}
    blocks = tuple(next(sizes[place.branch in kinds]) for place in config.block_order())
    return weights._replace(fixed=weights.fixed + added.fixed, blocks=blocks), config
